"""From batches to one summed confusion matrix per route, and from there to numbers."""

import csv
import functools
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from faceparse_jax import boundaries, config_check, convert, metrics, provenance, sharding
from faceparse_jax.data import source
from faceparse_jax.data.batches import ORIGINAL
from faceparse_jax.data.prepared import Split, prepared_configs
from faceparse_jax.errors import InputError
from faceparse_jax.inference import predict_step
from faceparse_jax.labels import Scheme
from faceparse_jax.pictures import training_picture
from faceparse_jax.scoring import Scoring, eval_step
from faceparse_jax.state import Nets, Variables
from faceparse_jax.trained import load_trained

ROUTES = {
    "rgb": "RGB parser on images",
    "depth": "depth parser on real depth",
    "depth_translated": "depth parser on translated depth",
    "fusion": "mean of both parsers",
}
"""The ways to a label map, in the order of the tables."""

Counts = Mapping[str, Mapping[str, np.ndarray]]
"""By route: ``confusion`` [k k] and perhaps ``boundary`` [k 4]."""


def open_data(config, name: str, dataset: str = "") -> Split:
    """The split `name` of the configured dataset, or of ``dataset``, as name/config."""
    data = config.data
    name_of, _, config_of = dataset.partition("/") if dataset else (data.name, "", data.config)
    return source.module(data.source).open_split(
        name_of, config_of, name, pathlib.Path(data.data_dir)
    )


def dataset_record(split: Split) -> dict[str, Any]:
    """What results and checkpoints say of a dataset."""
    return {
        "name": split.name,
        "config": split.config,
        "version": split.version,
        "fingerprint": split.fingerprint,
        "scheme": split.scheme.name,
        "merge_order": split.merge_order,
        "depth_source": split.depth_source,
    }


def scoring_for(
    trained: Scheme, scored: Scheme, *, flip: bool = False, boundary_tolerance: int = -1
) -> tuple[Scheme, Scoring]:
    """The scheme in which networks and labels are compared, and how to count in it.

    Raises:
        InputError: no conversion between the two schemes.
    """
    counted = convert.common(trained, scored)
    table = functools.partial(convert.class_table, target=counted)
    return counted, Scoring(
        counted.num_classes,
        class_table=() if trained == counted else table(trained),
        label_table=() if scored == counted else table(scored),
        mirror=trained.mirror if flip else (),
        boundary_tolerance=boundary_tolerance,
    )


def make_eval_step(nets: Nets, scoring: Scoring, mesh: Mesh) -> Callable:
    """`scoring.eval_step`, jitted over the mesh."""
    whole = sharding.replicated(mesh)
    return jax.jit(
        functools.partial(eval_step, nets=nets, scoring=scoring),
        in_shardings=(whole, sharding.by_row(mesh)),
        out_shardings=whole,
    )


def count(
    eval_step: Callable, variables: Variables, batches: Iterable[dict[str, np.ndarray]], mesh: Mesh
) -> tuple[Counts, dict[str, int]]:
    """Sums counts over batches, in int64 on the host.

    Returns:
        By route what `scoring.eval_step` counts, and how many examples there were:
        ``all`` and ``with_depth``.
    """
    totals: dict[str, Any] = {}
    examples = {"all": 0, "with_depth": 0}
    for batch in batches:
        examples["all"] += int(batch["mask"].sum())
        examples["with_depth"] += int((batch["mask"] & batch["has_depth"]).sum())
        inputs = {k: v for k, v in batch.items() if k != "index"}
        counts = eval_step(variables, sharding.shard_padded(inputs, mesh))
        counts = jax.tree.map(lambda x: x.astype(np.int64), jax.device_get(counts))
        totals = jax.tree.map(np.add, totals, counts) if totals else counts
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        gathered = multihost_utils.process_allgather(np.array(list(examples.values())))
        examples = dict(zip(examples, map(int, gathered.sum(axis=0)), strict=True))
    ordered = {name: totals[name] for name in ROUTES if name in totals}
    return ordered, examples


def scalars(counts: Counts, scheme: Scheme) -> dict[str, float]:
    """The few numbers that training logs for each route."""
    numbers = {}
    for route, counted in counts.items():
        scores = metrics.scores(counted["confusion"], scheme)
        for key in ("f1/mean", "f1/mean_depth_classes", "iou/mean", "accuracy"):
            if scores[key] is not None:
                numbers[f"validation/{route}/{key}"] = scores[key]
    return numbers


def result(counts: Counts, scheme: Scheme, record: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of every route with the raw counts and where they come from."""
    routes = {}
    for route, counted in counts.items():
        routes[route] = metrics.scores(counted["confusion"], scheme)
        if "boundary" in counted:
            routes[route] |= boundaries.scores(counted["boundary"], scheme)
        routes[route] |= {key: value.tolist() for key, value in counted.items()}
    return {"provenance": dict(record), "classes": list(scheme.classes), "routes": routes}


def write_confusion(path: pathlib.Path, confusion: np.ndarray, scheme: Scheme) -> None:
    """Writes pixel counts as CSV: a row for each true class, a column for each predicted one."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["true \\ predicted", *scheme.classes])
        for name, row in zip(scheme.classes, confusion.tolist(), strict=True):
            writer.writerow([name, *row])


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON beside the target first, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def examples_picture(predict_step, variables, batch, scheme, truth_scheme=None) -> np.ndarray:
    """Image, depth, truth and every prediction of a few examples, side by side."""
    inputs = {k: batch[k] for k in ("image", "depth", "has_depth")}
    out = jax.device_get(predict_step(variables, inputs))
    return training_picture(batch, out, scheme, len(batch["mask"]), truth_scheme)


def datasets_to_score(config) -> list[str]:
    """The datasets that `config.eval.dataset` names, as name/config.

    Empty for the run's own; several with commas; ``name/*`` for every prepared config, which
    for CelebAMask-HQ-D is every merge order.
    """
    chosen = []
    for item in config.eval.dataset.split(",") if config.eval.dataset else [""]:
        name, _, wanted = item.strip().partition("/")
        if not name:
            chosen.append(f"{config.data.name}/{config.data.config}")
        elif wanted == "*":
            chosen += [f"{name}/{found}" for found in prepared_configs(name, config.data.data_dir)]
        elif wanted:
            chosen.append(f"{name}/{wanted}")
        else:
            raise InputError(
                "config.eval.dataset", repr(item), "name/config", f"set it to {name}/official"
            )
    return chosen


def evaluate_run(workdir: pathlib.Path, which: str, overrides=None) -> dict[str, dict[str, Any]]:
    """Scores a run's checkpoint on held-out splits; prints tables, writes files.

    For each dataset, in ``workdir/evaluation``: scores as JSON, the confusion matrix of
    every route as CSV, and a picture of a few examples.

    Args:
        workdir: the run's folder.
        which: ``best`` or ``last``.
        overrides: a config whose `eval`, `devices`, data folder and source replace the
            run's own.

    Returns:
        What the JSON files hold, by dataset.
    """
    run = load_trained(workdir, which)
    config = ml_collections.ConfigDict(run.config)
    if overrides is not None:
        config.eval = overrides.eval
        config.devices = overrides.devices
        config.data.data_dir = overrides.data.data_dir
        config.data.source = overrides.data.source
    config_check.check(config)
    mesh = sharding.make_mesh(config.devices)
    variables = sharding.replicate(run.variables, mesh)
    own = f"{config.data.name}/{config.data.config}"
    # Opened first, so that a missing dataset is told before the others are scored.
    splits = {d: open_data(config, config.eval.split, d) for d in datasets_to_score(config)}
    scores = {}
    for dataset, split in splits.items():
        suffix = "" if dataset == own else "_" + dataset.replace("/", "_")
        name = f"{split.split}_{which}{suffix}"
        scores[dataset] = _evaluate_split(
            run, config, split, variables, mesh, which, workdir / "evaluation" / name
        )
    return scores


def _evaluate_split(
    run, config, split: Split, variables, mesh, which: str, target: pathlib.Path
) -> dict[str, Any]:
    scheme, how = scoring_for(
        run.scheme,
        split.scheme,
        flip=config.eval.flip,
        boundary_tolerance=config.eval.boundary_tolerance,
    )
    size, label_size = config.data.size, config.eval.label_size or config.data.size
    batches = functools.partial(
        source.module(config.data.source).eval_batches,
        split,
        batch_size=config.eval.batch,
        size=size,
        label_size=label_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    counts, examples = count(make_eval_step(run.nets, how, mesh), variables, batches(), mesh)
    record = {
        "config": config.to_dict(),
        "seed": run.meta["seed"],
        "step": run.meta["step"],
        "checkpoint": which,
        "trained_on": run.meta["dataset"],
        "trained_with": run.meta["code_version"],
        "scored_on": dataset_record(split) | {"split": split.split, "examples": examples},
        "scored_in_scheme": scheme.name,
        "input_resolution": size,
        "scoring_resolution": "original" if label_size == ORIGINAL else label_size,
        "flip": config.eval.flip,
        "boundary_tolerance_pixels": config.eval.boundary_tolerance,
        "code_version": provenance.code_version(),
        "libraries": provenance.libraries(),
    }
    scores = result(counts, scheme, record)
    if sharding.is_lead():
        write_json(target.with_name(f"{target.name}.json"), scores)
        for route, counted in counts.items():
            path = target.with_name(f"{target.name}_{route}.csv")
            write_confusion(path, counted["confusion"], scheme)
        head = next(batches())
        head = {k: v[: config.eval.pictures] for k, v in head.items()}
        predict = jax.jit(functools.partial(predict_step, nets=run.nets))
        picture = examples_picture(predict, run.variables, head, run.scheme, split.scheme)
        Image.fromarray(picture).save(target.with_name(f"{target.name}.png"))
        print(summary(record, scores, scheme))
        print(f"written: {target}.json, .png and _ROUTE.csv")
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
