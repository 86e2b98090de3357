"""From batches to one summed confusion matrix per route, and from there to numbers."""

import collections
import csv
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from faceparse_jax.data.batches import AHEAD, Batch, drawn_ahead
from faceparse_jax.data.splits import Split
from faceparse_jax.evaluation import boundaries, metrics
from faceparse_jax.evaluation.scoring import Scoring, eval_step
from faceparse_jax.labels import Scheme, conversion
from faceparse_jax.models.inference import Variables
from faceparse_jax.models.routes import ROUTES
from faceparse_jax.models.system import System
from faceparse_jax.runtime import places, progress, sharding
from faceparse_jax.runtime.places import Place

Item = TypeVar("Item")
Counts = Mapping[str, Mapping[str, np.ndarray]]
"""By route: ``confusion`` [k k] and perhaps ``boundary`` [k 4]."""


def scoring_for(
    trained: Scheme, scored: Scheme, *, flip: bool = False, boundary_tolerance: int = -1
) -> tuple[Scheme, Scoring]:
    """The scheme in which networks and labels are compared, and how to count in it.

    Raises:
        InputError: no conversion between the two schemes.
    """
    counted = conversion.common(trained, scored)
    table = functools.partial(conversion.class_table, target=counted)
    return counted, Scoring(
        counted.num_classes,
        class_table=() if trained == counted else table(trained),
        label_table=() if scored == counted else table(scored),
        mirror=trained.mirror if flip else (),
        boundary_tolerance=boundary_tolerance,
    )


def make_eval_step(system: System, scoring: Scoring, mesh: Mesh) -> Callable:
    """`scoring.eval_step`, jitted over the mesh."""
    whole = sharding.replicated(mesh)
    return jax.jit(
        functools.partial(eval_step, system=system, scoring=scoring),
        in_shardings=(whole, sharding.by_row(mesh)),
        out_shardings=(whole, sharding.by_row(mesh)),
    )


def shown(batches: Iterable[Item], split: Split, batch: int) -> Iterable[Item]:
    """The batches of a split; the process that prints says how far they are."""
    if not sharding.is_lead():
        return batches
    return progress.bar(batches, split.split, -(-split.num_examples // batch), "batches")


def count(
    eval_step: Callable,
    variables: Variables,
    batches: Iterator[Batch],
    mesh: Mesh,
    shown: Callable[[Iterable], Iterable] = iter,
) -> tuple[Counts, dict[str, int]]:
    """Sums counts over batches, in int64 on the host, while the devices work on the next ones.

    Args:
        shown: passes on what comes, and may say how much of it came.

    Returns:
        By route what `scoring.eval_step` counts, and how many examples there were:
        ``all`` and ``with_depth``.
    """
    totals: dict[str, Any] = {}
    examples = {"all": 0, "with_depth": 0}

    def place(batch):
        inputs = {k: v for k, v in batch.items() if k != "index"}
        there = {"all": batch["mask"], "with_depth": batch["mask"] & batch["has_depth"]}
        numbers = {name: int(rows.sum()) for name, rows in there.items()}
        return numbers, sharding.shard_padded(inputs, mesh)

    def counted():
        # The counts of a batch are fetched when later ones have been begun.
        waiting: collections.deque = collections.deque()
        with drawn_ahead(map(place, batches)) as placed:
            for numbers, inputs in placed:
                counts, _ = eval_step(variables, inputs)
                waiting.append((numbers, counts))
                if len(waiting) > AHEAD:
                    yield waiting.popleft()
        yield from waiting

    for numbers, counts in shown(counted()):
        examples = {name: number + numbers[name] for name, number in examples.items()}
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


def write_confusion(path: Place, confusion: np.ndarray, scheme: Scheme) -> None:
    """Writes pixel counts as CSV: a row for each true class, a column for each predicted one."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["true \\ predicted", *scheme.classes])
    for name, row in zip(scheme.classes, confusion.tolist(), strict=True):
        writer.writerow([name, *row])
    places.write(path, file.getvalue().encode())
