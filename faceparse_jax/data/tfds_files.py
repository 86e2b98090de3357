"""The files of a prepared dataset: its splits, and their examples as they are encoded there.

With `tfds_reader` all that knows TensorFlow.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from jaxtyping import Bool, Int

from faceparse_jax import labels
from faceparse_jax.data.batches import png_shape
from faceparse_jax.data.splits import Split, build_command, fingerprint, newest_version
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import machine, places
from faceparse_jax.runtime.places import Place

# TensorFlow would take all of the memory of the GPUs that JAX works on.
tf.config.set_visible_devices([], "GPU")
with contextlib.suppress(RuntimeError):  # it works already, for a program of others
    tf.config.threading.set_inter_op_parallelism_threads(machine.cores())
    tf.config.threading.set_intra_op_parallelism_threads(machine.cores())

_ENCODED = ("image", "depth", "label")
_FRAME = 16  # bytes of a record beside its data: a length and two checksums


def open_split(name: str, config: str, split: str, data_dir: str | os.PathLike) -> Split:
    """Opens the newest version of a dataset that `tfds_builders.build` has prepared.

    Raises:
        InputError: the dataset is not prepared or damaged, has no such split, or its labels
            are of a scheme that this version does not know; a bucket did not answer.
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
    try:
        scheme = labels.from_data(metadata)
        if list(scheme.classes) != list(metadata.get("classes", ())):
            raise ValueError(f"the label scheme {scheme.name!r} with {metadata.get('classes')}")
    except ValueError as error:
        raise InputError(
            str(directory / "metadata.json"),
            str(error),
            f"one of {sorted(labels.SCHEMES)} with the classes of faceparse_jax/labels/schemes.py, "
            "or an own one with all that belongs to it",
            _again(directory),
        ) from error
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


def open_splits(name: str, config: str, data_dir: str | os.PathLike) -> list[Split]:
    """Every split of a prepared dataset; see `open_split`."""
    info = _builder(newest_version(name, config, data_dir)).info
    there = [split for split, found in info.splits.items() if found.num_examples]
    return [open_split(name, config, split, data_dir) for split in there]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of the examples of a split without decoding them, in the order of the files."""

    ids: list[str]
    has_depth: Bool[np.ndarray, " n"]
    label_shapes: Int[np.ndarray, "n 2"]


@functools.lru_cache(maxsize=16)
def facts(split: Split) -> Facts:
    """Reads the whole split once."""
    stream = encoded(split).map(
        lambda _, example: (
            example["id"],
            example["has_depth"],
            tf.strings.substr(example["label"], 0, 24),
        )
    )
    with reading(split):
        ids, has_depth, labels = zip(*stream.as_numpy_iterator(), strict=True)
    shapes = np.array([png_shape(label) for label in labels])
    return Facts([name.decode() for name in ids], np.array(has_depth), shapes)


@functools.lru_cache(maxsize=2)
def encoded_labels(split: Split) -> list[bytes]:
    """The PNG file of every label, in the order of the files."""
    stream = encoded(split).map(lambda _, example: example["label"])
    with reading(split):
        return list(stream.as_numpy_iterator())


def encoded(split: Split) -> tf.data.Dataset:
    """(row, example with the bytes of its PNG and JPEG files) in the order of the files."""
    # One file after the other: the row number must not depend on an interleave.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    dataset = _builder(split.directory).as_dataset(
        split=split.split,
        shuffle_files=False,
        decoders={key: tfds.decode.SkipDecoding() for key in _ENCODED},
        read_config=config,
    )
    return dataset.enumerate()


@contextlib.contextmanager
def reading(split: Split) -> Iterator[None]:
    """Tells of records that TensorFlow cannot read or decode.

    Raises:
        InputError: they are damaged, or a bucket did not answer.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if told := places.unanswered(split.directory, error):
            raise told from error
        reason = error.message.split("} ")[-1].split(" [Op:")[0]
        raise _damaged(split.directory, f"{reason} in split {split.split!r}") from error


@functools.lru_cache(maxsize=16)
def _builder(directory: Place) -> tfds.core.DatasetBuilder:
    try:
        builder = tfds.builder_from_directory(str(directory))
        dict(builder.info.metadata or {})  # read when it is asked for
        faults = [fault for split in builder.info.splits.values() for fault in _faults(split)]
        if builder.info.file_format.value != "tfrecord":
            faults = [f"files of the format {builder.info.file_format.value}"]
    except Exception as error:  # TFDS has no one exception for damage
        if told := places.unanswered(directory, error):
            raise told from error
        reason = " ".join(str(error).split())[:200]
        raise _damaged(directory, reason or type(error).__name__) from error
    if faults:
        raise _damaged(directory, faults[0])
    return builder


def _faults(split: tfds.core.SplitInfo) -> list[str]:
    """What is wrong with the files of a split, by their names and sizes."""
    paths = split.filepaths
    missing = [f"no file {path.name}" for path in paths if not path.is_file()]
    whole = split.num_bytes + _FRAME * split.num_examples
    there = sum(places.size(path) for path in paths if path.is_file())
    if missing or there == whole:
        return missing
    return [f"{there:,} bytes of split {split.name!r} instead of {whole:,}"]


def _again(directory: Place) -> str:
    config, name, data_dir = (directory.parents[n] for n in range(3))
    return f"remove {directory} and run {build_command(name.name, config.name, data_dir)}"


def _damaged(directory: Place, found: str) -> InputError:
    return InputError(str(directory), found, "a prepared dataset", _again(directory))
