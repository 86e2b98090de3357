"""The step at which a run met a number that is not finite, run again and looked at."""

import io
import math

import jax
import numpy as np

from faceparse_jax.checkpoints.run_config import stored, with_overrides
from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation.pictures import training_picture, write_picture
from faceparse_jax.runtime import interrupts, places, records, sharding
from faceparse_jax.runtime.places import Place
from faceparse_jax.training.guard import NON_FINITE
from faceparse_jax.training.setup import accept, example_rows, training_inputs

_SHOWN = 8


def replay(workdir: Place, overrides=None) -> dict[str, float]:
    """Runs from the checkpoint before the step that `NON_FINITE` names up to that step.

    The same state, data and random numbers as in the run. Prints the loss terms and the norms
    of the gradients of every step, and writes the last batch: ``replay/step_N.npz`` with all
    that the step reads, ``replay/step_N.png`` with its pictures. The run's own files stay.

    Args:
        workdir: the run's folder.
        overrides: a config whose `devices`, data folder and source replace the run's own.

    Returns:
        The scalars of the last step.

    Raises:
        InputError: the run met no such number, or its files do not tell of it.
    """
    path = workdir / NON_FINITE
    if not path.exists():
        raise InputError(
            str(path),
            "no such file",
            "a run that met a number that is not finite",
            "nothing to replay: train, or look at metrics.jsonl",
        )
    again = "train again until it is met"
    record = records.read(path, "what a run wrote that met such a number", again, step=int)
    values = records.read(workdir / "config.json", "the config of the run", again)
    config = stored(values, str(workdir / "config.json"), again, trains=True)
    if not 1 <= record["step"] <= config.train.steps:
        expected = f"a step of the run, 1 to {config.train.steps}"
        raise InputError(str(path), f"step {record['step']}", expected, again)
    job = accept(with_overrides(config, overrides).replaced(eval=dict(config.eval)))
    with Checkpoints(workdir, config.checkpoint.keep, read_only=True) as checkpoints:
        state, _ = job.begin(checkpoints, before=record["step"])
    start = int(state.step)
    print(f"{workdir}: from step {start} to step {record['step']}")
    step, batches, key = job.train_step(), job.train_batches(start), job.key
    numbers: dict[str, float] = {}
    batch = None
    for number in range(start + 1, record["step"] + 1):
        batch = next(batches)
        state, scalars = step(state, sharding.shard(training_inputs(batch), job.mesh), key)
        scalars.pop("seen")
        numbers = {k: float(v) for k, v in jax.device_get(scalars).items()}
        shown = {k: v for k, v in numbers.items() if k.startswith(("loss", "gradient_norm/"))}
        print(f"step {number}  " + "  ".join(f"{k} {v:.4g}" for k, v in shown.items()))
    ids = job.data.ids_of(example_rows(batch))
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    print("not finite: " + (", ".join(bad) or "nothing this time; was it another machine?"))
    print(f"examples: {', '.join(ids)}")
    if sharding.is_lead():
        target = workdir / "replay" / f"step_{record['step']}"
        target.parent.mkdir(exist_ok=True)
        rows = min(_SHOWN, len(batch["index"]))
        head = {k: v[:rows] for k, v in batch.items() if k != "paired"}
        head["mask"] = np.ones(rows, bool)
        picture = training_picture(head, {}, job.data.split.scheme, rows)
        arrays = io.BytesIO()
        np.savez_compressed(arrays, **records.flat(batch))
        with interrupts.held():
            places.write(target.with_suffix(".npz"), arrays.getvalue())
            write_picture(target.with_suffix(".png"), picture)
        print(f"written: {target}.npz and .png")
    return numbers
