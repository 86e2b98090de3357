"""The training run, read top to bottom."""

import contextlib
import errno
import functools
import pathlib
import sys
import time
from typing import Any

import jax

from faceparse_jax.checkpoints.run_config import differing
from faceparse_jax.checkpoints.store import Checkpoints
from faceparse_jax.config import Configs
from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.evaluation import counting
from faceparse_jax.evaluation.pictures import examples_picture
from faceparse_jax.evaluation.scoring import Scoring
from faceparse_jax.models.inference import predict
from faceparse_jax.runtime import interrupts, records, sharding
from faceparse_jax.training.guard import NON_FINITE, Watch, signal_at
from faceparse_jax.training.logs import Logs
from faceparse_jax.training.setup import accept, example_rows, training_inputs
from faceparse_jax.training.tally import Tally

# Keys that may change between the runs of one workdir: they do not touch the training.
FREE_KEYS = ("eval.", "log.", "checkpoint.", "devices", "data.data_dir")


def claim_workdir(workdir: pathlib.Path, config: dict[str, Any], write: bool = True) -> None:
    """Writes the config into a new workdir, or checks it against the one that is there.

    Args:
        write: False on processes that only check.

    Raises:
        InputError: the workdir belongs to a run with another config.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(
            f"--workdir {workdir}", "a file", "a folder, or nothing yet", "choose another --workdir"
        )
    path = workdir / "config.json"
    if path.exists():
        before = records.read(path, "the config of a run", "start in another --workdir")
        changed = differing(before, config, FREE_KEYS)
        if changed:
            raise InputError(
                str(path),
                "a run with " + ", ".join(changed),
                "the same config",
                "give the same config to resume, or another --workdir",
            )
    if write:
        try:
            records.write(path, config)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise InputError(
                f"--workdir {workdir}", error.strerror, "a folder to write to",
                "choose another --workdir, or change its permissions",
            ) from error  # fmt: skip


def train(config: Configs, workdir: pathlib.Path) -> dict[str, float]:
    """Trains, or resumes, the run of `config` in `workdir`.

    Returns:
        The scalars of the last evaluation on validation data.

    Raises:
        InputError: what `setup.accept` refuses; a workdir of another run.
        NonFiniteError: a loss that is NaN or infinite.
        Stopped: SIGTERM or SIGINT came, and the state was saved.
    """
    # 1. Everything that can be refused is refused before anything is written.
    job = accept(config)
    config = job.config
    mesh, scheme = job.mesh, job.data.split.scheme
    lead = sharding.is_lead()
    # On every process: where one alone refuses, the others wait for it in vain.
    claim_workdir(workdir, config.to_dict(), write=lead)
    if lead:
        (workdir / NON_FINITE).unlink(missing_ok=True)

    # 2. State: fresh, or the latest one in the workdir.
    checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    state, meta = job.begin(checkpoints)
    start = int(state.step)

    # 3. One jitted step.
    train_step = job.train_step()
    eval_step = counting.make_eval_step(job.system, Scoring(scheme.num_classes), mesh)
    show = jax.jit(functools.partial(predict, system=job.system))
    batches = job.train_batches(start)

    # 4. The loop. Numbers leave the device where something is written only.
    key = job.key()
    last_scores: dict[str, float] = {}
    total, rows = config.train.steps, config.train.batch + config.data.paired_rows
    watch = Watch(workdir, job.data.ids_of, lead)
    tally = Tally(scheme.classes, meta.get("seen"))
    with (
        contextlib.ExitStack() as trained,
        checkpoints,
        Logs(workdir, total, start_step=start, lead=lead) as logs,
    ):
        since, since_step = time.monotonic(), start
        for number in range(start + 1, total + 1):
            batch = next(batches)
            inputs = sharding.shard(training_inputs(batch), mesh)
            with jax.transfer_guard("disallow"):
                state, scalars = train_step(state, inputs, key)
            if number == start + 1:  # compiled; until here a signal loses nothing
                trained.enter_context(interrupts.held())
            tally.add(scalars.pop("seen"))
            watch.add(number, scalars, example_rows(batch))

            if number % config.log.every == 0 or number == total:
                numbers = {k: float(v) for k, v in jax.device_get(scalars).items()}
                seconds = max(time.monotonic() - since, 1e-9)
                speed = (number - since_step) * rows / seconds
                numbers["images_per_second"] = speed
                logs.scalars(number, numbers | tally.scalars())
                rate = max(v for k, v in numbers.items() if k.startswith("rate/"))
                logs.progress(number, images_per_second=speed, rate=rate, loss=numbers["loss"])
                watch.look()
                since, since_step = time.monotonic(), number

            evaluated = number % config.eval.every == 0 or number == total
            if evaluated:
                watch.look()
                counts, _ = counting.count(
                    eval_step, state.variables(), job.validation_batches(), mesh
                )
                last_scores = counting.scalars(counts, scheme)
                logs.scalars(number, last_scores)
                # A translator alone has no score: its latest state is the best.
                score = last_scores.get(f"validation/{job.best_route}/f1/mean", 0.0)
                best = meta["best"]
                if best is None or score > best["score"] or not job.best_route:
                    best = {"step": number, "score": score} | job.best_by()
                    meta |= {"best": best, "seen": tally.record()}
                    checkpoints.save_best(state, meta)
            if lead and (number % config.log.pictures_every == 0 or number == total):
                examples = next(job.validation_batches())
                examples = {k: v[:4] for k, v in examples.items()}
                # From the host: this process computes by itself, apart from the others.
                variables = jax.device_get(state.variables())
                picture = examples_picture(show, variables, examples, scheme)
                logs.pictures(number, "examples", picture)
            # Saved before the next batch is drawn, so that step and data agree.
            stop = signal_at(number)
            if number % config.checkpoint.every == 0 or number == total or stop:
                watch.look()
                checkpoints.save(state, meta | {"seen": tally.record()})
            # After the last step too: a study would go on with its next run.
            if stop:
                checkpoints.wait()
                saved = f"{workdir} is saved at step {number}; next: the same command resumes"
                raise Stopped(stop, saved)
            if evaluated:
                since, since_step = time.monotonic(), number
    if lead and tally.summary():
        print(tally.summary(), file=sys.stderr)
    return last_scores
