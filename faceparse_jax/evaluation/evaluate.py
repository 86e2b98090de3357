"""A run's checkpoint, scored on held-out splits: tables, files, pictures."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from faceparse_jax.checkpoints.run_card import write_run_card
from faceparse_jax.checkpoints.run_config import with_overrides
from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.config import Config, Configs
from faceparse_jax.data import overlap, reader
from faceparse_jax.data.batches import ORIGINAL
from faceparse_jax.data.splits import Split, prepared_configs
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import boundaries, metrics
from faceparse_jax.evaluation.counting import (
    count,
    make_eval_step,
    result,
    scoring_for,
    shown,
    write_confusion,
)
from faceparse_jax.evaluation.pictures import first_examples, training_picture, write_picture
from faceparse_jax.evaluation.scoring import Scoring
from faceparse_jax.labels import Scheme
from faceparse_jax.runtime import interrupts, places, progress, provenance, records, sharding
from faceparse_jax.runtime.places import Place

_ALL = "all.jsonl"


def own_name(config: Config) -> str:
    """The dataset that a run of this config trains on, as name/config."""
    return f"{config.data.name}/{config.data.config}"


def datasets_to_score(config) -> list[str]:
    """The datasets that `config.eval.dataset` names, as name/config.

    Empty for the run's own; several with commas; ``name/*`` for every prepared config, which
    for CelebAMask-HQ-D is every merge order.
    """
    chosen = []
    for item in config.eval.dataset.split(",") if config.eval.dataset else [""]:
        name, _, wanted = item.strip().partition("/")
        if not name:
            chosen.append(own_name(config))
        elif wanted == "*":
            chosen += [f"{name}/{found}" for found in prepared_configs(name, config.data.data_dir)]
        elif wanted:
            chosen.append(f"{name}/{wanted}")
        else:
            raise InputError(
                "config.eval.dataset", repr(item), "name/config", f"set it to {name}/official"
            )
    return chosen


@dataclasses.dataclass(frozen=True)
class Scored:
    """A split to score, opened.

    Attributes:
        name: of the dataset, as name/config.
        scheme: in which networks and labels are compared.
        how: how to count in it.
        batches: makes this host's rows of the split, once.
        ids: gives the ids of its examples.
        label_size: side at which scores are counted, in pixels, or `ORIGINAL`.
    """

    name: str
    split: Split
    scheme: Scheme
    how: Scoring
    batches: Callable[[], Iterator[dict[str, np.ndarray]]]
    ids: Callable[[], list[str]]
    label_size: int


def open_scored(config, trained: Scheme, name: str, cache: bool = False) -> Scored:
    """The split that `config.eval` scores, of the dataset ``name``, as name/config.

    Args:
        trained: the scheme of the networks' logits.
        cache: of TFDS files: keep the decoded split in memory, to score it several times.

    Raises:
        InputError: no such data, no conversion of its scheme, or labels that it does not hold.
    """
    opened = reader.open_named(config.data, name, config.eval.split, cache)
    split = opened.split
    scheme, how = scoring_for(
        trained,
        split.scheme,
        flip=config.eval.flip,
        boundary_tolerance=config.eval.boundary_tolerance,
    )
    label_size = config.eval.label_size or config.data.size
    batches = functools.partial(
        opened.evaluate, config.eval.batch, label_size, jax.process_index(), jax.process_count()
    )
    batches()  # what it would refuse
    return Scored(name, split, scheme, how, batches, lambda: opened.ids, label_size)


def score_names(scored: Scored) -> set[str]:
    """The scores that every route has there."""
    classes = scored.scheme.num_classes
    names = metrics.scores(np.zeros((classes, classes), np.int64), scored.scheme).keys()
    if scored.how.boundary_tolerance >= 0:
        names |= boundaries.scores(np.zeros((classes, 4), np.int64), scored.scheme).keys()
    return names - {"absent"}


def evaluate_run(
    workdir: Place, which: str, overrides: Configs | None = None, out: Place | None = None
) -> dict[str, dict[str, Any]]:
    """Scores a run's checkpoint on held-out splits; prints tables, writes files.

    For each dataset, in `out`: scores as JSON, the confusion matrix of
    every route as CSV, and a picture of a few examples. Their names have what differs from the
    run's own settings, and they hold the newest scores of that name; ``all.jsonl`` keeps what
    every JSON file has held, one object a line. The model card of a run gets its scores, too.

    Args:
        workdir: the run's folder, or a packed file.
        which: ``best`` or ``last``.
        overrides: a config whose `eval`, `devices`, data folder and source replace the
            run's own.
        out: the folder for the files; ``workdir/evaluation`` where None.

    Returns:
        What the JSON files hold, by dataset.

    Raises:
        InputError: networks or data that do not open, a packed file without `out`, or a folder
            that cannot be written.
    """
    if out is None and places.is_packed(workdir):
        raise InputError(
            "--out", "nothing", "a folder for the scores of a packed file", "add --out scores"
        )
    out = out or workdir / "evaluation"
    run = load_trained(workdir, which)
    config = with_overrides(run.config, overrides)
    mesh = sharding.make_mesh(config.devices)
    variables = sharding.replicate(run.variables, mesh)
    own = own_name(run.config)
    # Opened first, so that a missing dataset is told before the others are scored.
    scored = [open_scored(config, run.scheme, name) for name in datasets_to_score(config)]
    _make_folder(out)
    scores = {}
    for dataset in scored:
        suffix = "" if dataset.name == own else "_" + dataset.name.replace("/", "_")
        checkpoint = run.origin["checkpoint"]
        name = f"{dataset.split.split}_{checkpoint}{suffix}{_settings(config, run.config)}"
        scores[dataset.name] = _evaluate_split(run, config, dataset, variables, mesh, out / name)
    if out == workdir / "evaluation" and sharding.is_lead():
        write_run_card(workdir)
    return scores


def _settings(config: Config, own: Config) -> str:
    """The settings of an evaluation that change its scores and are not the run's own."""
    told = []
    if config.eval.flip != own.eval.flip:
        told.append("flip" if config.eval.flip else "noflip")
    size, its_size = (of.eval.label_size or of.data.size for of in (config, own))
    if size != its_size:
        told.append("original" if size == ORIGINAL else f"size{size}")
    tolerance = config.eval.boundary_tolerance
    if tolerance != own.eval.boundary_tolerance:
        told.append(f"tolerance{tolerance}" if tolerance >= 0 else "noboundary")
    return "".join(f"_{each}" for each in told)


def _make_folder(folder: Place) -> None:
    """Made before anything is counted, so that no scores are lost where it cannot be."""
    if not sharding.is_lead():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _keep(folder, *([] if (folder / _ALL).exists() else _older(folder)))
    except OSError as error:
        raise InputError(
            str(error.filename or folder),
            error.strerror,
            "a place that can be written",
            "check its permissions, or move it away",
        ) from error


def _older(folder: Place) -> Iterator[dict[str, Any]]:
    """Scores from before there was a file of all scores."""
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(InputError):  # another file, which is left alone
            yield records.read(path, "scores", "", provenance=dict, routes=dict)


def _keep(folder: Place, *scores: Mapping[str, Any]) -> None:
    """Appends to the file of all scores."""
    lines = "".join(json.dumps(each) + "\n" for each in scores)
    if places.on_bucket(folder):
        places.append(folder / _ALL, lines.encode())
        return
    with (folder / _ALL).open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        # A kill or a full disk may have torn the last line.
        torn = end and os.pread(file.fileno(), 1, end - 1) != b"\n"
        file.write(("\n" * bool(torn) + lines).encode())


def _evaluate_split(run, config, scored: Scored, variables, mesh, target: Place) -> dict[str, Any]:
    split, scheme, how, batches = scored.split, scored.scheme, scored.how, scored.batches
    if sharding.is_lead():
        progress.compiling(f"the evaluation of {scored.name}")
    eval_step = make_eval_step(run.system, how, mesh)
    tell = functools.partial(shown, split=split, batch=config.eval.batch)
    counts, examples = count(eval_step, variables, batches(), mesh, tell)
    record = {
        "config": config.to_dict(),
        "seed": run.meta["seed"],
        "step": run.meta["step"],
        "checkpoint": run.origin["checkpoint"],
        "packed": run.origin if "network" in run.origin else None,
        "sha256": run.meta.get("sha256"),
        "trained_on": run.meta["dataset"],
        "init": run.meta.get("init"),
        "imported": run.meta.get("source"),
        "trained_with": run.meta["code_version"],
        "scored_on": split.record() | {"split": split.split, "examples": examples},
        "leak": overlap.leaks(run.meta, split, scored.ids) or None,
        "scored_in_scheme": scheme.name,
        "input_resolution": config.data.size,
        "scoring_resolution": ("original" if scored.label_size == ORIGINAL else scored.label_size),
        "flip": config.eval.flip,
        "boundary_tolerance_pixels": config.eval.boundary_tolerance,
        "code_version": provenance.code_version(),
        "libraries": provenance.libraries(),
    }
    scores = result(counts, scheme, record)
    if sharding.is_lead():
        with interrupts.held():
            _keep(target.parent, scores)  # first, whatever becomes of standard output
        print(summary(record, scores, scheme))
    rows = config.eval.pictures
    head, said = first_examples(eval_step, variables, batches(), mesh, rows)
    if sharding.is_lead():
        picture = training_picture(head, said, run.scheme, rows, split.scheme)
        with interrupts.held():
            records.write(target.with_name(f"{target.name}.json"), scores)
            for route, counted in counts.items():
                path = target.with_name(f"{target.name}_{route}.csv")
                write_confusion(path, counted["confusion"], scheme)
            write_picture(target.with_name(f"{target.name}.png"), picture)
        print(f"written: {target}.json, .png and _ROUTE.csv; {_ALL} keeps earlier ones")
    return scores


def summary(record: Mapping[str, Any], scores: Mapping[str, Any], scheme: Scheme) -> str:
    """What was scored on what, and the table."""
    on, side = record["scored_on"], record["scoring_resolution"]
    lines = [
        f"{on['examples']['all']} examples of {on['name']}/{on['config']} {on['split']}, "
        f"depth {on['depth_source']} ({on['examples']['with_depth']} with depth)",
        f"input {record['input_resolution']} px, scored at "
        f"{'the original size' if side == 'original' else f'{side} px'}, "
        f"step {record['step']} ({record['checkpoint']})",
    ]
    kept = record["trained_on"].get("examples", {})
    scarce = [f"{what} of {kept[what]:,}" for what in kept if kept[what] < kept["all"]]
    if scarce:
        lines.append(f"trained with {' and '.join(scarce)} of {kept['all']:,} examples")
    if scheme.name != on["scheme"]:
        lines.append(f"labels of scheme {on['scheme']}, compared in {scheme.name}")
    if on["merge_order"]:
        lines.append(f"merge order of the labels: {on['merge_order']}")
    if record["leak"]:
        lines.append(f"warning: {record['leak']}")
    if record["flip"]:
        lines.append("mean of the prediction for the image and for its mirror image")
    if record["boundary_tolerance_pixels"] >= 0:
        lines.append(f"boundary F1: tolerance {record['boundary_tolerance_pixels']} px")
    absent: dict[str, list[str]] = {}
    for route, values in scores["routes"].items():
        if not np.any(values["confusion"]):
            lines.append(f"{route}: nothing to score")
        elif values["absent"]:
            absent.setdefault(", ".join(sorted(values["absent"])), []).append(route)
    for classes, routes in absent.items():
        lines.append(f"absent, left out of the means of {', '.join(routes)}: {classes}")
    lines.append(metrics.table(scores["routes"], scheme))
    return "\n".join(lines)
