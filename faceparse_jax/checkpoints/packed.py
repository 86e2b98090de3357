"""Trained networks in one file of the format safetensors, which holds numbers and text alone.

The file has what inference and a start of training need: parameters and batch statistics, by
names such as ``params/rgb/backbone/stem/kernel``, and in the header one JSON object, the label.
Kernels have half precision and vectors single precision, since statistics may lie beyond the
range of the half one. Imported networks keep single precision throughout.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jaxtyping import PyTree

from faceparse_jax import config
from faceparse_jax.checkpoints.store import META
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts, places, provenance
from faceparse_jax.runtime.places import Place

FORMAT = 1
"""The version of the label; another one is refused."""
HEADS = pathlib.Path(__file__).parents[1] / "networks" / f"{config.HEADS}{places.PACKED}"
"""The networks that ship with the package."""

HALF, SINGLE = "half", "single"
"""The precision of kernels; a label tells of `SINGLE` alone."""

_LABEL = "faceparse_jax"  # one entry alone, since the library writes several in any order
_LONGEST = 2**20  # bytes of a header
_AGAIN = "pack the run again with --mode export, or bring the file back from where it came"

Label = dict[str, Any]
"""What a file says of its networks: ``meta`` as checkpoints have it, with the config, the
``checkpoint`` that was packed, its ``scores``, and ``sha256`` of all that the file holds. The meta
of imported networks has ``source`` besides, see `imported.import_weights`."""


def shipped() -> pathlib.Path:
    """The file of the networks that ship with the package.

    Raises:
        InputError: this checkout or installation has none.
    """
    if not HEADS.is_file():
        raise InputError(
            "the networks that ship with faceparse_jax",
            f"none in this copy, no file {HEADS}",
            "a copy of the package with them",
            "name a run's workdir or a packed file",
        )
    return HEADS


def contents(label: Mapping[str, Any], tree: PyTree, precision: str = HALF) -> bytes:
    """The bytes of a file, the same ones for the same networks and label.

    Args:
        label: without its checksum.
        tree: nested dicts of arrays.
        precision: of the kernels, `HALF` or `SINGLE`.

    Raises:
        InputError: parameters that half precision cannot hold.
    """
    tensors = {}
    for name, value in _by_name(tree).items():
        array = np.asarray(value, np.float32)
        if array.ndim > 1 and precision == HALF:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
        if not np.isfinite(array).all():
            largest = float(np.max(np.abs(value)))
            raise InputError(
                f"the array {name}",
                f"values up to {largest:g}",
                f"at most {np.finfo(np.float16).max:g}, the largest number of half precision",
                "pack an earlier checkpoint, or train with more weight decay",
            )
        tensors[name] = np.ascontiguousarray(array)
    label = {**label, "format": FORMAT}
    if precision != HALF:  # earlier files do not tell
        label["precision"] = precision
    label["sha256"] = _checksum(label, tensors)
    return safetensors.numpy.save(tensors, {_LABEL: json.dumps(label, sort_keys=True)})


def write(path: Place, data: bytes) -> None:
    """Writes a file of the package, whole or not at all.

    Raises:
        InputError: a place that cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with interrupts.held():
            places.write(path, data)
    except OSError as error:
        raise InputError(
            str(path), error.strerror or str(error), "a place that can be written",
            "choose another --out",
        ) from error  # fmt: skip


def read_label(path: Place) -> Label:
    """The label of a file, whose arrays are not looked at.

    Raises:
        InputError: no such file, another kind of file, or another version of the format.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= _LONGEST else b""
        label = json.loads(json.loads(text)["__metadata__"][_LABEL])
        version = label["format"]
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "check the path") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, "no label of faceparse_jax in it", _AGAIN) from error
    except Exception as error:  # of any library that a bucket needs
        if told := places.failed(path, error):
            raise told from error
        raise
    if version != FORMAT:
        raise _unreadable(path, f"version {version!r} of the format, not {FORMAT}", _other(label))
    own = {"meta": dict, "checkpoint": str, "scores": list, "sha256": str}
    for kinds, of in ((own, label), (META, label.get("meta"))):
        if wrong := [name for name, kind in kinds.items() if not isinstance(of.get(name), kind)]:
            raise _unreadable(path, f"a label without {', '.join(wrong)}", _AGAIN)
    return label


def read(path: Place) -> tuple[Label, dict[str, np.ndarray]]:
    """The label of a file, and its arrays by name, float16 or float32.

    Raises:
        InputError: what `read_label` refuses, or a damaged file.
    """
    label = read_label(path)
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error), "check the path") from error
    except Exception as error:  # the library has several for damage, a bucket others
        if told := places.unanswered(path, error):
            raise told from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _unreadable(path, f"damaged tensors ({reason})", _AGAIN) from error
    if _checksum(label, tensors) != label["sha256"]:
        raise InputError(
            str(path), "other values than were written", f"SHA-256 {label['sha256']}", _AGAIN
        )
    return label, tensors


def in_form(path: Place, tensors: Mapping[str, np.ndarray], like: PyTree) -> PyTree:
    """Arrays of a file as a tree of float32, strictly in the form of `like`.

    Raises:
        InputError: arrays that are missing or surplus, or have other shapes.
    """
    wanted = _by_name(like)
    for name in sorted(wanted.keys() | tensors.keys()):
        shapes = [of[name].shape if name in of else None for of in (tensors, wanted)]
        if shapes[0] != shapes[1]:
            raise _unreadable(path, f"{name} of shape {shapes[0]}, not {shapes[1]}", _AGAIN)
    return jax.tree.unflatten(
        jax.tree.structure(like), [np.asarray(tensors[name], np.float32) for name in wanted]
    )


def _by_name(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _checksum(label: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the arrays, and of the label but for the checksum itself."""
    said = json.dumps({k: v for k, v in label.items() if k != "sha256"}, sort_keys=True)
    return provenance.checksum({"label": np.frombuffer(said.encode(), np.uint8), **tensors})


def _other(label: Mapping[str, Any]) -> str:
    meta = label.get("meta")
    trained = meta.get("code_version") if isinstance(meta, dict) else None
    return f"use another version of faceparse_jax; the networks were trained with {trained}"


def _unreadable(path: Place, found: str, next_step: str) -> InputError:
    return InputError(str(path), found, "networks that --mode export or import wrote", next_step)
