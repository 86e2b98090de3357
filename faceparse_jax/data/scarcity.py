"""Scarce depth and labels: which examples keep them, and which rows of a batch draw on those.

NumPy alone; `batches` makes the batches.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int

from faceparse_jax.errors import InputError
from faceparse_jax.labels import IGNORE

Batch = dict[str, np.ndarray]


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
        InputError: shares that are more than the batch, or less than half a row.
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
        if share and not count:
            raise InputError(
                f"config.data.{what}_share",
                f"{share:g}, which is no row of {batch_size}",
                "a row at least, or 0",
                f"set it to {1 / batch_size:g} or more, or train.batch to more rows",
            )
        mine = _spread(rest, count)
        chosen[what], rest = rest[mine], rest[~mine]
    return chosen | {"rest": rest}


def pools(
    scarcity: Scarcity, ids: Sequence[str], has_depth: Bool[np.ndarray, " n"], batch_size: int
) -> list[Pool]:
    """All examples, those that keep depth, and those that keep their label.

    Raises:
        InputError: no example to draw a row from, or shares that `rows_drawn` refuses.
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
