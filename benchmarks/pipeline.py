"""Images per second that the data pipeline delivers, without any training.

    python benchmarks/pipeline.py --name celebamask_hq_d --config official --data_dir D

Prints one line for reading with decoding and one for the cache: the median over windows
of batches, the 10th and 90th percentile, and the seconds before the first batch.
"""

import argparse
import itertools
import pathlib
import sys
import time

import numpy as np

# Run as a file, from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from faceparse_jax.data import pipeline
from faceparse_jax.errors import InputError


def speeds(batches, batch_size: int, windows: int, per_window: int) -> np.ndarray:
    """Images per second of each window."""
    found = []
    for _ in range(windows):
        begin = time.perf_counter()
        for _ in itertools.islice(batches, per_window):
            pass
        found.append(per_window * batch_size / (time.perf_counter() - begin))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="synthetic_heads")
    parser.add_argument("--config", default="demo")
    parser.add_argument("--data_dir", default="~/tensorflow_datasets")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--shuffle_buffer", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--batches_per_window", type=int, default=4)
    flags = parser.parse_args()
    split = pipeline.open_split(flags.name, flags.config, flags.split, flags.data_dir)
    for cache in (False, True):
        begin = time.perf_counter()
        batches = pipeline.train_batches(
            split,
            batch_size=flags.batch,
            size=flags.size,
            seed=0,
            shuffle_buffer=flags.shuffle_buffer,
            cache=cache,
        )
        next(batches)
        first = time.perf_counter() - begin
        found = speeds(batches, flags.batch, flags.windows, flags.batches_per_window)
        low, middle, high = np.percentile(found, (10, 50, 90))
        print(
            f"{split.name}/{split.config} {split.num_examples} examples, {flags.size} px, "
            f"batch {flags.batch}, {'cache' if cache else 'decode'}: "
            f"{middle:.0f} images/s ({low:.0f} to {high:.0f}), first batch after {first:.1f} s"
        )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
