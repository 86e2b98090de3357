"""Images per second that the data path delivers, without any training.

    python benchmarks/pipeline.py --name celebamask_hq_d --config official --data_dir D \
        --size 512 --torch_python OTHER_ENVIRONMENT/bin/python

One run, one set of files: decoding with tf.data, its cache, arrays in memory-mapped files
(where `faceparse_jax.data.decode` has written them) and, given an interpreter that has PyTorch
and Pillow, torch's DataLoader on the same JPEG and PNG files. Prints the median over
windows of batches and the 10th and 90th percentile, in rounds, so that a disturbance of
the machine meets all alike.
"""

import argparse
import itertools
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

# Run as a file, from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from faceparse_jax.data import arrays_reader, reader, tfds_files
from faceparse_jax.data.order import Order
from faceparse_jax.data.splits import Split
from faceparse_jax.errors import InputError

DISCARD = 8
"""Batches that no way makes further ahead than."""

TORCH = pathlib.Path(__file__).with_name("torch_dataloader.py")


def windows(batches: Iterator, flags) -> Iterator[float]:
    """Images per second of each window."""
    while True:
        # What was made ahead while the others had their turn does not count.
        for _ in itertools.islice(batches, DISCARD):
            pass
        begin = time.perf_counter()
        for _ in itertools.islice(batches, flags.batches_per_window):
            pass
        yield flags.batches_per_window * flags.batch / (time.perf_counter() - begin)


def torch_windows(folder: pathlib.Path, flags) -> Iterator[float]:
    """The same from the other interpreter, a window for each line that it is sent."""
    words = [folder, flags.size, flags.batch, flags.batches_per_window, DISCARD]
    words += [flags.torch_workers]
    process = subprocess.Popen(
        [flags.torch_python, TORCH, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while True:
            process.stdin.write("go\n")
            process.stdin.flush()
            yield float(process.stdout.readline())
    finally:
        process.kill()


def write_files(split: Split, folder: pathlib.Path) -> None:
    """The split's encoded images as files, as a PyTorch user would have them."""
    for row, example in tfds_files.encoded(split).as_numpy_iterator():
        for key, end in (("image", "jpg"), ("depth", "png"), ("label", "png")):
            (folder / f"{row:06d}_{key}.{end}").write_bytes(example[key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="synthetic_heads")
    parser.add_argument("--config", default="demo")
    parser.add_argument("--data_dir", default="~/tensorflow_datasets")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--shuffle_buffer", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=9)
    parser.add_argument("--batches_per_window", type=int, default=8)
    parser.add_argument("--torch_python", help="an interpreter with PyTorch and Pillow")
    parser.add_argument("--torch_workers", type=int, default=2)
    flags = parser.parse_args()
    data = (flags.name, flags.config, flags.split, flags.data_dir, flags.size)
    order = Order(flags.batch, seed=0)
    decode = reader.open("tfds", *data, flags.shuffle_buffer)
    split = decode.split
    ways = {
        "tf.data, decoding": windows(decode.train(order), flags),
        "tf.data, cached": windows(reader.open("tfds", *data, cache=True).train(order), flags),
    }
    if arrays_reader.folder(split, flags.size).exists():
        ways["arrays"] = windows(reader.open("arrays", *data).train(order), flags)
    print(
        f"{split.name}/{split.config} {split.num_examples} examples, {flags.size} px, "
        f"batch {flags.batch}, {flags.windows} windows of {flags.batches_per_window} batches"
    )
    with tempfile.TemporaryDirectory() as folder:
        if flags.torch_python:
            write_files(split, pathlib.Path(folder))
            name = f"torch DataLoader, {flags.torch_workers} workers"
            ways[name] = torch_windows(pathlib.Path(folder), flags)
        for way in ways.values():
            next(way)  # starts threads, fills buffers
        found = {name: [] for name in ways}
        for _ in range(flags.windows):
            for name, way in ways.items():
                found[name].append(next(way))
    for name, speeds in found.items():
        low, middle, high = np.percentile(speeds, (10, 50, 90))
        print(f"{name:30} {middle:9,.0f} images/s ({low:,.0f} to {high:,.0f})")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
