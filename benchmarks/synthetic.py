"""Rendered heads a second, with one thread and with one for each core."""

import argparse
import concurrent.futures
import os
import pathlib
import statistics
import sys
import time

# Run as a file, from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from faceparse_jax.data.synthetic import render_head


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--heads", type=int, default=32, help="in each repetition")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    render_head(0, options.size)  # compiles
    for threads in sorted({1, os.cpu_count() or 1}):
        rates = []
        for n in range(options.repeat):
            keys = range(n * options.heads, (n + 1) * options.heads)
            start = time.perf_counter()
            with concurrent.futures.ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda key: render_head(key, options.size), keys))
            rates.append(options.heads / (time.perf_counter() - start))
        print(
            f"{options.size} px, {threads} threads: median {statistics.median(rates):.1f} images/s "
            f"({min(rates):.1f} to {max(rates):.1f} over {options.repeat} repetitions)"
        )


if __name__ == "__main__":
    main()
