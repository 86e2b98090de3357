"""How far runs on 1, 2 and 8 devices are apart.

    python -m benchmarks.devices --steps 20

All three networks, small, on synthetic heads, on CPU devices; the same batches and random numbers.
Prints the largest difference of parameters and of logged numbers to the run on one device, after
the first and after the last step, and whether evaluation counts the same pixels.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import jax
import numpy as np

from configs import synthetic_heads
from faceparse_jax import evaluate, sharding, tables
from faceparse_jax.checkpoints import Checkpoints
from faceparse_jax.job import accept, training_inputs
from faceparse_jax.scoring import Scoring
from tfds_builders.build import build

DEVICES = (1, 2, 8)


def run(data: str, devices: int, steps: int):
    """Parameters and scalars after the first and the last step, the variables, the job."""
    config = synthetic_heads.get_config()
    config.devices = devices
    config.data.config, config.data.data_dir, config.data.size = "tiny", data, 64
    config.augment.crop = 64
    config.model.width, config.model.translator_features = 0.125, 8
    config.train.batch, config.eval.batch = 8, 4
    job = accept(config)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(pathlib.Path(folder), 1) as none:
        state, _ = job.begin(none)
    step, batches, key = job.train_step(), job.train_batches(0), job.key()
    seen = []
    for number in range(1, steps + 1):
        inputs = sharding.shard(training_inputs(next(batches)), job.mesh)
        state, scalars = step(state, inputs, key)
        if number in (1, steps):
            scalars.pop("seen")
            seen.append(jax.device_get((state.params, scalars)))
    return seen, jax.device_get(state.variables()), job


def furthest(a, b) -> tuple[float, float]:
    """The largest absolute difference, and the largest one by the scale of its array."""
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    gaps = [float(np.max(np.abs(x - y))) for x, y in pairs]
    scales = [max(float(np.max(np.abs(x))), 1e-12) for x, _ in pairs]
    return max(gaps), max(gap / scale for gap, scale in zip(gaps, scales, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    rows = [("devices", "step", "parameters", "by scale", "logged", "by scale", "pixels counted")]
    with tempfile.TemporaryDirectory() as data:
        build("synthetic_heads", config="tiny", data_dir=pathlib.Path(data))
        first = counted = networks = None
        for devices in DEVICES:
            seen, variables, job = run(data, devices, options.steps)
            # Counting is compared for the networks of one device.
            networks = networks or variables
            scoring = Scoring(job.train_split.scheme.num_classes)
            counts, _ = evaluate.count(
                evaluate.make_eval_step(job.nets, scoring, job.mesh),
                sharding.replicate(networks, job.mesh),
                job.validation_batches(),
                job.mesh,
            )
            if first is None:
                first, counted = seen, counts
                continue
            same = all(
                np.array_equal(x, y)
                for x, y in zip(jax.tree.leaves(counts), jax.tree.leaves(counted), strict=True)
            )
            for number, mine, theirs in zip((1, options.steps), seen, first, strict=True):
                gaps = (*furthest(theirs[0], mine[0]), *furthest(theirs[1], mine[1]))
                cells = [f"{gap:.1e}" for gap in gaps]
                rows.append((str(devices), str(number), *cells, "the same" if same else "OTHERS"))
    print("\n".join(tables.aligned(rows, numbers_from=0)))


if __name__ == "__main__":
    main()
