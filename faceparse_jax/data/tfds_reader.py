"""Prepared datasets to batches of uint8 NumPy arrays; with `stored` and `fit` all of TensorFlow.

A batch is ``image`` u8 [b h w 3], ``depth`` u8 or u16 [b h w 1], ``label`` u8 [b h w],
``has_depth`` bool [b], ``index`` i32 [b] (the row in the split); batches for evaluation
have ``mask`` bool [b] too. Everything float, augmentation included, is the device's work.
"""

import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from faceparse_jax import labels
from faceparse_jax.data import tfds_files, tfds_resize
from faceparse_jax.data.batches import (
    ORIGINAL,
    canvas,
    empty,
    host_rows,
    in_corner,
    on_canvas,
    padded,
    shuffled,
)
from faceparse_jax.data.scarcity import EVERYTHING, Batch, Scarcity, pools, scarce
from faceparse_jax.data.splits import Split
from faceparse_jax.data.tfds_files import has_depth, open_split, open_splits, split_ids
from faceparse_jax.errors import InputError
from faceparse_jax.images import normalise

__all__ = [
    "CACHE_LIMIT",
    "eval_batches",
    "has_depth",
    "open_split",
    "open_splits",
    "split_ids",
    "train_batches",
]

CACHE_LIMIT = 8 * 2**30
"""Bytes that one cached split may take in the memory of a host; at most two are kept."""


def train_batches(
    split: Split,
    *,
    batch_size: int,
    size: int,
    seed: int,
    start_step: int = 0,
    shuffle_buffer: int = 2048,
    cache: bool = False,
    scarcity: Scarcity = EVERYTHING,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Endless shuffled batches, a function of (seed, step) alone.

    Every epoch has an order of its own and holds each example once; epochs run into each
    other, so no example is dropped at their ends. Each host gets a contiguous block of
    the rows of every global batch, in the order of the hosts.

    Args:
        batch_size: rows over all hosts.
        size: side of images, depth and labels, in pixels.
        start_step: batches that are left out. Whole epochs cost nothing, the rest of an
            epoch is read without decoding; with `cache` nothing is read.
        shuffle_buffer: undecoded examples in memory. From `num_examples` on, every order
            of an epoch is possible.
        cache: decode and resize once and keep `num_examples` * `size`**2 * 5 bytes in
            memory. The shuffle is then full, and in another order than without.
        scarcity: depth and labels that are taken away, and rows drawn from what keeps them.

    Raises:
        InputError: the hosts cannot share the batch, the cache would exceed
            `CACHE_LIMIT`, or (while iterating) a label has a value outside the scheme.
    """
    rows = host_rows(batch_size, process_index, process_count)
    drawn = None
    if scarcity.depth_share or scarcity.label_share:
        drawn = pools(scarcity, tfds_files.all_ids(split), has_depth(split), batch_size)
    if cache:
        arrays = _cache(split, size, size)
        stream = shuffled(arrays, rows, batch_size, seed, start_step, drawn)
    else:
        if drawn is None:
            stream = _endless(split, seed, start_step * batch_size, shuffle_buffer)
        else:
            streams, pattern = [], np.zeros(batch_size, np.int64)
            for number, pool in enumerate(drawn):
                if len(pool.rows):
                    pattern[pool.rows] = len(streams)
                    start = start_step * len(pool.rows)
                    one = _endless(split, seed, start, shuffle_buffer, pool.examples, number)
                    streams.append(one)
            which = tf.data.Dataset.from_tensor_slices(pattern).repeat()
            stream = tf.data.Dataset.choose_from_datasets(streams, which)
        stream = _decoded(split, _rows_of_host(stream, rows, batch_size), size, size)
        stream = _checked(split, stream.batch(len(rows), drop_remainder=True))
    return stream if scarcity.whole else scarce(stream, tfds_files.all_ids(split), scarcity)


def _endless(
    split: Split,
    seed: int,
    start: int,
    shuffle_buffer: int,
    chosen: np.ndarray | None = None,
    number: int = 0,
) -> tf.data.Dataset:
    """(row, encoded example) of shuffled epochs, from the position `start` on.

    Args:
        chosen: rows that take part, None for all.
        number: of the stream; each has orders of its own.
    """
    encoded = tfds_files.encoded(split)
    count = split.num_examples
    if chosen is not None:
        takes_part = tf.constant(np.isin(np.arange(count), chosen))
        encoded = encoded.filter(lambda row, _: takes_part[row])
        count = len(chosen)
    first, skipped = divmod(start, count)

    def epoch(count):
        # Far apart, so that runs with neighbouring seeds share no order.
        order = tf.cast(seed, tf.int64) * 1_000_003 + count + (number << 40)
        return encoded.shuffle(shuffle_buffer, seed=order, reshuffle_each_iteration=False)

    return tf.data.Dataset.range(first, np.iinfo(np.int64).max).flat_map(epoch).skip(skipped)


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
    """Every example once, in stored order, the same number of batches on every host.

    The last batch is padded with rows of zeros, whose ``mask`` is False.

    Args:
        batch_size: rows over all hosts.
        size: side of images and depth, in pixels.
        label_size: side of the labels; None for `size`; `batches.ORIGINAL` for labels of
            their own size on a canvas. Any but `size` lies in the top left corner, with
            ``size`` i32 [b 2], the label's own height and width there, and ``window`` i32
            [b 4], the part of the square that the picture fills.
        cache: keep the decoded split in memory for the next call; not at original size.

    Raises:
        InputError: as for `train_batches`.
    """
    label_size = label_size or size
    rows = host_rows(batch_size, process_index, process_count)
    starts = range(0, split.num_examples, batch_size)
    if label_size == ORIGINAL:
        sizes = tfds_files.label_sizes(split)
        stream = _rows_of_host(tfds_files.encoded(split), rows, batch_size)
        stream = _checked(split, _decoded(split, stream, size, None), batched=False)
        shapes = (canvas(sizes[start : start + batch_size]) for start in starts)
        empties = (empty(len(rows), size, s, split.depth_bits, sized=True) for s in shapes)
        return padded(on_canvas(stream, rows, batch_size, sizes, size), empties)
    if cache:
        arrays = _cache(split, size, label_size)
        firsts = range(rows.start, split.num_examples, batch_size)
        parts = ({k: v[s : s + len(rows)] for k, v in arrays.items()} for s in firsts)
    else:
        stream = _rows_of_host(tfds_files.encoded(split), rows, batch_size)
        stream = _decoded(split, stream, size, label_size)
        parts = _checked(split, stream.batch(len(rows)))
    other = label_size != size
    parts = in_corner(parts, size, label_size) if other else parts
    zeros = empty(len(rows), size, (label_size, label_size), split.depth_bits, sized=other)
    return padded(parts, (zeros for _ in starts))


def _rows_of_host(stream: tf.data.Dataset, rows: range, batch_size: int) -> tf.data.Dataset:
    if len(rows) == batch_size:
        return stream

    def mine(position, _):
        place = position % batch_size
        return (place >= rows.start) & (place < rows.stop)

    return stream.enumerate().filter(mine).map(lambda _, example: example)


def _decoded(
    split: Split, stream: tf.data.Dataset, size: int, label_size: int | None
) -> tf.data.Dataset:
    """Examples of fixed size; ``largest`` is the label's largest value but `IGNORE`.

    Args:
        label_size: None leaves labels as they are. Any but `size` puts them into a corner
            and adds the ``shape`` i32 [2] that they had.
    """
    features = tfds_files.features(split)
    depth_type = tf.uint8 if split.depth_bits == 8 else tf.uint16

    def decode(row, example):
        image, label = (features[key].decode_example(example[key]) for key in ("image", "label"))
        # An 8-bit map among 16-bit ones is scaled by 257.
        depth = tf.io.decode_png(example["depth"], channels=1, dtype=depth_type)
        shape, largest = tf.shape(label)[:2], _largest(label)
        if label_size:
            place = tfds_resize.square if label_size == size else tfds_resize.corner
            label = place(label, label_size, tfds_resize.nearest, labels.IGNORE)
        return {
            "image": tfds_resize.square(image, size, tfds_resize.image, normalise.OUTSIDE),
            "depth": tfds_resize.square(depth, size, tfds_resize.depth, 0),
            "label": label[..., 0],
            "has_depth": example["has_depth"],
            "index": tf.cast(row, tf.int32),
            "largest": largest,
        } | ({} if label_size in (None, size) else {"shape": shape})

    return stream.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _largest(label: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(tf.where(label == labels.IGNORE, tf.zeros_like(label), label))


def _checked(split: Split, stream: tf.data.Dataset, batched: bool = True) -> Iterator[Batch]:
    batches = stream.prefetch(2 if batched else 16).as_numpy_iterator()
    while True:
        with tfds_files.reading(split):
            batch = next(batches, None)
        if batch is None:
            return
        largest, index = np.atleast_1d(batch.pop("largest"), batch["index"])
        if (largest >= split.scheme.num_classes).any():
            row = int(np.argmax(largest))
            raise InputError(
                f"{split.directory}, example {split_ids(split, index[[row]])[0]!r}",
                f"label value {largest[row]}",
                f"0 to {split.scheme.num_classes - 1}, or {labels.IGNORE} to ignore a pixel",
                "mend the label and build the dataset again",
            )
        yield batch


@functools.lru_cache(maxsize=2)  # training and validation
def _cache(split: Split, size: int, label_size: int) -> Batch:
    """The whole decoded split; kept, because every evaluation asks for it again."""
    need = split.num_examples * ((3 + split.depth_bits // 8) * size**2 + label_size**2)
    if need > CACHE_LIMIT:
        raise InputError(
            f"cache of {split.name}/{split.config}, split {split.split!r}",
            f"{need / 2**30:.1f} GiB at {size} px",
            f"at most {CACHE_LIMIT / 2**30:.0f} GiB",
            "set --config.data.cache=False, or a smaller --config.data.size",
        )
    stream = _decoded(split, tfds_files.encoded(split), size, label_size).batch(16)
    arrays = {
        key: np.empty((split.num_examples, *spec.shape[1:]), spec.dtype.as_numpy_dtype)
        for key, spec in stream.element_spec.items()
        if key != "largest"
    }
    for batch in _checked(split, stream):
        for key, array in arrays.items():
            array[batch["index"]] = batch[key]
    for array in arrays.values():
        array.flags.writeable = False  # batches for evaluation are views
    return arrays
