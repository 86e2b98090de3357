"""A study: arms and conditions of one base config, each with several seeds, side by side.

    python -m faceparse_jax.main --workdir studies/one --mode study --config configs/studies/X.py

Every run is an ordinary run in a folder of its own. Finished runs are skipped and cut
ones resume, so the same command goes on with a study that was stopped.
"""

import dataclasses
import json
import pathlib
import re
import sys
import time
from typing import Any

import jax
import ml_collections

from faceparse_jax import (
    checkpoints,
    evaluate,
    from_config,
    provenance,
    records,
    sharding,
    study_report,
)
from faceparse_jax.errors import InputError, Stopped
from faceparse_jax.job import accept
from faceparse_jax.train import train
from faceparse_jax.trained import load_trained

SEED_KEYS = frozenset({"seed", "data.fraction_seed"})
"""Keys of a run that may take a study's seed."""

ARM = "arm:"
"""Before the name of an arm, as ``train.translator_from``: that arm's run of the same seed."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a study.

    Attributes:
        arm, condition: their names.
        config: the whole config; ``train.translator_from`` may name an arm.
        folder: of the run; arms and conditions that come to the same config share it.
    """

    arm: str
    condition: str
    seed: int
    config: dict[str, Any]
    folder: pathlib.Path

    @property
    def name(self) -> str:
        return (
            f"{self.arm}, {self.condition}, seed {self.seed}"
            if self.condition
            else (f"{self.arm}, seed {self.seed}")
        )

    @property
    def record(self) -> pathlib.Path:
        """What a finished run leaves."""
        return self.folder / "record.json"


def plan(study: ml_collections.ConfigDict, workdir: pathlib.Path) -> list[Run]:
    """The runs of a study, the first seed of all arms first.

    Args:
        study: ``base``, a config of a run; ``arms`` and ``conditions``, tuples of (name,
            overrides), where overrides are pairs of a key of the base and a value; an
            arm's overrides come after a condition's; ``seeds``, and ``seed_keys`` of the base
            that take them; and what `study_report.write` takes.

    Raises:
        InputError: a name that occurs twice or is not there, a key or value that the base
            does not take, or a config that no run takes.
    """
    _check_names(study)
    runs: list[Run] = []
    folders: dict[str, pathlib.Path] = {}
    for seed in study.seeds:
        for condition, condition_overrides in study.conditions:
            for arm, arm_overrides in _translators_first(study.arms):
                config = _config(study, arm, (*condition_overrides, *arm_overrides))
                config.update_from_flattened_dict(dict.fromkeys(study.seed_keys, seed))
                parts = [_slug(part) for part in (arm, condition) if part]
                folder = workdir / "runs" / "/".join(parts) / f"seed_{seed}"
                folder = folders.setdefault(config.to_json(sort_keys=True), folder)
                runs.append(Run(arm, condition, seed, config.to_dict(), folder))
    return runs


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")


def _check_names(study: ml_collections.ConfigDict) -> None:
    keys = ("base", "arms", "conditions", "seeds", "seed_keys")
    keys += ("scores", "baselines", "checkpoint", "title")
    missing = [key for key in keys if key not in study]
    if missing:
        raise InputError(
            "--config",
            f"a config without {', '.join(missing)}",
            "a study",
            "choose a file of configs/studies/, or leave --mode study out",
        )
    _check_forms(study)
    for what in ("arms", "conditions", "seeds"):
        names = [_slug(str(entry if what == "seeds" else entry[0])) for entry in study[what]]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            raise InputError(
                f"config.{what}",
                f"{', '.join(twice)} twice" if twice else "nothing",
                "different names, at least one",
                "rename one of them in the study's file",
            )
    arms = {name for name, _ in study.arms}
    wanted = [baseline for _, baseline in study.baselines]
    for _, overrides in (*study.arms, *study.conditions):
        reference = str(dict(overrides).get("train.translator_from", ""))
        wanted += [reference.removeprefix(ARM)] if reference.startswith(ARM) else []
    for name in wanted:
        if name not in arms:
            raise InputError(
                "the study's file",
                f"the arm {name!r}",
                f"one of {sorted(arms)}",
                "name one of them",
            )


def _check_forms(study: ml_collections.ConfigDict) -> None:
    """Refuses values of another form than `plan` and `study_report.write` take."""
    overrides = "(name, overrides) pairs, overrides being (key, value) pairs"
    routes = f"of {', '.join(evaluate.ROUTES)}"
    forms = {
        "base": (lambda value: isinstance(value, ml_collections.ConfigDict), "a config of a run"),
        "seeds": (lambda value: all(type(seed) is int for seed in value), "integers"),
        "seed_keys": (
            lambda value: value and SEED_KEYS.issuperset(value),
            f"one or both of {sorted(SEED_KEYS)}",
        ),
        "arms": (_are_overrides, overrides),
        "conditions": (_are_overrides, overrides),
        "checkpoint": (("best", "last").__contains__, "'best' or 'last'"),
        "scores": (_are_of_routes, f"(route, score) pairs, routes {routes}"),
        "baselines": (_are_of_routes, f"(route, arm) pairs, routes {routes}"),
    }
    for key, (fits, expected) in forms.items():
        try:
            good = fits(study[key])
        except (TypeError, ValueError):
            good = False
        if not good:
            found = " ".join(str(study[key]).split())[:100]
            raise InputError(f"config.{key}", found, expected, "mend the study's file")


def _are_overrides(value) -> bool:
    return all(isinstance(name, str) and (dict(pairs) or True) for name, pairs in value)


def _are_of_routes(value) -> bool:
    return all(route in evaluate.ROUTES and isinstance(name, str) for route, name in value)


def _translators_first(arms) -> list[tuple[str, tuple]]:
    """Arms whose translator another arm uses come before all others."""
    overrides = [str(dict(o).get("train.translator_from", "")) for _, o in arms]
    used = {value.removeprefix(ARM) for value in overrides if value.startswith(ARM)}
    return sorted(arms, key=lambda arm: arm[0] not in used)


def _config(study, arm: str, overrides) -> ml_collections.ConfigDict:
    config = ml_collections.ConfigDict(study.base.to_dict()).lock()
    for key, value in overrides:
        try:
            config.update_from_flattened_dict({key: value})
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise InputError(
                f"arm {arm!r}, key {key!r}",
                " ".join(str(error).split()),
                "a key of configs/base.py and a value of its type",
                "mend the study's file",
            ) from error
    from_config.weights(config)
    from_config.optimizers(config)
    return config


def run_study(study: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Trains and scores what is not finished, then writes tables, plot and record.

    Raises:
        InputError: as `plan`; what `job.accept` refuses of any run; a finished run with
            another config; runs that failed, when all others are done; a full disk.
    """
    runs = plan(study, workdir)
    folder = workdir / "runs"
    if folder.exists() and not folder.is_dir():
        raise InputError(str(folder), "a file", "a folder", "choose another --workdir")
    todo = {run.folder: run for run in runs if not _finished(run)}
    for run in todo.values():
        _accept(run)
    print(f"{len({run.folder for run in runs})} runs, {len(todo)} to do, in {workdir}")
    failures = []
    for number, run in enumerate(todo.values(), 1):
        print(f"run {number} of {len(todo)}: {run.name}")
        try:
            _execute(run, study.checkpoint, {(r.arm, r.condition, r.seed): r for r in runs})
        except Stopped:
            raise
        except Exception as error:  # whatever it was, the other runs go on
            if checkpoints.disk_is_full(workdir, error):
                raise checkpoints.full_disk(workdir) from error
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            print(f"failed: {run.name}: {reason}", file=sys.stderr)
            failures.append(f"{run.name} ({reason})")
        jax.clear_caches()
        _report(study, runs, workdir)  # what a stop would leave
    print(_report(study, runs, workdir))
    if failures:
        raise InputError(
            str(workdir),
            f"{len(failures)} of {len(todo)} runs failed: " + "; ".join(failures),
            "every run to finish",
            "run the same command again; finished runs are kept",
        )


def _accept(run: Run) -> None:
    """Refuses a run before the first one is trained; its translator may not be there yet."""
    config = ml_collections.ConfigDict(run.config)
    if config.train.translator_from.startswith(ARM):
        config.train.translator_from = ""
    accept(config)


def _read_record(run: Run) -> dict[str, Any]:
    expected = "the record of a finished run"
    again = f"remove {run.folder} and run again"
    return records.read(run.record, expected, again, config=dict, scores=dict)


def _finished(run: Run) -> bool:
    if not run.record.exists():
        return False
    before = records.completed(_read_record(run)["config"])
    now = provenance.flat(json.loads(json.dumps(run.config)))
    place = ("data.data_dir", "devices")
    differing = [k for k in sorted(before | now) if before.get(k) != now.get(k) and k not in place]
    if differing:
        shown = ", ".join(f"{k}={before.get(k)!r} (now {now.get(k)!r})" for k in differing)
        raise InputError(
            str(run.record),
            f"a finished run with {shown}",
            "the study's config",
            f"give the same config, another --workdir, or remove {run.folder}",
        )
    return True


def _execute(run: Run, checkpoint: str, others: dict[tuple, Run]) -> None:
    config = ml_collections.ConfigDict(run.config)
    source = config.train.translator_from
    if source.startswith(ARM):
        teacher = others[source.removeprefix(ARM), run.condition, run.seed]
        if not teacher.record.exists():
            raise InputError(str(teacher.folder), "no finished run", "a translator", "see above")
        config.train.translator_from = str(teacher.folder)
    since = time.monotonic()
    train(config, run.folder)
    networks = from_config.weights(config).networks()
    scored: dict[str, Any] = {"routes": {}}
    if "rgb" in networks or "depth" in networks:
        (scored,) = evaluate.evaluate_run(run.folder, checkpoint, config).values()
    if sharding.is_lead():
        record = _record(run, scored, load_trained(run.folder, "last"))
        evaluate.write_json(run.record, record | {"seconds": round(time.monotonic() - since)})


def _record(run: Run, scored: dict[str, Any], trained) -> dict[str, Any]:
    meta = trained.meta
    routes = {
        route: {k: v for k, v in scores.items() if v is None or isinstance(v, float)}
        for route, scores in scored["routes"].items()
    }
    return {
        "arm": run.arm,
        "condition": run.condition,
        "seed": run.seed,
        "step": meta["step"],
        "config": run.config,
        "trained_on": meta["dataset"],
        "scored_on": scored.get("provenance", {}).get("scored_on"),
        "code_version": meta["code_version"],
        "libraries": meta["libraries"],
        "parameters_sha256": provenance.checksum(trained.variables),
        "scores": routes,
    }


def _report(study, runs: list[Run], workdir: pathlib.Path) -> str:
    if not sharding.is_lead():
        return ""
    finished = [(run, _read_record(run)) for run in runs if run.record.exists()]
    results = [
        study_report.Result(run.arm, run.condition, run.seed, record["scores"])
        for run, record in finished
    ]
    by_folder = {str(run.folder.relative_to(workdir)): record for run, record in finished}
    evaluate.write_json(workdir / "record.json", {"runs": by_folder})
    return study_report.write(study, results, workdir)
