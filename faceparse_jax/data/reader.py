"""What reads a split: prepared TFDS files, arrays that were decoded from them, or the renderer.

The readers of files give the same batches (see `batches`) of the same order, and pictures are
resized by `images.resize` alone. TensorFlow is imported for TFDS files alone.
"""

import abc
import importlib
import os
from collections.abc import Iterator, Sequence

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Int

from faceparse_jax.config import Data
from faceparse_jax.data.batches import Batch
from faceparse_jax.data.order import Order, Pool, scarce
from faceparse_jax.data.splits import HEADS, Split, decoded, newest_version
from faceparse_jax.errors import InputError, not_installed
from faceparse_jax.runtime.places import on_bucket

SOURCES = {
    "tfds": "faceparse_jax.data.tfds_reader",
    "arrays": "faceparse_jax.data.arrays_reader",
    "rendered": "faceparse_jax.data.rendered_reader",
}
RENDERED = f"{HEADS}/rendered"
"""The dataset of the source ``rendered``, as name/config."""


class Reader(abc.ABC):
    """One split of a dataset, opened at one size of its pictures.

    Attributes:
        split: what is known of it.
        ids: the ids of its examples, in the order of the prepared dataset.
        has_depth: which examples have depth.
    """

    split: Split
    ids: list[str]
    has_depth: Bool[np.ndarray, " n"]

    def train(self, order: Order, start_step: int = 0) -> Iterator[Batch]:
        """This host's rows of endless shuffled batches, a function of order and step alone.

        Args:
            start_step: so many batches are left out, without decoding them.

        Raises:
            InputError: no example for rows that need one, or (while iterating) a label with a
                value outside the scheme.
        """
        if order.from_all:
            every = np.arange(self.split.num_examples)
            return self._drawn([Pool(0, every, np.arange(order.batch))], order, start_step)
        kept = order.scarcity.kept(self.ids, self.has_depth)

        def batches(pools):
            stream = self._drawn(pools, order, start_step)
            return stream if order.scarcity.whole else scarce(stream, kept)

        pools, paired = order.pools(kept)
        if not paired:
            return batches(pools)
        both = zip(batches(pools), batches(paired), strict=True)
        return (batch | {"paired": other} for batch, other in both)

    def on_devices(
        self, order: Order, start_step: int, mesh: Mesh
    ) -> Iterator[tuple[np.ndarray, Batch]] | None:
        """The batches of `train` where the devices themselves make them; None where the host does.

        Returns:
            For each step this host's ``index``, and the rest of the batch as global arrays whose
            rows are split over the mesh.
        """
        return None

    def ids_of(self, examples: Int[np.ndarray, " n"]) -> list[str]:
        """The ids of the examples in these rows of the split."""
        return [self.ids[row] for row in examples]

    @abc.abstractmethod
    def _drawn(self, pools: Sequence[Pool], order: Order, start_step: int) -> Iterator[Batch]:
        """This host's rows of batches that are drawn from these pools."""

    @abc.abstractmethod
    def evaluate(
        self, batch: int, label_size: int = 0, host: int = 0, hosts: int = 1
    ) -> Iterator[Batch]:
        """Every example once, in the order of `ids`, the same number of batches on every host.

        The last batch is padded with rows of zeros, whose ``mask`` is False.

        Args:
            batch: rows over all hosts.
            label_size: side of the labels in pixels; 0 for that of the pictures,
                `batches.ORIGINAL` for labels of their own size.
            host, hosts: as in `Order`.

        Raises:
            InputError: the hosts cannot share the batch, or (while iterating) a label with a
                value outside the scheme.
        """


def open(
    source: str,
    name: str,
    config: str,
    split: str,
    data_dir: str | os.PathLike,
    size: int,
    shuffle_buffer: int = 2048,
    cache: bool = False,
    heads: int = 0,
    reuse: int = 0,
) -> Reader:
    """Opens a split of a dataset.

    Args:
        source: ``tfds``, ``arrays`` or ``rendered``.
        name, config: of the dataset.
        split: ``train``, ``validation`` or ``test``.
        data_dir: the folder that `tfds_builders.build` wrote to.
        size: side of the square that pictures are fitted into, in pixels.
        shuffle_buffer: of ``tfds``: undecoded examples in memory. From `Split.num_examples` on,
            every order of an epoch is possible.
        cache: of ``tfds``: decode the split at once and keep it in memory. The shuffle is then
            full, and in another order than without.
        heads, reuse: of ``rendered``: see `rendered_reader`.

    Raises:
        InputError: another source, no such data, damaged data, a cache or a pool that would be
            too large, a size in which no heads are rendered, or no TensorFlow for ``tfds``.
    """
    if source not in SOURCES:
        raise InputError(
            "config.data.source",
            repr(source),
            " or ".join(map(repr, SOURCES)),
            "set --config.data.source=tfds",
        )
    try:
        module = importlib.import_module(SOURCES[source])
    except ModuleNotFoundError as error:
        what = f"config.data.source {source!r} (--config.data.source=arrays reads decoded files)"
        raise not_installed(what, error.name, "data") from error
    own = {
        "tfds": {"shuffle_buffer": shuffle_buffer, "cache": cache},
        "rendered": {"pool": heads, "reuse": reuse},
    }
    return module.open(name, config, split, data_dir, size, **own.get(source, {}))


def open_data(data: Data, split: str) -> Reader:
    """Opens a split of the dataset that the data section of a config names."""
    return open(
        data.source,
        data.name,
        data.config,
        split,
        data.data_dir,
        data.size,
        data.shuffle_buffer,
        data.cache,
        data.heads,
        data.reuse,
    )


def open_named(data: Data, dataset: str, split: str, cache: bool) -> Reader:
    """Opens a split of a dataset that may be another one than the config's.

    Rendered heads are rendered. Where the config's own heads are rendered, the decoded arrays of
    the other dataset are read if there are some of this size, and else its TFDS files.

    Args:
        dataset: as name/config; it lies in ``data.data_dir`` unless it is rendered.
        cache: as in `open`.

    Raises:
        InputError: as `open`.
    """
    name, config = dataset.split("/", 1)
    source = data.source
    if dataset == RENDERED:
        source = "rendered"
    elif source == "rendered":
        folder = newest_version(name, config, data.data_dir)
        arrays = decoded(folder, data.size, split) / "split.json"
        there = not on_bucket(folder) and arrays.exists()
        source = "arrays" if there else "tfds"
    other = {"source": source, "name": name, "config": config, "cache": cache}
    return open_data(data.model_copy(update=other), split)
