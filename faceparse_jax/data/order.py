"""The order of a run: which examples fill which rows of which batch, and what of them is kept.

NumPy alone. A reader brings the examples.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int

from faceparse_jax.data.batches import Batch, host_rows
from faceparse_jax.errors import InputError
from faceparse_jax.labels import IGNORE


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

    @property
    def whole(self) -> bool:
        """Whether nothing is taken away."""
        return self.depth_fraction >= 1 and self.label_fraction >= 1

    def kept(
        self, ids: Sequence[str], has_depth: Bool[np.ndarray, " n"]
    ) -> dict[str, Bool[np.ndarray, " n"]]:
        """Which examples keep their ``depth``, where they have any, and their ``label``."""
        depth, label = (
            hashed(ids, fraction, self.fraction_seed)
            for fraction in (self.depth_fraction, self.label_fraction)
        )
        return {"depth": depth & has_depth, "label": label}


EVERYTHING = Scarcity()


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Examples that some rows of every batch are drawn from, each once in an epoch.

    Attributes:
        number: pools of different numbers have epochs of different orders.
        examples: their rows in the split.
        rows: the rows of a batch, over all hosts, that are drawn from them.
    """

    number: int
    examples: Int[np.ndarray, " m"]
    rows: Int[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Order:
    """What a run reads: the batches are a function of this, the split and the step.

    Every epoch has an order of its own and holds each example once; epochs run into each
    other, so no example is dropped at their ends.

    Attributes:
        batch: rows of a batch over all hosts.
        seed: orders of another seed have nothing in common.
        scarcity: depth and labels that are taken away, and rows drawn from what keeps them.
        paired: rows over all hosts of a second batch at every step, drawn from the examples
            that keep their depth, in epochs of their own; 0 for none.
        host: the number of this host; each one reads a contiguous block of the rows.
        hosts: how many there are.

    Raises:
        InputError: the hosts cannot share the rows.
    """

    batch: int
    seed: int
    scarcity: Scarcity = EVERYTHING
    paired: int = 0
    host: int = 0
    hosts: int = 1

    def __post_init__(self):
        host_rows(self.batch, self.host, self.hosts)
        if self.paired:
            host_rows(self.paired, self.host, self.hosts, "config.data.paired_rows")

    @property
    def from_all(self) -> bool:
        """Whether every row is drawn from all examples, which keep all that they have."""
        return self.scarcity == EVERYTHING and not self.paired

    def pools(self, kept: Mapping[str, Bool[np.ndarray, " n"]]) -> tuple[list[Pool], list[Pool]]:
        """What the rows of a batch are drawn from, and those of the paired batch.

        Args:
            kept: which examples keep ``depth`` and ``label``, see `Scarcity.kept`.

        Raises:
            InputError: shares that are more than the batch or less than half a row, or no
                example to draw a row from.
        """
        rows = self._rows()
        pools = [Pool(0, np.arange(len(kept["label"])), rows["rest"])]
        for what, mine, key, value in (
            ("depth", rows["depth"], "depth_share", self.scarcity.depth_share),
            ("label", rows["label"], "label_share", self.scarcity.label_share),
            ("depth", np.arange(self.paired), "paired_rows", self.paired),
        ):
            if len(mine) and not kept[what].any():
                raise InputError(
                    f"config.data.{key}",
                    f"{value:g} and no example with {what}",
                    f"examples with {what} to draw from",
                    f"set it to 0, or data.{what}_fraction to 1",
                )
            pools.append(Pool(len(pools), np.flatnonzero(kept[what]), mine))
        return [pool for pool in pools[:3] if len(pool.rows)], pools[3:] if self.paired else []

    def _rows(self) -> dict[str, Int[np.ndarray, " n"]]:
        """The rows drawn from the examples with ``label``, with ``depth``, and the ``rest``."""
        rest, chosen = np.arange(self.batch), {}
        for what in ("label", "depth"):
            share = getattr(self.scarcity, f"{what}_share")
            count = round(share * self.batch)
            if count > len(rest):
                raise InputError(
                    f"config.data.{what}_share",
                    f"{share:g}, {count} rows where {len(rest)} are left",
                    "at most the rest of the batch",
                    f"set it to {len(rest) / self.batch:g} or less",
                )
            if share and not count:
                raise InputError(
                    f"config.data.{what}_share",
                    f"{share:g}, which is no row of {self.batch}",
                    "a row at least, or 0",
                    f"set it to {1 / self.batch:g} or more, or train.batch to more rows",
                )
            mine = _spread(len(rest), count)
            chosen[what], rest = rest[mine], rest[~mine]
        return chosen | {"rest": rest}


def _spread(rows: int, count: int) -> Bool[np.ndarray, " n"]:
    """Chooses `count` of the rows evenly, so that every host and device has its share."""
    steps = np.arange(rows + 1) * count // max(rows, 1)
    return steps[1:] > steps[:-1]


def drawn(
    pools: Sequence[Pool], rows: range, seed: int, step: int
) -> Iterator[Int[np.ndarray, " n"]]:
    """The examples of these rows of every batch from `step` on, in full shuffles."""
    place = {row: (pool, rank) for pool in pools for rank, row in enumerate(pool.rows)}

    @functools.lru_cache(maxsize=8)
    def order(pool, epoch):
        key = (seed, epoch, pool.number) if pool.number else (seed, epoch)
        return pool.examples[np.random.default_rng(key).permutation(len(pool.examples))]

    def example(row):
        pool, rank = place[row]
        epoch, position = divmod(step * len(pool.rows) + rank, len(pool.examples))
        return order(pool, epoch)[position]

    while True:
        yield np.array([example(row) for row in rows])
        step += 1


def scarce(stream: Iterator[Batch], kept: Mapping[str, Bool[np.ndarray, " n"]]) -> Iterator[Batch]:
    """Batches in which an example that does not keep them has no depth, or `IGNORE` for a label.

    Args:
        kept: see `Scarcity.kept`.
    """
    for batch in stream:
        depth, label = (kept[what][batch["index"]] for what in ("depth", "label"))
        yield batch | {
            "has_depth": batch["has_depth"] & depth,
            "depth": batch["depth"] * depth[:, None, None, None].astype(batch["depth"].dtype),
            "label": np.where(label[:, None, None], batch["label"], np.uint8(IGNORE)),
        }
