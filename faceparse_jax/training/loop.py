"""The training run, read top to bottom."""

import collections
import contextlib
import functools
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from faceparse_jax.checkpoints.run_card import write_run_card
from faceparse_jax.checkpoints.run_config import differing, stored
from faceparse_jax.checkpoints.state import TrainState
from faceparse_jax.checkpoints.store import Checkpoints, name_whole, saved_steps
from faceparse_jax.config import Config, Configs
from faceparse_jax.data import overlap
from faceparse_jax.data.batches import AHEAD, drawn_ahead
from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.evaluation import counting
from faceparse_jax.evaluation.pictures import first_examples, training_picture
from faceparse_jax.runtime import hosts, interrupts, records, sharding
from faceparse_jax.runtime.command_line import COMMAND
from faceparse_jax.runtime.lock import locked
from faceparse_jax.runtime.places import Place
from faceparse_jax.training.guard import NON_FINITE, Watch, signal_at
from faceparse_jax.training.logs import Logs, last_step
from faceparse_jax.training.setup import Job, accept
from faceparse_jax.training.tally import Tally

# Keys that may change between the runs of one workdir: they do not touch the training.
FREE_KEYS = ("eval.", "log.", "checkpoint.", "devices", "data.data_dir")
# The schedule by which a longer run begins as a shorter one does.
_OF_NO_TOTAL = "constant"
_SHOWN = 4


def check_workdir(workdir: Place, config: dict[str, Any]) -> None:
    """Checks a config against the one of the run that lies in a workdir; writes nothing.

    Raises:
        InputError: the workdir belongs to a run with another config.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(
            f"--workdir {workdir}", "a file", "a folder, or nothing yet", "choose another --workdir"
        )
    path = workdir / "config.json"
    if not path.exists():
        return
    before = records.read(path, "the config of a run", "start in another --workdir")
    schedule = config["optim"]["schedule"]
    free = (*FREE_KEYS, "train.steps") if schedule == _OF_NO_TOTAL else FREE_KEYS
    changed = differing(before, config, free)
    if changed:
        expected = "the same config"
        if any(key.startswith("train.steps=") for key in changed):
            expected += f", since the rates of every step depend on train.steps ({schedule})"
        raise InputError(
            str(path),
            "a run with " + ", ".join(changed),
            expected,
            "give the same config to resume, or another --workdir",
        )
    # A write that fails is told at the next one, so that the second of them ended well.
    every = stored(before, str(path), "start in another --workdir").checkpoint.every
    reached = max(last_step(workdir), *saved_steps(workdir, "best"), 0)
    if reached > 2 * every and not saved_steps(workdir, "last"):
        raise InputError(
            str(workdir / "checkpoints" / "last"),
            "no checkpoint",
            f"those of a run that came to step {reached}",
            "bring the whole folder back, or choose another --workdir to start anew",
        )


def train(config: Configs, workdir: Place) -> dict[str, float]:
    """Trains, or resumes, the run of `config` in `workdir`.

    Returns:
        The scalars of the last evaluation on validation data.

    Raises:
        InputError: what `setup.accept` refuses; a workdir of another run, or one in which
            another process trains.
        NonFiniteError: a loss that is NaN or infinite.
        Stopped: SIGTERM or SIGINT came, and the state was saved.
    """
    # Everything that can be refused is refused before anything is written.
    job = accept(config)
    scored = job.validation
    learned = {"dataset": job.data.split.record()}
    if not saved_steps(workdir, "last") and job.taken:
        learned["init"] = job.taken.record
    leak = overlap.leaks(learned, scored.split, scored.ids)
    if leak and sharding.is_lead():
        print(f"warning: {leak}", file=sys.stderr)
    refused = None
    with contextlib.ExitStack() as held:
        try:
            if sharding.is_lead():
                held.enter_context(locked(workdir))
            check_workdir(workdir, job.config.to_dict())
            if sharding.is_lead():
                name_whole(workdir)
        except Exception as error:
            refused = error
        hosts.all_or_none(refused)
        return _train(job, workdir)


def _train(job: Job, workdir: Place) -> dict[str, float]:
    """See `train`; the workdir is this run's alone."""
    # 1. What this process is, and what it leaves.
    config, mesh, scheme = job.config, job.mesh, job.data.split.scheme
    lead = sharding.is_lead()
    total, rows = config.train.steps, config.train.batch + config.data.paired_rows

    # 2. State: fresh, or the latest one in the workdir.
    checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    found = job.resume(checkpoints)
    start = int(found[0].step) if found else 0
    if start == total:
        with checkpoints:
            if lead:
                write_run_card(workdir)
                print(_finished(workdir, config), file=sys.stderr)
        return {}
    _claim(workdir, config, start, lead)

    key = job.key
    eval_step = counting.make_eval_step(job.system, job.validation.how, mesh)
    last_scores: dict[str, float] = {}
    watch = Watch(workdir, job.data.ids_of, lead)
    in_flight: collections.deque[jax.Array] = collections.deque()
    with (
        contextlib.ExitStack() as trained,
        checkpoints,
        Logs(workdir, total, start_step=start, lead=lead) as logs,
        ThreadPoolExecutor(1, "compiling") as thread,
        drawn_ahead(job.train_inputs(start)) as batches,
    ):
        # 3. One jitted step, compiled while the state and the first batches are made.
        with logs.compiling("the training step"):
            compiled = thread.submit(job.compiled_step)
            state, meta = found or job.fresh()
            train_step = compiled.result()
        tally = Tally(scheme.classes, meta.get("seen"))

        # 4. The loop. Numbers leave the device where something is written only.
        for number in range(start + 1, total + 1):
            examples, inputs = next(batches)
            with jax.transfer_guard("disallow"):
                state, scalars = train_step(state, inputs, key)
            if number == start + 1:  # until here a signal loses nothing
                trained.enter_context(interrupts.held())
                if lead:  # when the checkpoints are written, however the training ends
                    trained.callback(write_run_card, workdir)
            tally.add(scalars.pop("seen"))
            watch.add(number, scalars, examples)
            in_flight.append(scalars["loss"])
            if len(in_flight) > AHEAD:
                jax.block_until_ready(in_flight.popleft())

            if number == start + 1:
                since, since_step = time.monotonic(), number - 1
            logged = number % config.log.every == 0 or number == total
            if logged or logs.due():
                numbers = {k: float(v) for k, v in jax.device_get(scalars).items()}
                seconds = max(time.monotonic() - since, 1e-9)
                speed = (number - since_step) * rows / seconds
                numbers["images_per_second"] = speed
                if logged:
                    logs.scalars(number, numbers | tally.scalars())
                rate = max(v for k, v in numbers.items() if k.startswith("rate/"))
                logs.progress(number, images_per_second=speed, rate=rate, loss=numbers["loss"])
                if logged:
                    watch.look()
                    since, since_step = time.monotonic(), number

            evaluated = number % config.eval.every == 0 or number == total
            if evaluated:
                watch.look()
                with logs.compiling("the evaluation"):
                    last_scores = _validate(job, eval_step, state)
                logs.scalars(number, last_scores)
                if best := _better(job, meta["best"], last_scores, number):
                    meta |= {"best": best, "seen": tally.record()}
                    checkpoints.save_best(state, meta)
            if number % config.log.pictures_every == 0 or number == total:
                with logs.compiling("the evaluation"):
                    picture = _picture(job, eval_step, state)
                logs.pictures(number, "examples", picture)
            # Step and data agree, since the batches are a function of the step.
            stop = signal_at(number)
            if number % config.checkpoint.every == 0 or number == total or stop:
                watch.look()
                logs.publish()  # first: a resumed run drops what it logged later
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


def _claim(workdir: Place, config: Config, start: int, lead: bool) -> None:
    """Writes the config of a run that goes on from the step `start`.

    Raises:
        InputError: the run has made more steps than the config wants.
    """
    if start > config.train.steps:
        raise InputError(
            "config.train.steps",
            f"{config.train.steps}",
            f"at least {start}, the steps that the run in {workdir} has made",
            f"set --config.train.steps={start}, or choose another --workdir",
        )
    if lead:
        records.write(workdir / "config.json", config.to_dict())
        (workdir / NON_FINITE).unlink(missing_ok=True)


def _validate(job: Job, eval_step: Callable, state: TrainState) -> dict[str, float]:
    """The scores of the validation split by name, with progress on the terminal."""
    split, batches = job.validation.split, job.validation.batches()
    shown = functools.partial(counting.shown, split=split, batch=job.config.eval.batch)
    counts, _ = counting.count(eval_step, state.variables(), batches, job.mesh, shown)
    return counting.scalars(counts, job.validation.scheme)


def _better(
    job: Job, best: dict[str, Any] | None, scores: dict[str, float], step: int
) -> dict[str, Any] | None:
    """What a checkpoint of this step is the best by; None where an earlier one is better."""
    # A translator alone has no score: its latest state is the best.
    score = scores.get(f"validation/{job.best_route}/f1/mean", 0.0)
    if best is None or score > best["score"] or not job.best_route:
        return {"step": step, "score": score} | job.best_by()
    return None


def _picture(job: Job, eval_step: Callable, state: TrainState) -> UInt8[np.ndarray, "h w 3"]:
    """The first validation examples and what the networks say of them."""
    batches, variables = job.validation.batches(), state.variables()
    head, said = first_examples(eval_step, variables, batches, job.mesh, _SHOWN)
    truth = job.validation.split.scheme
    return training_picture(head, said, job.data.split.scheme, _SHOWN, truth)


def _finished(workdir: Place, config: Config) -> str:
    """What to tell where there is nothing left to train."""
    told = f"{workdir}: finished at step {config.train.steps}; next: "
    if config.optim.schedule == _OF_NO_TOTAL:
        told += f"--config.train.steps={2 * config.train.steps} for as many steps again, or "
    return told + f"{COMMAND} --mode evaluate --workdir {workdir} for scores"
