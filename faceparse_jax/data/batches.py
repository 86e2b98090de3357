"""Which rows make up a batch, and what of them: hosts, epochs, padding, scarce depth and labels.

NumPy alone; `pipeline` brings the examples.
"""

import dataclasses
import functools
import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from faceparse_jax.errors import InputError
from faceparse_jax.labels import IGNORE
from faceparse_jax.letterbox import inside

Batch = dict[str, np.ndarray]


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
    pools: Sequence["Pool"] | None = None,
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


def hashed(ids: Sequence[str], fraction: float, seed: int = 0) -> np.ndarray:
    """Whether each id is among the `fraction` of all ids with the smallest hashes, bool [n].

    A function of id and seed alone: the same on every machine, and 1 % lies inside 5 %. How
    many of the given ids are chosen is binomial.
    """
    if fraction >= 1:
        return np.ones(len(ids), np.bool_)
    limit = int(fraction * 2**64)
    salt = f"{seed}/" if seed else ""
    digests = (hashlib.sha256(f"{salt}{name}".encode()).digest()[:8] for name in ids)
    return np.array([int.from_bytes(digest, "big") < limit for digest in digests], np.bool_)


@dataclasses.dataclass(frozen=True)
class Scarcity:
    """Which training examples keep depth and label, and how often these come.

    Attributes:
        depth_fraction, label_fraction: of the examples, keep depth and label. Both use one
            hash of the id: at equal fractions the same examples keep both.
        fraction_seed: another one, another choice of examples.
        depth_share, label_share: of the rows of a batch, drawn from the examples that keep
            depth or label, in epochs of their own; all other rows are drawn from all.
    """

    depth_fraction: float = 1.0
    label_fraction: float = 1.0
    depth_share: float = 0.0
    label_share: float = 0.0
    fraction_seed: int = 0

    def __post_init__(self):
        for name in ("depth_fraction", "label_fraction", "depth_share", "label_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"config.data.{name}",
                    f"{getattr(self, name)}",
                    "0 to 1",
                    f"set it to {1 if name.endswith('fraction') else 0}",
                )

    @property
    def whole(self) -> bool:
        """Whether nothing is taken away."""
        return self.depth_fraction >= 1 and self.label_fraction >= 1

    def counts(self, ids: Sequence[str], has_depth: Bool[np.ndarray, " n"]) -> dict[str, int]:
        """How many of these examples keep depth and label."""
        return {
            "depth": int((has_depth & self.keeps(ids, "depth")).sum()),
            "label": int(self.keeps(ids, "label").sum()),
        }

    def keeps(self, ids: Sequence[str], what: str) -> Bool[np.ndarray, " n"]:
        """Whether each example keeps ``depth`` (if it has any) or ``label``."""
        return hashed(ids, getattr(self, f"{what}_fraction"), self.fraction_seed)


EVERYTHING = Scarcity()


@dataclasses.dataclass(frozen=True)
class Pool:
    """Examples that some rows of every batch are drawn from.

    Attributes:
        examples: their rows in the split, i64 [m].
        rows: the rows of a global batch that are drawn from them, i64 [n].
    """

    examples: Int[np.ndarray, " m"]
    rows: Int[np.ndarray, " n"]


def _spread(rows: Int[np.ndarray, " n"], count: int) -> Bool[np.ndarray, " n"]:
    """Chooses `count` of the rows evenly, so that every host and device has its share."""
    before = np.arange(len(rows)) * count // max(len(rows), 1)
    after = np.arange(1, len(rows) + 1) * count // max(len(rows), 1)
    return after > before


def rows_drawn(
    depth_share: float, label_share: float, batch_size: int
) -> dict[str, Int[np.ndarray, " n"]]:
    """Rows of a global batch drawn from the examples with ``label`` and with ``depth``, and the
    ``rest``, drawn from all.

    Raises:
        InputError: shares that are more than the batch.
    """
    rest, chosen = np.arange(batch_size), {}
    for what, share in (("label", label_share), ("depth", depth_share)):
        count = round(share * batch_size)
        if count > len(rest):
            raise InputError(
                f"config.data.{what}_share",
                f"{share:g}, {count} rows where {len(rest)} are left",
                "at most the rest of the batch",
                f"set it to {len(rest) / batch_size:g} or less",
            )
        mine = _spread(rest, count)
        chosen[what], rest = rest[mine], rest[~mine]
    return chosen | {"rest": rest}


def pools(
    scarcity: Scarcity, ids: Sequence[str], has_depth: Bool[np.ndarray, " n"], batch_size: int
) -> list[Pool]:
    """All examples, those that keep depth, and those that keep their label.

    Raises:
        InputError: no example to draw a row from, or shares that are more than the batch.
    """
    kept = {
        "label": scarcity.keeps(ids, "label"),
        "depth": has_depth & scarcity.keeps(ids, "depth"),
    }
    rows = rows_drawn(scarcity.depth_share, scarcity.label_share, batch_size)
    for what, keeps in kept.items():
        if len(rows[what]) and not keeps.any():
            raise InputError(
                f"config.data.{what}_share",
                f"{getattr(scarcity, f'{what}_share'):g} and no example with {what}",
                f"examples with {what} to draw from",
                f"set it to 0, or data.{what}_fraction to 1",
            )
    return [
        Pool(np.arange(len(ids)), rows["rest"]),
        *(Pool(np.flatnonzero(kept[what]), rows[what]) for what in ("depth", "label")),
    ]


def scarce(stream: Iterator[Batch], ids: Sequence[str], scarcity: Scarcity) -> Iterator[Batch]:
    """Batches in which rows beyond the fractions have no depth, or labels of `IGNORE` alone."""
    depth, label = scarcity.keeps(ids, "depth"), scarcity.keeps(ids, "label")
    for batch in stream:
        keep, labelled = depth[batch["index"]], label[batch["index"]]
        yield batch | {
            "has_depth": batch["has_depth"] & keep,
            "depth": batch["depth"] * keep[:, None, None, None].astype(batch["depth"].dtype),
            "label": np.where(labelled[:, None, None], batch["label"], np.uint8(IGNORE)),
        }
