"""Rendered heads a second: one by one, many at once, and as the batches of a run.

    python -m benchmarks.heads --sizes 128

The ways are measured in turn, so that what else a machine does meets all of them. Compilation does
not count. The last lines say how far heads that are rendered at once are from those of
`render_head`.
"""

import argparse
import concurrent.futures
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from faceparse_jax.data import reader
from faceparse_jax.data.order import Order
from faceparse_jax.data.synthetic import heads, render_head
from faceparse_jax.data.synthetic.identity import sample_head
from faceparse_jax.runtime import machine, provenance, sharding

ROWS = 16
"""Of a batch."""
REUSE = 4
"""Epochs for which a head stays in the pool that is measured."""


def ways(size: int, count: int) -> Mapping[str, Callable[[], object]]:
    """Each way to come to so many heads; what it has compiled stays for the next call."""
    keys = itertools.count()

    def some(count):
        return list(itertools.islice(keys, count))

    def one_by_one(threads):
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            list(pool.map(functools.partial(render_head, size=size), some(count)))

    def at_once():
        device = jax.local_devices()[0]
        jax.block_until_ready(
            [heads.rendered_on(device, some(ROWS), size) for _ in range(count // ROWS)]
        )

    def read(**pool):
        opened = reader.open("rendered", *reader.RENDERED.split("/"), "train", "", size, **pool)
        order = Order(ROWS, 0)
        batches = opened.on_devices(order, 0, sharding.make_mesh(1)) or opened.train(order)
        return lambda: jax.block_until_ready(list(itertools.islice(batches, count // ROWS)))

    each = {
        f"one by one, {threads} threads": functools.partial(one_by_one, threads)
        for threads in sorted({1, machine.cores()})
    }
    return each | {
        "parameters alone, with NumPy": lambda: [sample_head(key) for key in some(count)],
        f"{ROWS} at once": at_once,
        "batches, every row a new head": read(),
        f"batches of a pool, {REUSE} epochs for a head": read(heads=count, reuse=REUSE),
    }


def rates(size: int, count: int, repeat: int) -> dict[str, list[float]]:
    """Heads a second of each way, for each repetition.

    Args:
        count: heads in a repetition, a multiple of `ROWS`.
    """
    found: dict[str, list[float]] = {}
    compiled = ways(size, count)
    for way in compiled.values():
        way()
    for _ in range(repeat):
        for name, way in compiled.items():
            start = time.perf_counter()
            way()
            found.setdefault(name, []).append(count / (time.perf_counter() - start))
    return found


def differing(size: int) -> dict[str, tuple[int, int]]:
    """In image, depth and label of `ROWS` heads at once: values that differ, and by how much."""
    keys = range(ROWS)
    many = jax.device_get(heads.rendered_on(jax.local_devices()[0], keys, size))
    singles = [render_head(key, size) for key in keys]
    found = {}
    for name in ("image", "depth", "label"):
        single = np.stack([one[name] for one in singles]).reshape(many[name].shape)
        far = np.abs(single.astype(int) - many[name])
        found[name] = int(np.count_nonzero(far)), int(far.max())
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heads")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="in pixels")
    parser.add_argument("--heads", type=int, default=48, help=f"in each, a multiple of {ROWS}")
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args(argv)
    if options.heads < ROWS or options.heads % ROWS or options.repeat < 1:
        parser.error(f"expected --heads a multiple of {ROWS}, and --repeat at least 1")
    print(provenance.device())
    for size in options.sizes:
        for name, found in rates(size, options.heads, options.repeat).items():
            print(
                f"{size} px, {name}: median {statistics.median(found):.1f} images/s "
                f"({min(found):.1f} to {max(found):.1f} over {options.repeat} repetitions)",
                flush=True,
            )
        for name, (values, most) in differing(size).items():
            print(f"{size} px, {name} of {ROWS} at once: {values} values differ, by {most} at most")


if __name__ == "__main__":
    main()
