"""Batches from a prepared dataset: tf.data reads, shuffles and decodes, our threads resize.

The threads of tf.data never call Python: at the end of the program some would never return from
it, and the program would wait for them.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from faceparse_jax.data import tfds_files
from faceparse_jax.data.arrays_reader import KEYS, ArraysReader, in_memory
from faceparse_jax.data.batches import (
    Batch,
    ahead,
    canvases,
    empty,
    grouped,
    host_rows,
    on_canvas,
    padded,
)
from faceparse_jax.data.order import Order, Pool
from faceparse_jax.data.reader import Reader
from faceparse_jax.data.splits import Split
from faceparse_jax.errors import InputError
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import in_square, resize_depth, resize_image, resize_label
from faceparse_jax.labels import IGNORE
from faceparse_jax.runtime import progress


def open(
    name: str,
    config: str,
    split: str,
    data_dir: str | os.PathLike,
    size: int,
    shuffle_buffer: int,
    cache: bool,
) -> Reader:
    """See `reader.open`."""
    opened = TfdsReader(tfds_files.open_split(name, config, split, data_dir), size, shuffle_buffer)
    if not cache:
        return opened
    labels = functools.partial(tfds_files.encoded_labels, opened.split)
    return ArraysReader(opened.split, size, opened.ids, _in_memory(opened.split, size), labels)


class TfdsReader(Reader):
    """Reads the record files of a prepared dataset at every step; see `reader.Reader`."""

    def __init__(self, split: Split, size: int, shuffle_buffer: int = 1):
        self.split, self._size, self._shuffle_buffer = split, size, shuffle_buffer

    @property
    def ids(self) -> list[str]:
        return tfds_files.facts(self.split).ids

    @property
    def has_depth(self) -> np.ndarray:
        return tfds_files.facts(self.split).has_depth

    def _drawn(self, pools: Sequence[Pool], order: Order, start_step: int) -> Iterator[Batch]:
        pattern = np.zeros(sum(len(pool.rows) for pool in pools), np.int64)
        for number, pool in enumerate(pools):
            pattern[pool.rows] = number
        rows = host_rows(len(pattern), order.host, order.hosts)
        streams = [self._shuffled(pool, order.seed, start_step) for pool in pools]
        which = tf.data.Dataset.from_tensor_slices(pattern).repeat()
        stream = tf.data.Dataset.choose_from_datasets(streams, which)
        return grouped(self._ready(stream, rows, len(pattern), self._in_square), len(rows))

    def _shuffled(self, pool: Pool, seed: int, start_step: int) -> tf.data.Dataset:
        """(row, encoded example) of shuffled epochs.

        Whole epochs before the step cost nothing, the rest of an epoch is read.
        """
        encoded, count = tfds_files.encoded(self.split), len(pool.examples)
        if count < self.split.num_examples:
            takes_part = tf.constant(np.isin(np.arange(self.split.num_examples), pool.examples))
            encoded = encoded.filter(lambda row, _: takes_part[row])
            if count <= self._shuffle_buffer:
                # Else each of its short epochs would read the whole split.
                encoded = encoded.cache()

        def epoch(number):
            # Far apart, so that runs with neighbouring seeds share no order.
            shuffle = tf.cast(seed, tf.int64) * 1_000_003 + number + (pool.number << 40)
            return encoded.shuffle(
                self._shuffle_buffer, seed=shuffle, reshuffle_each_iteration=False
            )

        first, skipped = divmod(start_step * len(pool.rows), count)
        epochs = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        return epochs.flat_map(epoch).skip(skipped)

    def evaluate(
        self, batch: int, label_size: int = 0, host: int = 0, hosts: int = 1
    ) -> Iterator[Batch]:
        split, size, rows = self.split, self._size, host_rows(batch, host, hosts)
        stream = tfds_files.encoded(split)
        if label_size in (0, size):
            places = [None] * len(range(0, split.num_examples, batch))
            place = self._in_square
        else:
            places = canvases(
                label_size,
                lambda: tfds_files.facts(split).label_shapes,
                split.num_examples,
                batch,
            )

            def place(row, label):
                return on_canvas(label, places[row // batch], label_size, size)

        parts = grouped(self._ready(stream, rows, batch, place), len(rows))
        return padded(parts, (empty(len(rows), size, split.depth_bits, c) for c in places))

    def _in_square(self, row: int, label: np.ndarray) -> dict[str, np.ndarray]:
        return {"label": in_square(label, self._size, resize_label, IGNORE)}

    def _ready(
        self,
        stream: tf.data.Dataset,
        rows: range,
        batch: int,
        place: Callable[[int, np.ndarray], Mapping[str, np.ndarray]],
    ) -> Iterator[Batch]:
        """The examples of this host's rows, decoded and resized.

        Args:
            stream: (row, encoded example) for all hosts.
            rows: this host's rows of each batch of `batch` rows.
            place: (row, prepared label) to the label in a batch, and what tells of it.
        """
        split, size = self.split, self._size

        def ready(example):
            row, image, depth, label, has_depth = example
            row, depth, label = int(row), depth[..., 0], label[..., 0]
            self._check(row, label)
            return {
                "image": in_square(image, size, resize_image, OUTSIDE),
                "depth": in_square(depth, size, resize_depth, 0)[..., None],
                "has_depth": has_depth,
                "index": np.int32(row),
            } | place(row, label)

        if len(rows) < batch:
            mine = tf.constant(np.isin(np.arange(batch), rows))
            stream = stream.enumerate().filter(lambda position, _: mine[position % batch])
            stream = stream.map(lambda _, example: example)
        stream = stream.map(_decode(split), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        stream = stream.prefetch(16)
        with tfds_files.reading(split):
            yield from ahead(ready, stream.as_numpy_iterator(), 2 * len(rows))

    def _check(self, row: int, label: np.ndarray) -> None:
        wrong = label[(label >= self.split.scheme.num_classes) & (label != IGNORE)]
        if wrong.size:
            raise InputError(
                f"{self.split.directory}, example {self.ids[row]!r}",
                f"label value {wrong.max()}",
                f"0 to {self.split.scheme.num_classes - 1}, or {IGNORE} to ignore a pixel",
                "mend the label and build the dataset again",
            )


def _decode(split: Split) -> Callable:
    kind = tf.uint8 if split.depth_bits == 8 else tf.uint16

    def decode(row, example):
        # By the slow transform, so that the pixels are those that Pillow decodes.
        image = tf.io.decode_jpeg(example["image"], 3, dct_method="INTEGER_ACCURATE")  # PNG, too
        # An 8-bit map among 16-bit ones is scaled by 257.
        depth = tf.io.decode_png(example["depth"], 1, kind)
        return row, image, depth, tf.io.decode_png(example["label"], 1), example["has_depth"]

    return decode


@functools.lru_cache(maxsize=3)  # training, validation, and validation on other data
def _in_memory(split: Split, size: int) -> Batch:
    """The whole split decoded, as the arrays that `ArraysReader` takes."""
    arrays = in_memory(
        split,
        size,
        f"cache of {split.name}/{split.config}, split {split.split!r}",
        "set --config.data.cache=False, or a smaller --config.data.size",
    )
    total = -(-split.num_examples // 16)
    batches = TfdsReader(split, size).evaluate(16)
    for batch in progress.bar(batches, f"{split.split} into memory", total, "batches"):
        for key in KEYS:
            arrays[key][batch["index"][batch["mask"]]] = batch[key][batch["mask"]]
    for array in arrays.values():
        array.flags.writeable = False  # batches for evaluation are views
    return arrays
