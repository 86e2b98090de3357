"""A study: arms and conditions of one base config, each with several seeds, side by side.

    python -m faceparse_jax.main --workdir studies/one --mode study --config configs/studies/X.py

Every run is an ordinary run in a folder of its own. Finished runs are skipped and cut
ones resume, so the same command goes on with a study that was stopped.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import ml_collections

from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.run_config import differing
from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.config import Config
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import evaluate
from faceparse_jax.models.routes import routes
from faceparse_jax.models.system import needed
from faceparse_jax.runtime import interrupts, places, provenance, records
from faceparse_jax.runtime.lock import locked
from faceparse_jax.runtime.places import Place
from faceparse_jax.studies import report
from faceparse_jax.studies.plan import Run, plan
from faceparse_jax.training.loop import check_workdir, train
from faceparse_jax.training.setup import Job, accept

# Keys that change neither training nor scores.
_FREE = ("data.data_dir", "devices", "log.", "checkpoint.every", "checkpoint.keep")
_FREE += ("eval.batch", "eval.pictures")
# What a record at least says of data.
_OF_DATA = {"name", "config", "fingerprint"}


def run_study(study: ml_collections.ConfigDict, workdir: Place) -> None:
    """Trains and scores what is not finished, then writes tables, plot and record.

    Raises:
        InputError: as `plan`; what `setup.accept` or the scoring refuses of any run; a score that
            no run has; a finished run with another config, data or translator; another process
            that runs a study in the folder; runs that failed, when all others are done; a full
            disk.
    """
    runs = plan(study, workdir)
    folder = workdir / "runs"
    if folder.exists() and not folder.is_dir():
        raise InputError(str(folder), "a file", "a folder", "choose another --workdir")
    by_folder: dict[Place, Run] = {}
    for run in runs:
        by_folder.setdefault(run.folder, run)
    todo = [run for run in by_folder.values() if not _finished(run, study.checkpoint)]
    names = _check_data(by_folder.values(), {run.folder: _accept(run) for run in todo})
    _check_scores(study, by_folder.values(), names)
    with locked(workdir):
        _run(study, runs, by_folder, todo, workdir)


def _run(study, runs: list[Run], by_folder: Mapping[Place, Run], todo: list[Run], workdir) -> None:
    """See `run_study`; `todo` are those of the runs that are not finished."""
    print(f"{len(by_folder)} runs, {len(todo)} to do, in {workdir}")
    failures = []
    for number, run in enumerate(todo, 1):
        print(f"run {number} of {len(todo)}: {run.name}")
        try:
            _execute(run, study.checkpoint)
        except Exception as error:  # whatever it was, the other runs go on
            if store.disk_is_full(workdir, error):
                raise store.full_disk(workdir) from error
            failures.append(_failed(run, error))
        interrupts.check()  # a run that failed may have left it to us
        jax.clear_caches()
        _report(study, runs, workdir)  # what a stop would leave
    for run in by_folder.values():
        # Its translator may have been trained anew.
        if run not in todo and run.teacher:
            try:
                _finished(run, study.checkpoint)
            except InputError as error:
                failures.append(_failed(run, error))
    print(_report(study, runs, workdir))
    if failures:
        raise InputError(
            str(workdir),
            f"{len(failures)} of {len(by_folder)} runs failed: " + "; ".join(failures),
            "every run to finish",
            "mend what they say and run the same command again; finished runs are kept",
        )


def _failed(run: Run, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, InputError):
        reason = reason[:300]  # compilers write pages
    print(f"failed: {run.name}: {reason}", file=sys.stderr)
    return f"{run.name} ({reason})"


def _resolved(run: Run) -> Config:
    """The run's config, with a folder for the arm whose translator it uses."""
    if run.teacher is None:
        return run.config
    return run.config.replaced(train={"translator_from": str(places.resolved(run.teacher.folder))})


def _routes(run: Run) -> list[str]:
    """The routes by which the run's networks can be scored."""
    return routes(needed(run.config.loss.weights()))


def _accept(run: Run) -> tuple[Job, evaluate.Scored]:
    """The run's job and what it will be scored on: refused now, or hours later."""
    config = _resolved(run)
    check_workdir(run.folder, config.to_dict())
    # A translator that is not there yet is looked for when the run begins.
    waits = run.teacher is not None and not run.teacher.record.exists()
    job = accept(config, find_translator=not waits)
    datasets = evaluate.datasets_to_score(config)
    if len(datasets) != 1:
        raise InputError(
            "config.base.eval.dataset", ", ".join(datasets), "one dataset", "name one of them"
        )
    return job, evaluate.open_scored(config, job.data.split.scheme, datasets[0])


def _check_data(runs: Iterable[Run], jobs: Mapping[Place, tuple]) -> set[str]:
    """Refuses other data than the finished runs have; the names of the scores that there are."""
    names: set[str] = set()
    seen: dict[tuple, str] = {}
    for run in runs:
        if run.folder not in jobs:
            record = _read_record(run)
            names = names.union(*record["scores"].values())
            for data in filter(None, (record.get("trained_on"), record.get("scored_on"))):
                key = (data["name"], data["config"], data.get("split", "train"))
                seen[key] = data["fingerprint"]
    for job, scored in jobs.values():
        for split in (job.data.split, scored.split):
            before = seen.get((split.name, split.config, split.split), split.fingerprint)
            if before != split.fingerprint:
                raise InputError(
                    str(split.directory),
                    f"dataset fingerprint {split.fingerprint}",
                    f"{before}, which the study's finished runs had",
                    "prepare the same data, or start in another --workdir",
                )
        names |= evaluate.score_names(scored)
    return names


def _check_scores(study, runs: Iterable[Run], names: set[str]) -> None:
    """Refuses a table that no run can fill, and a baseline without the score of its table."""
    by_arm = {run.arm: _routes(run) for run in runs}
    for route, score in study.scores:
        if score not in names:
            raise InputError("config.scores", repr(score), f"one of {sorted(names)}", "rename it")
        if not any(route in of for of in by_arm.values()):
            raise InputError(
                "config.scores",
                f"the route {route!r}, which no arm's networks have",
                f"one of {sorted(set().union(*by_arm.values()))}",
                "leave it out, or add an arm",
            )
    for route, arm in study.baselines:
        if arm in by_arm and route not in by_arm[arm]:
            raise InputError(
                "config.baselines",
                f"the arm {arm!r} for the route {route!r}",
                f"an arm with this route; {arm!r} has {by_arm[arm]}",
                "name another arm",
            )


def _read_record(run: Run) -> dict[str, Any]:
    expected = "the record of a finished run"
    again = f"remove {run.folder} and run again"
    record = records.read(run.record, expected, again, config=dict, scores=dict)
    if not all(isinstance(scores, dict) for scores in record["scores"].values()):
        raise InputError(str(run.record), "scores that are no objects", expected, again)
    for name in ("trained_on", "scored_on"):
        data = record.get(name)
        if data is not None and not (isinstance(data, dict) and data.keys() >= _OF_DATA):
            raise InputError(str(run.record), f"{name} without {sorted(_OF_DATA)}", expected, again)
    return record


def _finished(run: Run, checkpoint: str) -> bool:
    if not run.record.exists():
        return False
    record = _read_record(run)
    changed = differing(record["config"], run.config.to_dict(), _FREE)
    scored = record.get("checkpoint", checkpoint)
    if scored != checkpoint:
        changed.append(f"checkpoint={scored!r} (now {checkpoint!r})")
    translator = record.get("translator_from_sha256")
    if translator and run.teacher and run.teacher.record.exists():
        now = _read_record(run.teacher).get("translator_sha256")
        if now != translator:
            changed.append(f"the translator {translator[:12]} (now {str(now)[:12]})")
    if changed:
        how_scored = all(entry.startswith(("eval.", "checkpoint=")) for entry in changed)
        again = f"remove {run.record} to score it again" if how_scored else f"remove {run.folder}"
        raise InputError(
            str(run.record),
            f"a finished run with {', '.join(changed)}",
            "the study's config",
            f"give the same config, another --workdir, or {again}",
        )
    return True


def _execute(run: Run, checkpoint: str) -> None:
    config = _resolved(run)
    if run.teacher and not run.teacher.record.exists():
        raise InputError(
            str(run.teacher.folder),
            "no finished run",
            f"the translator of {run.teacher.name}",
            "see why that run failed",
        )
    since = time.monotonic()
    train(config, run.folder)
    scored: dict[str, Any] = {"routes": {}, "provenance": {}}
    if _routes(run):
        (scored,) = evaluate.evaluate_run(run.folder, checkpoint, config).values()
    record = _record(run, checkpoint, scored)
    records.write(run.record, record | {"seconds": round(time.monotonic() - since)})


def _record(run: Run, checkpoint: str, scored: Mapping[str, Any]) -> dict[str, Any]:
    trained = load_trained(run.folder, checkpoint)
    meta, of_scores = trained.meta, scored["provenance"]
    routes = {
        route: {k: v for k, v in scores.items() if v is None or isinstance(v, float)}
        for route, scores in scored["routes"].items()
    }
    record = {
        "arm": run.arm,
        "condition": run.condition,
        "seed": run.seed,
        "checkpoint": checkpoint,
        "step": meta["step"],
        "config": run.config.to_dict(),
        "trained_on": meta["dataset"],
        "init": meta.get("init"),
        "scored_on": of_scores.get("scored_on"),
        "leak": of_scores.get("leak"),
        "scoring_resolution": of_scores.get("scoring_resolution"),
        "code_version": meta["code_version"],
        "libraries": meta["libraries"],
        "parameters_sha256": provenance.checksum(trained.variables),
        "scores": routes,
        "absent": {route: scores["absent"] for route, scores in scored["routes"].items()},
    }
    if "translator" in trained.variables:
        # Of the last checkpoint, which is what other runs take it from.
        last = trained if checkpoint == "last" else load_trained(run.folder, "last")
        record["translator_sha256"] = provenance.checksum(last.variables["translator"])
    if run.teacher:
        record["translator_from_sha256"] = _read_record(run.teacher)["translator_sha256"]
    return record


def _report(study, runs: list[Run], workdir: Place) -> str:
    found = {run.folder: _read_record(run) for run in runs if run.record.exists()}
    results = [
        report.Result(run.arm, run.condition, run.seed, found[run.folder]["scores"])
        for run in runs
        if run.folder in found
    ]
    by_folder = {str(folder.relative_to(workdir)): record for folder, record in found.items()}
    missing = [run.name for run in runs if run.folder not in found]
    with interrupts.held():
        records.write(workdir / "record.json", {"runs": by_folder})
        return report.write(study, results, list(found.values()), missing, workdir)
