"""Batches on the host: their rows, their padding, and labels of another size than the pictures.

A batch is ``image`` u8 [b h w 3], ``depth`` u8 or u16 [b h w 1], ``label`` u8 [b h w],
``has_depth`` bool [b] and ``index`` i32 [b], the row of each example in its split.

* Where examples come without end, as `rendered_reader` makes them, ``index`` is i64 and counts them
  from the first one of the run.
* A batch for training may have ``paired``, a second batch of the same keys (`order.Order`).
* A batch for evaluation has ``mask`` bool [b], False where a row only fills up the batch. Labels
  of another size than the pictures lie in the top left corner of their canvas; then there are
  ``size`` i32 [b 2], the height and width of each label there, and ``window`` i32 [b 4], the top,
  left, height and width of what the picture fills of its square.
"""

import collections
import contextlib
import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int, UInt8

from faceparse_jax.errors import InputError
from faceparse_jax.images.resize import Shape, fitted, inside, resize_label
from faceparse_jax.labels import IGNORE
from faceparse_jax.runtime import machine

Batch = dict[str, Any]
Item = TypeVar("Item")

AHEAD = 2
"""How many batches lie ready for the devices, and how many steps wait there."""

ORIGINAL = -1
"""As the size of labels: every label has its own, on a canvas that holds the whole batch's."""

CANVAS_STEP = 64
"""Sides of such a canvas are multiples of this, so that few shapes are compiled."""


def host_rows(count: int, host: int, hosts: int, key: str = "the batch size") -> range:
    """The rows of a batch that belong to one host: a contiguous block.

    Args:
        count: rows over all hosts.
        key: what errors call it.

    Raises:
        InputError: the hosts cannot have equal shares.
    """
    if count < 1 or count % hosts:
        raise InputError(
            key,
            f"{count}",
            f"a positive multiple of the {hosts} hosts",
            f"set it to {max(1, count // hosts) * hosts}",
        )
    local = count // hosts
    return range(host * local, (host + 1) * local)


# More threads than cores would only wait for each other.
_THREADS = ThreadPoolExecutor(min(machine.cores(), 32), "examples")


def ahead(
    function: Callable, items: Iterable, count: int, threads: Executor = _THREADS
) -> Iterator:
    """``map(function, items)`` on threads, up to `count` items ahead of what is asked for."""
    waiting: collections.deque = collections.deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextlib.contextmanager
def drawn_ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """Passes on items that a thread of its own draws, from now on and up to `AHEAD` ahead.

    What drawing raises is raised where that item is asked for. The thread ends with the context.
    """
    end: Any = object()
    thread = ThreadPoolExecutor(1, "drawn_ahead")

    def draw():
        return thread.submit(next, items, end)

    waiting = collections.deque(draw() for _ in range(AHEAD))

    def drawn():
        while (item := waiting.popleft().result()) is not end:
            waiting.append(draw())
            yield item

    try:
        yield drawn()
    finally:
        thread.shutdown(cancel_futures=True)


def grouped(rows: Iterator[Batch], count: int) -> Iterator[Batch]:
    """Batches of `count` single examples each; the last one may be shorter."""

    def stacked(group):
        return {key: np.stack([row[key] for row in group]) for key in group[0]}

    # Until a group is empty; one is stacked while the rows of the next one come.
    return ahead(stacked, iter(lambda: list(itertools.islice(rows, count)), []), 1)


def padded(parts: Iterator[Batch], empties: Iterable[Batch]) -> Iterator[Batch]:
    """Full batches with a ``mask`` of the rows that are real.

    Args:
        parts: full batches, then perhaps a shorter one, then perhaps nothing: a host may
            have no row in the last batch of all.
        empties: for each batch of the split what it looks like when it is empty.
    """
    for zeros in empties:
        rows = len(zeros["index"])
        part = next(parts, {key: value[:0] for key, value in zeros.items()})
        filled = len(part["index"])
        if filled < rows:
            part = {k: np.concatenate([part[k], zeros[k][filled:]]) for k in zeros}
        yield part | {"mask": np.arange(rows) < filled}


def empty(rows: int, size: int, bits: int, canvas: Shape | None = None) -> Batch:
    """A batch of zeros.

    Args:
        size: side of pictures and depth.
        bits: of depth, 8 or 16.
        canvas: height and width of the labels' canvas; None where they have the pictures' size.
    """
    batch = {
        "image": np.zeros((rows, size, size, 3), np.uint8),
        "depth": np.zeros((rows, size, size, 1), f"uint{bits}"),
        "label": np.zeros((rows, *(canvas or (size, size))), np.uint8),
        "has_depth": np.zeros(rows, np.bool_),
        "index": np.zeros(rows, np.int32),
    }
    if canvas:
        batch["size"] = np.ones((rows, 2), np.int32)
        batch["window"] = np.tile(np.int32((0, 0, size, size)), (rows, 1))
    return batch


def png_shape(data: bytes) -> Shape:
    """Height and width of a PNG file, from its first 24 bytes."""
    # Width and height are big-endian numbers at bytes 16 to 24 of every PNG.
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def canvases(
    label_size: int, shapes: Callable[[], Int[np.ndarray, "n 2"]], count: int, batch: int
) -> list[Shape]:
    """Height and width of the labels' canvas in each batch of a split, the same on every host.

    Args:
        label_size: side of the labels' square in pixels, or `ORIGINAL`.
        shapes: makes the height and width of every label of the split; for `ORIGINAL`.
        count: examples in the split.
        batch: rows over all hosts.
    """
    starts = range(0, count, batch)
    if label_size != ORIGINAL:
        return [(label_size, label_size) for _ in starts]
    sides = (shapes()[start : start + batch].max(axis=0) for start in starts)
    return [tuple(int(-(-side // CANVAS_STEP)) * CANVAS_STEP for side in two) for two in sides]


def on_canvas(
    label: UInt8[np.ndarray, "_ _"], canvas: Shape, label_size: int, size: int
) -> dict[str, np.ndarray]:
    """``label`` in the corner of its canvas, with its ``size`` there and the picture's ``window``.

    Args:
        label_size: its longer side is brought to this, but for `ORIGINAL`.
        size: side of the picture's square.
    """
    shape = label.shape if label_size == ORIGINAL else fitted(label.shape, label_size)
    place = np.full(canvas, IGNORE, np.uint8)
    place[: shape[0], : shape[1]] = resize_label(label, shape)
    rows, columns = inside(label.shape, size)
    window = (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
    return {"label": place, "size": np.int32(shape), "window": np.int32(window)}
