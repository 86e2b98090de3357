"""From batches to one summed confusion matrix per route, and from there to numbers."""

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

from faceparse_jax import metrics, provenance, sharding, step
from faceparse_jax.data import pipeline
from faceparse_jax.errors import InputError
from faceparse_jax.labels import Scheme
from faceparse_jax.pictures import training_picture
from faceparse_jax.state import Nets, Variables
from faceparse_jax.trained import load_trained

ROUTES = {
    "rgb": "RGB parser on images",
    "depth": "depth parser on real depth",
    "depth_translated": "depth parser on translated depth",
    "fusion": "mean of both parsers",
}
"""The ways to a label map, in the order of the tables."""


def open_data(config, name: str) -> pipeline.Split:
    """The split `name` of the configured dataset."""
    data = config.data
    return pipeline.open_split(data.name, data.config, name, pathlib.Path(data.data_dir))


def dataset_record(split: pipeline.Split) -> dict[str, Any]:
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


def make_eval_step(nets: Nets, num_classes: int, mesh: Mesh) -> Callable:
    """`step.eval_step`, jitted over the mesh."""
    whole = sharding.replicated(mesh)
    return jax.jit(
        functools.partial(step.eval_step, nets=nets, num_classes=num_classes),
        in_shardings=(whole, sharding.by_row(mesh)),
        out_shardings=whole,
    )


def count(
    eval_step: Callable, variables: Variables, batches: Iterable[dict[str, np.ndarray]], mesh: Mesh
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Sums confusion counts over batches, in int64 on the host.

    Returns:
        Counts [k k] by route (rows truth, columns prediction), and how many examples
        there were: ``all`` and ``with_depth``.
    """
    totals: dict[str, Any] = {}
    examples = {"all": 0, "with_depth": 0}
    for batch in batches:
        examples["all"] += int(batch["mask"].sum())
        examples["with_depth"] += int((batch["mask"] & batch["has_depth"]).sum())
        inputs = {k: v for k, v in batch.items() if k != "index"}
        counts = eval_step(variables, sharding.shard(inputs, mesh))
        for name, value in jax.device_get(counts).items():
            totals[name] = totals.get(name, 0) + value.astype(np.int64)
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        gathered = multihost_utils.process_allgather(np.array(list(examples.values())))
        examples = dict(zip(examples, map(int, gathered.sum(axis=0)), strict=True))
    ordered = {name: totals[name] for name in ROUTES if name in totals}
    return ordered, examples


def scalars(counts: Mapping[str, np.ndarray], scheme: Scheme) -> dict[str, float]:
    """The few numbers that training logs for each route."""
    numbers = {}
    for route, confusion in counts.items():
        scores = metrics.scores(confusion, scheme)
        for key in ("f1/mean", "f1/mean_depth_classes", "iou/mean", "accuracy"):
            if scores[key] is not None:
                numbers[f"validation/{route}/{key}"] = scores[key]
    return numbers


def result(
    counts: Mapping[str, np.ndarray], scheme: Scheme, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Scores of every route with the raw counts and where they come from."""
    routes = {
        route: metrics.scores(confusion, scheme) | {"confusion": confusion.tolist()}
        for route, confusion in counts.items()
    }
    return {"provenance": dict(record), "classes": list(scheme.classes), "routes": routes}


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON beside the target first, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def examples_picture(predict_step, variables, batch, scheme) -> np.ndarray:
    """Image, depth, truth and every prediction of a few examples, side by side."""
    inputs = {k: batch[k] for k in ("image", "depth", "has_depth")}
    out = jax.device_get(predict_step(variables, inputs))
    return training_picture(batch, out, scheme, rows=len(batch["mask"]))


def evaluate_run(workdir: pathlib.Path, which: str, overrides=None) -> dict[str, Any]:
    """Scores a run's checkpoint on a held-out split; prints a table, writes JSON and a picture.

    Args:
        workdir: the run's folder; results go to ``workdir/evaluation``.
        which: ``best`` or ``last``.
        overrides: a config whose `eval`, `devices` and data folder replace the run's own.
    """
    run = load_trained(workdir, which)
    config = ml_collections.ConfigDict(run.config)
    if overrides is not None:
        config.eval = overrides.eval
        config.devices = overrides.devices
        config.data.data_dir = overrides.data.data_dir
    mesh = sharding.make_mesh(config.devices)
    sharding.check_divides(config.eval.batch, mesh, "eval.batch")
    split = open_data(config, config.eval.split)
    if split.scheme != run.scheme:
        raise InputError(
            str(split.directory),
            f"labels of scheme {split.scheme.name}",
            f"{run.scheme.name}, which the run in {workdir} was trained on",
            f"evaluate on {run.meta['dataset']['name']}/{run.meta['dataset']['config']}",
        )
    size, label_size = config.data.size, config.eval.label_size or config.data.size
    batches = functools.partial(
        pipeline.eval_batches,
        split,
        batch_size=config.eval.batch,
        size=size,
        label_size=label_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    variables = jax.device_put(run.variables, sharding.replicated(mesh))
    eval_step = make_eval_step(run.nets, run.scheme.num_classes, mesh)
    counts, examples = count(eval_step, variables, batches(), mesh)
    record = {
        "config": config.to_dict(),
        "seed": run.meta["seed"],
        "step": run.meta["step"],
        "checkpoint": which,
        "trained_on": run.meta["dataset"],
        "trained_with": run.meta["code_version"],
        "scored_on": dataset_record(split) | {"split": split.split, "examples": examples},
        "input_resolution": size,
        "scoring_resolution": label_size,
        "code_version": provenance.code_version(),
        "libraries": provenance.libraries(),
    }
    scores = result(counts, run.scheme, record)
    if sharding.is_lead():
        folder = workdir / "evaluation"
        write_json(folder / f"{split.split}_{which}.json", scores)
        head = next(batches())
        head = {k: v[: config.eval.pictures] for k, v in head.items()}
        predict_step = jax.jit(functools.partial(step.predict_step, nets=run.nets))
        picture = examples_picture(predict_step, run.variables, head, run.scheme)
        Image.fromarray(picture).save(folder / f"{split.split}_{which}.png")
        source = f"{split.name}/{split.config} {split.split}, depth {split.depth_source}"
        print(f"{examples['all']} examples of {source} ({examples['with_depth']} with depth)")
        print(f"input {size} px, scored at {label_size} px, step {run.meta['step']} ({which})")
        print(metrics.table(scores["routes"], run.scheme))
        print(f"written: {folder}/{split.split}_{which}.json and .png")
    return scores
