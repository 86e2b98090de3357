"""Decoded splits in memory-mapped files: the interface of `pipeline` without TensorFlow.

`faceparse_jax.data.decode` writes them once at one size, beside the prepared dataset:

    DATA_DIR/NAME/CONFIG/VERSION/arrays_SIZE/SPLIT/{image,depth,label,has_depth}.npy
    DATA_DIR/NAME/CONFIG/VERSION/arrays_SIZE/SPLIT/label_png.{bin,npy}  original labels, ends
    DATA_DIR/NAME/CONFIG/VERSION/arrays_SIZE/SPLIT/split.json    ids and what `Split` holds
"""

import dataclasses
import functools
import io
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data.batches import (
    ORIGINAL,
    canvas,
    empty,
    host_rows,
    on_canvas,
    padded,
    png_shape,
    shuffled,
)
from faceparse_jax.data.scarcity import EVERYTHING, Batch, Scarcity, pools, scarce
from faceparse_jax.data.splits import Split, newest_version
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import records

KEYS = ("image", "depth", "label", "has_depth")


def folder(split: Split, size: int) -> pathlib.Path:
    """Where the arrays of a split lie."""
    return split.directory / f"arrays_{size}" / split.split


def _command(name: str, config: str, directory: pathlib.Path, size: int | str) -> str:
    return (
        f"python -m faceparse_jax.data.decode --name {name} --config {config} "
        f"--data_dir {directory.parents[2]} --size {size}"
    )


def open_split(name: str, config: str, split: str, data_dir: str | pathlib.Path) -> Split:
    """A split whose arrays are there, of any size.

    Raises:
        InputError: no arrays of this dataset, or none of this split.
    """
    directory = newest_version(name, config, data_dir)
    found = sorted(directory.glob("arrays_*/*/split.json"))
    mine = [path for path in found if path.parent.name == split]
    if not mine:
        there = sorted({path.parent.name for path in found})
        raise InputError(
            f"{directory}/arrays_SIZE/{split}",
            f"arrays of {there}" if found else "no arrays",
            f"the decoded split {split!r}",
            f"run {_command(name, config, directory, 'SIZE')}",
        )
    again = f"remove {mine[0].parents[1]} and run {_command(name, config, directory, 'SIZE')}"
    values, _ = _record(mine[0], again)
    expected = {field.name for field in dataclasses.fields(Split)} - {"directory"}
    if values.keys() != expected:
        raise InputError(
            str(mine[0]),
            f"the keys {sorted(values)}",
            f"those of this version, {sorted(expected)}",
            again,
        )
    if values["scheme"] not in labels.SCHEMES or values["depth_bits"] not in (8, 16):
        found = f"scheme {values['scheme']!r} and depth of {values['depth_bits']!r} bits"
        raise InputError(
            str(mine[0]), found, f"one of {sorted(labels.SCHEMES)}, and 8 or 16", again
        )
    label_size = values.pop("label_size")
    return Split(
        **values | {"directory": directory, "scheme": labels.scheme(values["scheme"])},
        label_size=tuple(label_size) if label_size else None,
    )


def _record(path: pathlib.Path, again: str) -> tuple[dict, list[str]]:
    """The two parts of a ``split.json``: what `Split` holds, and the ids.

    Raises:
        InputError: the file is damaged.
    """
    found = records.read(path, "the record of decoded arrays", again, split=dict, ids=list)
    count = found["split"].get("num_examples")
    if count != len(found["ids"]):
        raise InputError(
            str(path), f"{len(found['ids'])} ids and num_examples {count!r}", "as many", again
        )
    return found["split"], found["ids"]


def record(split: Split) -> dict:
    """A `Split` as `open_split` reads it from JSON."""
    values = dataclasses.asdict(split) | {"scheme": split.scheme.name}
    del values["directory"]
    return values


def shapes(split: Split, size: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each of the arrays."""
    count = split.num_examples
    return {
        "image": ((count, size, size, 3), "uint8"),
        "depth": ((count, size, size, 1), f"uint{split.depth_bits}"),
        "label": ((count, size, size), "uint8"),
        "has_depth": ((count,), "bool"),
    }


def _mapped(path: pathlib.Path, shape: tuple[int, ...], dtype: str, again: str) -> np.ndarray:
    try:
        # Knows .npy alone and maps memory, so that it can load neither archives nor pickles.
        array = np.lib.format.open_memmap(path, mode="r")
        if (array.shape, array.dtype) != (shape, np.dtype(dtype)):
            raise ValueError(f"{array.dtype} {list(array.shape)}")
    except (OSError, ValueError, EOFError, TypeError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(str(path), reason, f"{dtype} {list(shape)}", again) from error
    return array


@functools.lru_cache(maxsize=8)
def _open(split: Split, size: int) -> tuple[Batch, list[str]]:
    root = folder(split, size)
    again = _command(split.name, split.config, split.directory, size)
    if not (root / "split.json").exists():
        there = sorted(split.directory.glob(f"arrays_*/{split.split}"))
        sizes = ", ".join(path.parent.name.removeprefix("arrays_") for path in there)
        raise InputError(str(root), f"arrays of {sizes} px", f"{size} px", f"run {again}")
    again = f"remove {root} and run {again}"
    _, ids = _record(root / "split.json", again)
    forms = shapes(split, size)
    arrays = {key: _mapped(root / f"{key}.npy", *forms[key], again) for key in KEYS}
    arrays["index"] = np.arange(len(ids), dtype=np.int32)
    return arrays, ids


def split_ids(split: Split, indices: Sequence[int] | np.ndarray) -> list[str]:
    """The ids of the examples in these rows of the split."""
    path = next(split.directory.glob(f"arrays_*/{split.split}/split.json"))
    _, ids = _record(path, _command(split.name, split.config, split.directory, "SIZE"))
    return [ids[int(i)] for i in indices]


def has_depth(split: Split) -> np.ndarray:
    """Whether each example has depth, bool [n]."""
    path = next(split.directory.glob(f"arrays_*/{split.split}/split.json"))
    again = _command(split.name, split.config, split.directory, "SIZE")
    return _mapped(path.with_name("has_depth.npy"), (split.num_examples,), "bool", again)


def _original_labels(split: Split, size: int) -> tuple[np.ndarray, list[slice]]:
    """The bytes of all labels as stored, and where each one lies in them."""
    root = folder(split, size)
    again = f"remove {root} and run {_command(split.name, split.config, split.directory, size)}"
    ends = _mapped(root / "label_png.npy", (split.num_examples,), "int64", again)
    path = root / "label_png.bin"
    there = path.stat().st_size if path.is_file() else 0
    if not there or there != ends[-1] or (np.diff(ends, prepend=0) <= 0).any():
        raise InputError(str(path), f"{there:,} bytes", f"{ends[-1]:,} bytes of labels", again)
    where = [slice(*bounds) for bounds in zip((0, *ends[:-1]), ends, strict=True)]
    return np.memmap(path, np.uint8, "r"), where


def _decoded_label(data: np.ndarray) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data.tobytes())))


def train_batches(
    split: Split,
    *,
    batch_size: int,
    size: int,
    seed: int,
    start_step: int = 0,
    shuffle_buffer: int = 0,
    cache: bool = False,
    scarcity: Scarcity = EVERYTHING,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """As `pipeline.train_batches` with `cache`, whose batches these are, bit for bit.

    Args:
        shuffle_buffer, cache: have no meaning here: every order of an epoch is possible,
            and the operating system keeps in memory what is read.
    """
    del shuffle_buffer, cache
    rows = host_rows(batch_size, process_index, process_count)
    arrays, ids = _open(split, size)
    drawn = pools(scarcity, ids, np.asarray(arrays["has_depth"]), batch_size)
    stream = shuffled(arrays, rows, batch_size, seed, start_step, drawn)
    return stream if scarcity.whole else scarce(stream, ids, scarcity)


def eval_batches(
    split: Split,
    *,
    batch_size: int,
    size: int,
    label_size: int | None = None,
    cache: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """As `pipeline.eval_batches`, for labels of the arrays' size or their original one.

    Raises:
        InputError: another `label_size`.
    """
    del cache
    rows = host_rows(batch_size, process_index, process_count)
    if label_size not in (None, size, ORIGINAL):
        raise InputError(
            "config.eval.label_size",
            f"{label_size}",
            f"{size}, the size of the arrays, or -1 for the original size",
            "set --config.eval.label_size=0 or -1, or --config.data.source=tfds",
        )
    arrays, _ = _open(split, size)
    starts = range(0, split.num_examples, batch_size)
    if label_size == ORIGINAL:
        data, where = _original_labels(split, size)
        sizes = np.array([png_shape(data[part][:24].tobytes()) for part in where])
        shapes = (canvas(sizes[start : start + batch_size]) for start in starts)
        empties = (empty(len(rows), size, s, split.depth_bits, sized=True) for s in shapes)
        numbers = (range(s + rows.start, min(s + rows.stop, split.num_examples)) for s in starts)
        examples = (
            {key: value[i] for key, value in arrays.items()}
            | {"label": _decoded_label(data[where[i]])}
            for i in itertools.chain.from_iterable(numbers)
        )
        return padded(on_canvas(examples, rows, batch_size, sizes, size), empties)
    parts = (
        {key: np.asarray(value[s + rows.start : s + rows.stop]) for key, value in arrays.items()}
        for s in starts
    )
    zeros = empty(len(rows), size, (size, size), split.depth_bits)
    return padded(parts, (zeros for _ in starts))
