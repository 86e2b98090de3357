"""Prepared datasets to batches of uint8 NumPy arrays; here and in `fit` alone is TensorFlow.

A batch is ``image`` u8 [b h w 3], ``depth`` u8 or u16 [b h w 1], ``label`` u8 [b h w],
``has_depth`` bool [b], ``index`` i32 [b] (the row in the split); batches for evaluation
have ``mask`` bool [b] too. Everything float, augmentation included, is the device's work.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

# Both are read at import, against lines about the build; no operation here uses oneDNN.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf
import tensorflow_datasets as tfds

from faceparse_jax import labels, letterbox
from faceparse_jax.data import fit
from faceparse_jax.data.batches import (
    ORIGINAL,
    canvas,
    empty,
    host_rows,
    in_corner,
    on_canvas,
    padded,
    png_shape,
    shuffled,
)
from faceparse_jax.data.prepared import Split, build_command, fingerprint, newest_version
from faceparse_jax.data.scarcity import EVERYTHING, Batch, Scarcity, pools, scarce
from faceparse_jax.errors import InputError

# TensorFlow would take all of the memory of the GPUs that JAX works on.
tf.config.set_visible_devices([], "GPU")

CACHE_LIMIT = 8 * 2**30
"""Bytes that one cached split may take in the memory of a host; at most two are kept."""

_ENCODED = ("image", "depth", "label")
_FRAME = 16  # bytes of a record beside its data: a length and two checksums


def open_split(name: str, config: str, split: str, data_dir: str | pathlib.Path) -> Split:
    """Opens the newest version of a dataset that `tfds_builders.build` has prepared.

    Raises:
        InputError: the dataset is not prepared or damaged, has no such split, or its labels
            are of a scheme that this version does not know.
    """
    directory = newest_version(name, config, data_dir)
    info = _builder(directory).info
    there = {key: value.num_examples for key, value in info.splits.items() if value.num_examples}
    if split not in there:
        raise InputError(
            str(directory), f"no split {split!r}", f"one of {sorted(there)}", "choose one of these"
        )
    metadata = dict(info.metadata)
    bits, with_depth = metadata.get("depth_bits", 8), metadata.get("with_depth", {})
    if bits not in (8, 16) or not isinstance(with_depth, dict):
        raise InputError(
            str(directory / "metadata.json"),
            f"depth_bits {bits!r} and with_depth {with_depth!r}",
            "8 or 16, and a count for each split",
            _again(directory),
        )
    scheme = labels.SCHEMES.get(metadata.get("scheme", ""))
    if scheme is None or list(scheme.classes) != list(metadata.get("classes", ())):
        raise InputError(
            str(directory / "metadata.json"),
            f"label scheme {metadata.get('scheme')!r} with classes {metadata.get('classes')}",
            f"one of {sorted(labels.SCHEMES)} with the classes of faceparse_jax/labels.py",
            _again(directory),
        )
    shape = info.features["label"].shape[:2]
    return Split(
        name=name,
        config=config,
        split=split,
        version=directory.name,
        directory=directory,
        num_examples=there[split],
        with_depth=int(with_depth.get(split, there[split])),
        scheme=scheme,
        merge_order=metadata.get("merge_order", ""),
        depth_source=metadata.get("depth_source", ""),
        depth_bits=bits,
        label_size=None if None in shape else (int(shape[0]), int(shape[1])),
        fingerprint=fingerprint(directory),
    )


def open_splits(name: str, config: str, data_dir: str | pathlib.Path) -> list[Split]:
    """Every split of a prepared dataset; see `open_split`."""
    info = _builder(newest_version(name, config, data_dir)).info
    there = [split for split, found in info.splits.items() if found.num_examples]
    return [open_split(name, config, split, data_dir) for split in there]


def split_ids(split: Split, indices: Sequence[int] | np.ndarray) -> list[str]:
    """The ids of the examples in these rows of the split."""
    ids = _ids(split)
    return [ids[int(i)] for i in indices]


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
        drawn = pools(scarcity, _ids(split), has_depth(split), batch_size)
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
    return stream if scarcity.whole else scarce(stream, _ids(split), scarcity)


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
    encoded = _encoded(split)
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
        sizes = _label_sizes(split)
        stream = _rows_of_host(_encoded(split), rows, batch_size)
        stream = _checked(split, _decoded(split, stream, size, None), batched=False)
        shapes = (canvas(sizes[start : start + batch_size]) for start in starts)
        empties = (empty(len(rows), size, s, split.depth_bits, sized=True) for s in shapes)
        return padded(on_canvas(stream, rows, batch_size, sizes, size), empties)
    if cache:
        arrays = _cache(split, size, label_size)
        firsts = range(rows.start, split.num_examples, batch_size)
        parts = ({k: v[s : s + len(rows)] for k, v in arrays.items()} for s in firsts)
    else:
        stream = _rows_of_host(_encoded(split), rows, batch_size)
        stream = _decoded(split, stream, size, label_size)
        parts = _checked(split, stream.batch(len(rows)))
    other = label_size != size
    parts = in_corner(parts, size, label_size) if other else parts
    zeros = empty(len(rows), size, (label_size, label_size), split.depth_bits, sized=other)
    return padded(parts, (zeros for _ in starts))


@functools.lru_cache(maxsize=16)
def _builder(directory: pathlib.Path) -> tfds.core.DatasetBuilder:
    try:
        builder = tfds.builder_from_directory(str(directory))
        dict(builder.info.metadata or {})  # read when it is asked for
        faults = [fault for split in builder.info.splits.values() for fault in _faults(split)]
        if builder.info.file_format.value != "tfrecord":
            faults = [f"files of the format {builder.info.file_format.value}"]
    except Exception as error:  # TFDS has no one exception for damage
        reason = " ".join(str(error).split())[:200]
        raise _damaged(directory, reason or type(error).__name__) from error
    if faults:
        raise _damaged(directory, faults[0])
    return builder


def _faults(split: tfds.core.SplitInfo) -> list[str]:
    """What is wrong with the files of a split, by their names and sizes."""
    paths = [pathlib.Path(path) for path in split.filepaths]
    missing = [f"no file {path.name}" for path in paths if not path.is_file()]
    whole = split.num_bytes + _FRAME * split.num_examples
    there = sum(path.stat().st_size for path in paths if path.is_file())
    if missing or there == whole:
        return missing
    return [f"{there:,} bytes of split {split.name!r} instead of {whole:,}"]


def _again(directory: pathlib.Path) -> str:
    config, name, data_dir = (directory.parents[n] for n in range(3))
    return f"remove {directory} and run {build_command(name.name, config.name, data_dir)}"


def _damaged(directory: pathlib.Path, found: str) -> InputError:
    return InputError(str(directory), found, "a prepared dataset", _again(directory))


@contextlib.contextmanager
def _reading(split: Split) -> Iterator[None]:
    """Tells of records that TensorFlow cannot read or decode."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.split("} ")[-1].split(" [Op:")[0]
        raise _damaged(split.directory, f"{reason} in split {split.split!r}") from error


def _encoded(split: Split) -> tf.data.Dataset:
    """(row, example with encoded images) in stored order."""
    # One file after the other: the row number must not depend on an interleave.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = _builder(split.directory).as_dataset(
        split=split.split,
        shuffle_files=False,
        decoders={key: tfds.decode.SkipDecoding() for key in _ENCODED},
        read_config=config,
    )
    return dataset.enumerate()


def encoded_examples(split: Split) -> Iterator[tuple[int, dict]]:
    """Row and stored features of every example; images are the bytes of their files."""
    with _reading(split):
        yield from _encoded(split).as_numpy_iterator()


@functools.lru_cache(maxsize=16)
def _ids(split: Split) -> list[str]:
    stream = _encoded(split).map(lambda _, example: example["id"])
    with _reading(split):
        return [name.decode() for name in stream.as_numpy_iterator()]


@functools.lru_cache(maxsize=16)
def has_depth(split: Split) -> np.ndarray:
    """Whether each example has depth, bool [n]; reads the whole split once."""
    stream = _encoded(split).map(lambda _, example: example["has_depth"])
    with _reading(split):
        return np.array(list(stream.as_numpy_iterator()))


@functools.lru_cache(maxsize=16)
def _label_sizes(split: Split) -> np.ndarray:
    """Height and width [n 2] of every label, from the headers of the PNG files."""
    stream = _encoded(split).map(lambda _, example: tf.strings.substr(example["label"], 0, 24))
    with _reading(split):
        return np.array([png_shape(raw) for raw in stream.as_numpy_iterator()])


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
    features = _builder(split.directory).info.features
    depth_type = tf.uint8 if split.depth_bits == 8 else tf.uint16

    def decode(row, example):
        image, label = (features[key].decode_example(example[key]) for key in ("image", "label"))
        # An 8-bit map among 16-bit ones is scaled by 257.
        depth = tf.io.decode_png(example["depth"], channels=1, dtype=depth_type)
        shape, largest = tf.shape(label)[:2], _largest(label)
        if label_size:
            place = fit.square if label_size == size else fit.corner
            label = place(label, label_size, fit.nearest, labels.IGNORE)
        return {
            "image": fit.square(image, size, fit.image, letterbox.OUTSIDE),
            "depth": fit.square(depth, size, fit.depth, 0),
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
        with _reading(split):
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
    stream = _decoded(split, _encoded(split), size, label_size).batch(16)
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
