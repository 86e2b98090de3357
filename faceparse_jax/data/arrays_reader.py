"""Batches from decoded arrays, in memory-mapped files or in memory, without TensorFlow.

`faceparse_jax.data.decode` writes the files once at one size, beside the prepared dataset:

    DATA_DIR/NAME/CONFIG/VERSION/arrays_SIZE/SPLIT/{image,depth,label,has_depth}.npy
    DATA_DIR/NAME/CONFIG/VERSION/arrays_SIZE/SPLIT/label_png.{bin,npy}  prepared labels, ends
    DATA_DIR/NAME/CONFIG/VERSION/arrays_SIZE/SPLIT/split.json    ids and what `Split` holds
"""

import dataclasses
import functools
import io
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data.batches import (
    Batch,
    ahead,
    canvases,
    empty,
    grouped,
    host_rows,
    on_canvas,
    padded,
    png_shape,
)
from faceparse_jax.data.order import Order, Pool, drawn
from faceparse_jax.data.reader import Reader
from faceparse_jax.data.splits import Split, decoded, newest_version
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import machine, records

KEYS = ("image", "depth", "label", "has_depth")
CACHE_LIMIT = 8 * 2**30
"""Bytes that one split may take in the memory of a host; at most three are kept."""


class ArraysReader(Reader):
    """Reads arrays that hold a whole split; see `reader.Reader`.

    Args:
        size: side of the pictures in pixels.
        arrays: of the names, shapes and types that `shapes` tells.
        encoded_labels: makes the PNG files of the labels, for sizes other than `size`.
    """

    def __init__(
        self,
        split: Split,
        size: int,
        ids: list[str],
        arrays: Mapping[str, np.ndarray],
        encoded_labels: Callable[[], Sequence[bytes | np.ndarray]],
    ):
        self.split, self.ids, self._size, self._encoded_labels = split, ids, size, encoded_labels
        self._arrays = {**arrays, "index": np.arange(len(ids), dtype=np.int32)}
        self.has_depth = np.asarray(arrays["has_depth"])

    def _drawn(self, pools: Sequence[Pool], order: Order, start_step: int) -> Iterator[Batch]:
        rows = host_rows(sum(len(pool.rows) for pool in pools), order.host, order.hosts)
        for chosen in drawn(pools, rows, order.seed, start_step):
            yield {key: array[chosen] for key, array in self._arrays.items()}

    def evaluate(
        self, batch: int, label_size: int = 0, host: int = 0, hosts: int = 1
    ) -> Iterator[Batch]:
        count, size, rows = len(self.ids), self._size, host_rows(batch, host, hosts)
        bits = self.split.depth_bits
        firsts = range(rows.start, count, batch)
        if label_size in (0, size):
            parts = (
                {key: np.asarray(array[f : f + len(rows)]) for key, array in self._arrays.items()}
                for f in firsts
            )
            return padded(parts, (empty(len(rows), size, bits) for _ in range(0, count, batch)))
        encoded = self._encoded_labels()

        def shapes():
            return np.array([png_shape(bytes(label[:24])) for label in encoded])

        places = canvases(label_size, shapes, count, batch)

        def example(row):
            label = np.array(Image.open(io.BytesIO(encoded[row])))
            there = {key: array[row] for key, array in self._arrays.items()}
            return there | on_canvas(label, places[row // batch], label_size, size)

        mine = (row for f in firsts for row in range(f, min(f + len(rows), count)))
        parts = grouped(ahead(example, mine, 2 * len(rows)), len(rows))
        return padded(parts, (empty(len(rows), size, bits, canvas) for canvas in places))


def folder(split: Split, size: int) -> pathlib.Path:
    """Where the arrays of a split lie."""
    return decoded(split.directory, size, split.split)


def shapes(split: Split, size: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type of each of the arrays."""
    count = split.num_examples
    return {
        "image": ((count, size, size, 3), "uint8"),
        "depth": ((count, size, size, 1), f"uint{split.depth_bits}"),
        "label": ((count, size, size), "uint8"),
        "has_depth": ((count,), "bool"),
    }


def in_memory(split: Split, size: int, what: str, next_step: str) -> dict[str, np.ndarray]:
    """Arrays for a whole split, of the names that `shapes` tells, to be filled.

    Args:
        what: what errors call it.
        next_step: what makes it smaller.

    Raises:
        InputError: they would take more memory than `CACHE_LIMIT`.
    """
    forms = shapes(split, size)
    need = sum(np.dtype(kind).itemsize * math.prod(shape) for shape, kind in forms.values())
    if need > CACHE_LIMIT:
        raise InputError(
            what,
            f"{need / 2**30:.1f} GiB at {size} px",
            f"at most {CACHE_LIMIT / 2**30:.0f} GiB",
            next_step,
        )
    return {key: np.empty(*form) for key, form in forms.items()}


def open(
    name: str, config: str, split: str, data_dir: str | os.PathLike, size: int
) -> ArraysReader:
    """See `reader.open`."""
    directory = newest_version(name, config, machine.expanded(data_dir))
    command = (
        f"python -m faceparse_jax.data.decode --name {name} --config {config} "
        f"--data_dir {directory.parents[2]} --size {size}"
    )
    root = decoded(directory, size, split)
    if not (root / "split.json").exists():
        there = sorted(directory.glob("arrays_*/*/split.json"))
        found = ", ".join(f"{path.parent.parent.name}/{path.parent.name}" for path in there)
        raise InputError(str(root), found or "no arrays", "decoded arrays", f"run {command}")
    again = f"remove {root} and run {command}"
    opened, ids = _read_json(root / "split.json", directory, again)
    arrays = {
        key: _mapped(root / f"{key}.npy", *form, again)
        for key, form in shapes(opened, size).items()
    }
    encoded_labels = functools.partial(_encoded_labels, root, len(ids), again)
    return ArraysReader(opened, size, ids, arrays, encoded_labels)


def as_json(split: Split, ids: list[str]) -> dict:
    """What ``split.json`` holds."""
    values = dataclasses.asdict(split) | labels.as_data(split.scheme)
    del values["directory"]
    return {"split": values, "ids": ids}


def _read_json(path: pathlib.Path, directory: pathlib.Path, again: str) -> tuple[Split, list[str]]:
    """The split and the ids of a ``split.json``.

    Raises:
        InputError: the file is damaged or of another version.
    """
    found = records.read(path, "the record of decoded arrays", again, split=dict, ids=list)
    values, ids = found["split"], found["ids"]
    expected = {field.name for field in dataclasses.fields(Split)} - {"directory"}
    if values.keys() - {labels.KEY} != expected:
        raise InputError(
            str(path),
            f"the keys {sorted(values)}",
            f"those of this version, {sorted(expected)}",
            again,
        )
    count = values["num_examples"]
    if count != len(ids):
        raise InputError(str(path), f"{len(ids)} ids and num_examples {count!r}", "as many", again)
    try:
        values["scheme"] = labels.from_data(values)
        if values["depth_bits"] not in (8, 16):
            raise ValueError(f"depth of {values['depth_bits']!r} bits")
    except ValueError as error:
        expected = f"one of {sorted(labels.SCHEMES)} or an own scheme, and 8 or 16 bits"
        raise InputError(str(path), str(error), expected, again) from error
    values.pop(labels.KEY, None)
    values["label_size"] = tuple(values["label_size"]) if values["label_size"] else None
    return Split(**values, directory=directory), ids


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


def _encoded_labels(root: pathlib.Path, count: int, again: str) -> list[np.ndarray]:
    """The bytes of each label's PNG file."""
    ends = _mapped(root / "label_png.npy", (count,), "int64", again)
    path = root / "label_png.bin"
    there = path.stat().st_size if path.is_file() else 0
    if not there or there != ends[-1] or (np.diff(ends, prepend=0) <= 0).any():
        raise InputError(str(path), f"{there:,} bytes", f"{ends[-1]:,} bytes of labels", again)
    data = np.memmap(path, np.uint8, "r")
    return [data[start:end] for start, end in zip((0, *ends[:-1]), ends, strict=True)]
