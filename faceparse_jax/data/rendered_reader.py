"""Batches of heads that are rendered while a run trains: no files, and no TensorFlow.

Every batch is a function of seed, step and row. Training heads have numbers, and a number is a
head of the run's seed (`heads.training_key`):

* Without a pool, row r of step s is head ``s * batch + r``, so that no head comes twice.
* With a pool of n heads, steps take their rows from n slots in full shuffles, as they do from the
  n examples of a prepared set. Slot j holds head ``g * n + j`` in its generation g. Where heads
  are reused for k epochs, slot j is in epoch e in generation ``(e + j % k) // k``: in every epoch
  one slot of k begins a new one. Epoch e of step s is ``s * batch // n``.

A head of a pool is rendered when it is first drawn and kept until its slot holds another one, so
that nothing waits at the start, and a resumed run renders only what it still draws.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from faceparse_jax.data.arrays_reader import in_memory
from faceparse_jax.data.batches import ORIGINAL, Batch, empty, host_rows, on_canvas, padded
from faceparse_jax.data.order import EVERYTHING, Order, Pool, drawn
from faceparse_jax.data.reader import RENDERED, Reader
from faceparse_jax.data.splits import Split
from faceparse_jax.data.synthetic import heads
from faceparse_jax.data.synthetic.render import check_size
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.runtime import forms, sharding


class RenderedReader(Reader):
    """Renders heads, or draws them from a pool; see `reader.Reader`.

    Args:
        split: its examples are the heads of the pool; 0 where heads are endless.
        size: side of the pictures in pixels.
        pool: how many heads are kept; 0 where every row is a new head.
        reuse: for how many epochs a head stays in the pool; 0 for good.
        held_out: the keys of a split that no run trains on, which are then the pool.

    Raises:
        InputError: a pool that would be too large for the memory.
    """

    def __init__(
        self, split: Split, size: int, pool: int, reuse: int = 0, held_out: range | None = None
    ):
        self.split, self._size = split, size
        self._pool, self._reuse, self._held_out = pool, reuse, held_out
        self.ids = [str(number) for number in range(split.num_examples)]
        self.has_depth = np.ones(split.num_examples, np.bool_)
        self._there: dict[int, int] = {}  # the key of the head that lies in a slot
        self._arrays = in_memory(
            dataclasses.replace(split, num_examples=pool),
            size,
            f"config.data.heads {pool:,}",
            "set a smaller --config.data.heads, or a smaller --config.data.size",
        )

    @property
    def endless(self) -> bool:
        """Whether heads come without end, so that a share of them is no number of heads."""
        return not self.split.num_examples

    def train(self, order: Order, start_step: int = 0) -> Iterator[Batch]:
        if not self.endless:
            return super().train(order, start_step)
        if not order.from_all:
            keys = [
                key for key, value in vars(order.scarcity).items() if value != vars(EVERYTHING)[key]
            ] + ["paired_rows"] * bool(order.paired)
            raise InputError(
                ", ".join(f"config.data.{key}" for key in keys),
                "heads that come without end, of which none are scarce",
                "a pool of heads that stay",
                "set --config.data.heads=2000 --config.data.reuse=0, or leave these keys out",
            )
        if not self._pool:
            return self._new(order, start_step)
        every = Pool(0, np.arange(self._pool), np.arange(order.batch))
        return self._drawn([every], order, start_step)

    def on_devices(
        self, order: Order, start_step: int, mesh: Mesh
    ) -> Iterator[tuple[np.ndarray, Batch]] | None:
        if self._pool or forms.platform() == "cpu":
            return None
        return self._new_on(order, start_step, mesh)

    def ids_of(self, examples: Int[np.ndarray, " n"]) -> list[str]:
        return [str(number) for number in examples]

    def evaluate(
        self, batch: int, label_size: int = 0, host: int = 0, hosts: int = 1
    ) -> Iterator[Batch]:
        if self._held_out is None:
            raise InputError(
                "config.eval.split",
                f"{self.split.split!r}, whose heads are those of a run",
                " or ".join(map(repr, heads.HELD_OUT)),
                "set --config.eval.split=test",
            )
        count, size, rows = self.split.num_examples, self._size, host_rows(batch, host, hosts)
        canvas = None if label_size in (0, size, ORIGINAL) else (label_size, label_size)

        def part(first):
            found = self._heads(mine := np.arange(first, min(first + len(rows), count)), mine, 0)
            if canvas:
                placed = [on_canvas(one, canvas, label_size, size) for one in found["label"]]
                found |= {key: np.stack([one[key] for one in placed]) for key in placed[0]}
            return found

        parts = map(part, range(rows.start, count, batch))
        return padded(parts, (empty(len(rows), size, 8, canvas) for _ in range(0, count, batch)))

    def _drawn(self, pools: Sequence[Pool], order: Order, start_step: int) -> Iterator[Batch]:
        rows = host_rows(sum(len(pool.rows) for pool in pools), order.host, order.hosts)
        for step, slots in enumerate(drawn(pools, rows, order.seed, start_step), start_step):
            numbers = slots
            if self._reuse:
                epoch = step * order.batch // self._pool
                numbers = (epoch + slots % self._reuse) // self._reuse * self._pool + slots
            yield self._heads(slots, numbers, order.seed)

    def _heads(
        self, slots: Int[np.ndarray, " n"], numbers: Int[np.ndarray, " n"], seed: int
    ) -> Batch:
        """The heads of these numbers, which these slots hold from now on."""
        wanted = {
            slot: self._held_out[number] if self._held_out else heads.training_key(seed, number)
            for slot, number in zip(slots.tolist(), numbers.tolist(), strict=True)
        }
        missing = {slot: key for slot, key in wanted.items() if self._there.get(slot) != key}
        if missing:
            new = heads.rendered(list(missing.values()), self._size)
            for name, array in self._arrays.items():
                array[list(missing)] = new[name]
            self._there |= missing
        index = numbers if self.endless else numbers.astype(np.int32)
        return {name: array[slots] for name, array in self._arrays.items()} | {"index": index}

    def _new(self, order: Order, start_step: int) -> Iterator[Batch]:
        """Batches of heads that no step before has seen."""
        rows = np.array(host_rows(order.batch, order.host, order.hosts))
        for step in itertools.count(start_step):
            numbers = step * order.batch + rows
            keys = [heads.training_key(order.seed, number) for number in numbers.tolist()]
            yield heads.rendered(keys, self._size) | {"index": numbers}

    def _new_on(
        self, order: Order, start_step: int, mesh: Mesh
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """As `_new`, for `on_devices`: each device of this host renders its own rows."""
        place = sharding.by_row(mesh)
        blocks = place.addressable_devices_indices_map((order.batch,))
        mine = np.array(host_rows(order.batch, order.host, order.hosts))
        for step in itertools.count(start_step):
            first = heads.training_key(order.seed, step * order.batch)
            parts = [
                heads.rendered_on(device, range(first, first + order.batch)[block], self._size)
                for device, (block,) in blocks.items()
            ]
            whole = {
                name: jax.make_array_from_single_device_arrays(
                    (order.batch, *parts[0][name].shape[1:]), place, [part[name] for part in parts]
                )
                for name in parts[0]
            }
            yield step * order.batch + mine, whole


def open(
    name: str,
    config: str,
    split: str,
    data_dir: str | os.PathLike,
    size: int,
    pool: int,
    reuse: int,
) -> RenderedReader:
    """See `reader.open`; nothing is read of `data_dir`."""
    if f"{name}/{config}" != RENDERED:
        own, its_config = RENDERED.split("/")
        raise InputError(
            "config.data.name and config.data.config",
            f"{name!r} and {config!r}, of which source 'rendered' has no heads",
            f"{own!r} and {its_config!r}",
            f"set --config.data.name={own} --config.data.config={its_config}, or another "
            "--config.data.source",
        )
    check_size(size, "config.data.size")
    if split in heads.HELD_OUT:
        return _held_out(split, size)
    if split != "train":
        raise InputError(
            RENDERED,
            f"no split {split!r}",
            f"one of {['train', *heads.HELD_OUT]}",
            "choose one of these",
        )
    return RenderedReader(_split(split, size, 0 if reuse else pool), size, pool, reuse)


@functools.lru_cache(maxsize=4)
def _held_out(split: str, size: int) -> RenderedReader:
    """One for all runs of this process, so that its heads are rendered once."""
    keys = heads.HELD_OUT[split]
    return RenderedReader(_split(split, size, len(keys)), size, len(keys), held_out=keys)


def _split(split: str, size: int, count: int) -> Split:
    name, config = RENDERED.split("/")
    what = f"{RENDERED}/{heads.VERSION}"
    return Split(
        name=name,
        config=config,
        split=split,
        version=heads.VERSION,
        directory=pathlib.Path(what),
        num_examples=count,
        with_depth=count,
        scheme=CELEBAMASK_HQ,
        merge_order="",
        depth_source="rendered",
        depth_bits=8,
        label_size=(size, size),
        fingerprint=hashlib.sha256(what.encode()).hexdigest()[:16],
    )
