"""Whether the host keeps up: the step with data against the step on one fixed batch.

    python -m faceparse_jax.data.decode --name celebamask_hq_d --config official --size 512
    python -m benchmarks.host --name celebamask_hq_d --config official --sides 128 512

The RGB parser alone, small, whose step leaves the host the least time. By side and by reader: the
seconds of a step whose batches are drawn and placed ahead, as in a run, and of one whose batch is
drawn when it is asked for; both by the seconds of a step on one batch that lies on the devices. The
numbers of every `--log_every`-th step are fetched, which waits for the device. Values are the
median over windows of steps with the 10th and 90th percentile; the ways take turns, so that a
disturbance of the machine meets all alike. On a CPU the step competes with decoding for the cores.
"""

import argparse
import contextlib
import itertools
import pathlib
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np

from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.configs import celebamask_hq_d
from faceparse_jax.data.batches import AHEAD, drawn_ahead
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import tables
from faceparse_jax.training.setup import Job, accept

UNMEASURED = AHEAD + 4
"""Steps before each window, for which batches were made while the other ways had their turn."""


def job_of(options: argparse.Namespace, side: int, source: str) -> Job:
    config = celebamask_hq_d.get_config()
    config.data.name, config.data.config = options.name, options.config
    config.data.data_dir, config.data.source = options.data_dir, source
    config.data.size = config.augment.crop = side
    config.data.shuffle_buffer, config.train.batch = 64, options.batch
    config.model.width = options.width
    config.loss.depth = config.loss.e2e = config.loss.mutual = config.loss.translation = 0.0
    return accept(config)


def windows(step, state, inputs: Iterator, key, options: argparse.Namespace) -> Iterator[float]:
    """Seconds of a step in each window; `state` is a copy of this way's own."""
    while True:
        for number in range(UNMEASURED + options.steps):
            if number == UNMEASURED:
                jax.block_until_ready(state)
                begin = time.perf_counter()
            state, scalars = step(state, next(inputs)[1], key)
            if number % options.log_every == 0:
                jax.device_get(scalars)
        jax.block_until_ready(state)
        yield (time.perf_counter() - begin) / options.steps


def measured(options: argparse.Namespace, side: int) -> dict[str, list[float]]:
    """Seconds of a step by way, a value for each window."""
    jobs = {"tfds": job_of(options, side, "tfds")}
    try:
        jobs["arrays"] = job_of(options, side, "arrays")
    except InputError as error:
        print(f"without arrays at {side} px: {error}")
    first = jobs["tfds"]
    step, key = first.train_step(), first.key
    with tempfile.TemporaryDirectory() as folder, Checkpoints(pathlib.Path(folder), 1) as none:
        states = itertools.repeat(jax.device_get(first.begin(none)[0]))
    with contextlib.ExitStack() as drawn:
        fixed = itertools.repeat(next(first.train_inputs(0)))
        inputs = {"one fixed batch": fixed}
        for source, job in jobs.items():
            ahead = drawn.enter_context(drawn_ahead(job.train_inputs(0)))
            inputs |= {
                f"{source}, ahead": ahead,
                f"{source}, when asked for": job.train_inputs(0),
            }
        ways = {
            name: windows(step, jax.device_put(next(states)), each, key, options)
            for name, each in inputs.items()
        }
        for way in ways.values():
            next(way)  # compiles, starts threads
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.windows):
            for name, way in ways.items():
                found[name].append(next(way))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--name", default="celebamask_hq_d")
    parser.add_argument("--config", default="official")
    parser.add_argument("--data_dir", default="~/tensorflow_datasets")
    parser.add_argument("--sides", type=int, nargs="+", default=(128, 512))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--width", type=float, default=0.1)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="of a window")
    parser.add_argument("--log_every", type=int, default=1)
    options = parser.parse_args()
    device = jax.devices()[0].device_kind
    print(f"{device}, batch {options.batch}, RGB parser of width {options.width:g}")
    rows = [("side", "batches", "ms a step", "10th", "90th", "by the fixed batch")]
    for side in options.sides:
        found = measured(options, side)
        fixed = np.array(found["one fixed batch"])
        for name, seconds in found.items():
            low, middle, high = np.percentile(1000 * np.array(seconds), (10, 50, 90))
            cells = [f"{value:.1f}" for value in (middle, low, high)]
            rows.append((str(side), name, *cells, f"{np.median(seconds / fixed):.3f}"))
    print("\n".join(tables.aligned(rows, numbers_from=2)))


if __name__ == "__main__":
    main()
