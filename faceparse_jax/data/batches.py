"""Which rows make up a batch, and what of them: hosts, epochs, padding.

NumPy alone; `pipeline` brings the examples, `scarcity` says which are drawn how often.
"""

import functools
import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from faceparse_jax.data.scarcity import Batch, Pool
from faceparse_jax.errors import InputError
from faceparse_jax.images.resize import inside
from faceparse_jax.labels import IGNORE


def host_rows(batch_size: int, process_index: int, process_count: int) -> range:
    """The rows of a global batch that belong to one host: a contiguous block.

    Raises:
        InputError: the hosts cannot have equal shares.
    """
    if batch_size < 1 or batch_size % process_count:
        raise InputError(
            "batch size",
            f"{batch_size}",
            f"a positive multiple of the {process_count} hosts",
            f"set it to {max(1, batch_size // process_count) * process_count}",
        )
    local = batch_size // process_count
    return range(process_index * local, (process_index + 1) * local)


def shuffled(
    arrays: Batch,
    rows: range,
    batch_size: int,
    seed: int,
    step: int,
    pools: Sequence[Pool] | None = None,
) -> Iterator[Batch]:
    """Endless batches of these rows from `step` on; each epoch has its own permutation.

    Args:
        arrays: the whole split, with ``index`` among the keys.
        rows: the host's rows of every global batch of `batch_size` rows.
        pools: see `pools`; all rows from all examples where None.
    """
    pools = pools or [Pool(np.arange(len(arrays["index"])), np.arange(batch_size))]
    place = {row: (n, rank) for n, pool in enumerate(pools) for rank, row in enumerate(pool.rows)}

    @functools.lru_cache(maxsize=8)
    def order(number, epoch):
        key = (seed, epoch, number) if number else (seed, epoch)
        examples = pools[number].examples
        return examples[np.random.default_rng(key).permutation(len(examples))]

    def example(row):
        number, rank = place[row]
        pool = pools[number]
        epoch, position = divmod(step * len(pool.rows) + rank, len(pool.examples))
        return order(number, epoch)[position]

    while True:
        chosen = np.array([example(row) for row in rows])
        yield {key: value[chosen] for key, value in arrays.items()}
        step += 1


ORIGINAL = -1
"""As `label_size`: every label at its own size, on a canvas that fits the whole batch."""

CANVAS_STEP = 64
"""Sides of such a canvas are multiples of this, so that few shapes are compiled."""


def png_shape(data: bytes) -> tuple[int, int]:
    """Height and width of a PNG file, from its first 24 bytes."""
    # Width and height are big-endian numbers at bytes 16 to 24 of every PNG.
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def canvas(sizes: np.ndarray) -> tuple[int, int]:
    """Height and width that hold labels of these sizes [n 2]."""
    height, width = (int(-(-side // CANVAS_STEP)) * CANVAS_STEP for side in sizes.max(axis=0))
    return height, width


def empty(
    rows: int, size: int, label_shape: tuple[int, int], bits: int, sized: bool = False
) -> Batch:
    """A batch of zeros.

    Args:
        size: side of images and depth.
        label_shape: height and width of labels.
        bits: of depth, 8 or 16.
        sized: with the labels' own `size` on the canvas and `window` in the square.
    """
    batch = {
        "image": np.zeros((rows, size, size, 3), np.uint8),
        "depth": np.zeros((rows, size, size, 1), np.uint8 if bits == 8 else np.uint16),
        "label": np.zeros((rows, *label_shape), np.uint8),
        "has_depth": np.zeros(rows, np.bool_),
        "index": np.zeros(rows, np.int32),
    }
    if sized:
        batch["size"] = np.ones((rows, 2), np.int32)
        batch["window"] = np.tile(np.int32((0, 0, size, size)), (rows, 1))
    return batch


def fitted(shape: Sequence[int] | np.ndarray, size: int) -> tuple[int, int]:
    """Height and width of a picture of this shape when its longer side is `size`."""
    rows, columns = inside((int(shape[0]), int(shape[1])), size)
    return rows.stop - rows.start, columns.stop - columns.start


def window(shape: Sequence[int] | np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a picture of this shape in its square."""
    rows, columns = inside((int(shape[0]), int(shape[1])), size)
    return rows.start, columns.start, *fitted(shape, size)


def padded(parts: Iterator[Batch], empties: Iterable[Batch]) -> Iterator[Batch]:
    """Full batches with a ``mask`` of the rows that are real.

    Args:
        parts: full batches, then perhaps a shorter one, then perhaps nothing: a host may
            have no row in the last global batch.
        empties: for each batch of the split what it looks like when it is empty.
    """
    for zeros in empties:
        rows = len(zeros["index"])
        part = next(parts, {key: value[:0] for key, value in zeros.items()})
        filled = len(part["index"])
        if filled < rows:
            part = {k: np.concatenate([part[k], zeros[k][filled:]]) for k in zeros}
        yield part | {"mask": np.arange(rows) < filled}


def in_corner(batches: Iterable[Batch], size: int, label_size: int) -> Iterator[Batch]:
    """Batches whose labels lie in the corner of their square, with ``size`` and ``window``.

    Args:
        batches: with the ``shape`` [n 2] that each label has as stored, which is taken out.
        size: side of the square that the pictures are in, in its middle.
        label_size: side of the labels' square.
    """
    for batch in batches:
        shapes = batch["shape"]
        yield {key: value for key, value in batch.items() if key != "shape"} | {
            "size": np.array([fitted(shape, label_size) for shape in shapes], np.int32),
            "window": np.array([window(shape, size) for shape in shapes], np.int32),
        }


def on_canvas(
    examples: Iterator[Batch], rows: range, batch_size: int, sizes: np.ndarray, size: int
) -> Iterator[Batch]:
    """Batches of examples whose labels differ in size, each label in the top left corner.

    Args:
        examples: the host's rows of the split, one by one, in stored order.
        sizes: height and width of every label of the split, [n 2]; all hosts find the same
            canvas for the same global batch.
        size: side of the square that the picture is in.
    """
    for start in range(0, len(sizes), batch_size):
        shape = canvas(sizes[start : start + batch_size])
        count = len(range(start, len(sizes))[rows.start : rows.stop])
        part = [next(examples) for _ in range(count)]
        if not part:
            return
        batch = {key: np.stack([row[key] for row in part]) for key in part[0] if key != "label"}
        batch["label"] = np.full((count, *shape), IGNORE, np.uint8)
        batch["size"] = np.array([row["label"].shape for row in part], np.int32)
        batch["window"] = np.array([window(shape, size) for shape in batch["size"]], np.int32)
        for place, row in zip(batch["label"], part, strict=True):
            height, width = row["label"].shape
            place[:height, :width] = row["label"]
        yield batch
