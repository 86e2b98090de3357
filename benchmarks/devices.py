"""How far runs on 1, 2 and 8 devices are apart.

    python -m benchmarks.devices --steps 20

All three networks, small, on synthetic heads, on CPU devices; the same batches and random numbers,
with the parsers' optimiser of the full-size configs and of the small ones. Prints, after the first
and after the last step, the largest difference of a parameter to the run on one device, the norm
of all differences by that of all parameters, the relative one of the loss, and whether evaluation
counts the same pixels. Devices add in another order, so they differ by rounding, and training makes
a difference larger with every step. How much so is shown by a run on one device whose first
parameters are moved to the next float32 number.
"""

import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import jax
import numpy as np

from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.configs import base, synthetic_heads
from faceparse_jax.evaluation import counting
from faceparse_jax.evaluation.scoring import Scoring
from faceparse_jax.runtime import sharding, tables
from faceparse_jax.training.setup import accept, training_inputs
from tfds_builders.build import build

# (what the table calls it, devices, whether the first parameters are moved)
RUNS = (("1", 1, False), ("1, moved", 1, True), ("2", 2, False), ("8", 8, False))


def moved(params):
    """Every parameter at the next float32 number, up or down by a coin."""
    coins = np.random.default_rng(0)

    def move(x):
        to = np.where(coins.random(x.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
        return jax.device_put(np.nextafter(np.asarray(x), to), x.sharding)

    return jax.tree.map(move, params)


def run(data: str, kind: str, devices: int, move: bool, steps: int):
    """Parameters and scalars after the first and the last step, the variables, the job."""
    config = synthetic_heads.get_config()
    if kind == "sgd":
        config.optim = base.get_config().optim
        config.optim.warmup_steps, config.optim.warmup_rate = 0, config.optim.rate
    config.devices = devices
    config.data.config, config.data.data_dir, config.data.size = "tiny", data, 64
    config.augment.crop = 64
    config.model.width, config.model.translator_features = 0.125, 8
    config.train.batch, config.eval.batch = 8, 4
    job = accept(config)
    with tempfile.TemporaryDirectory() as folder, Checkpoints(pathlib.Path(folder), 1) as none:
        state, _ = job.begin(none)
    if move:
        state = state.replace(params=moved(state.params))
    step, batches, key = job.train_step(), job.train_batches(0), job.key
    seen = []
    for number in range(1, steps + 1):
        inputs = sharding.shard(training_inputs(next(batches)), job.mesh)
        state, scalars = step(state, inputs, key)
        if number in (1, steps):
            scalars.pop("seen")
            seen.append(jax.device_get((state.params, scalars)))
    return seen, jax.device_get(state.variables()), job


def gaps(one, other) -> tuple[float, float, float]:
    """Parameters: the largest difference, and its norm by theirs; the loss: its relative one."""
    (params, scalars), (moved_params, moved_scalars) = one, other
    a, b = (np.concatenate([x.ravel() for x in jax.tree.leaves(p)]) for p in (params, moved_params))
    by_norm = np.linalg.norm(a - b) / np.linalg.norm(a)
    loss = abs(scalars["loss"] - moved_scalars["loss"]) / abs(scalars["loss"])
    return float(np.max(np.abs(a - b))), float(by_norm), float(loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    names = ("optimiser", "devices", "step", "parameters", "by norm", "loss", "pixels counted")
    rows = [names]
    with tempfile.TemporaryDirectory() as data:
        build("synthetic_heads", config="tiny", data_dir=pathlib.Path(data))
        for kind in ("sgd", "adamw"):
            first = counted = networks = None
            for name, devices, move in RUNS:
                seen, variables, job = run(data, kind, devices, move, options.steps)
                # Counting is compared for the networks of one device.
                networks = networks or variables
                scoring = Scoring(job.data.split.scheme.num_classes)
                counts, _ = counting.count(
                    counting.make_eval_step(job.system, scoring, job.mesh),
                    sharding.replicate(networks, job.mesh),
                    job.validation.batches(),
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
                    cells = [f"{gap:.1e}" for gap in gaps(theirs, mine)]
                    rows.append((kind, name, str(number), *cells, "the same" if same else "OTHERS"))
    print("\n".join(tables.aligned(rows, numbers_from=2)))


if __name__ == "__main__":
    main()
