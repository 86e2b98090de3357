"""Confusion counts on the device; F1, IoU and accuracy from their sum, on the host.

Counts are summed over a whole split before anything is divided: a mean over images or
batches is another, flattering number.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, Integer

from faceparse_jax.labels import IGNORE, Scheme
from faceparse_jax.runtime import tables


def confusion(
    label: Integer[Array, "b h w"],
    prediction: Integer[Array, "b h w"],
    num_classes: int,
    mask: Bool[Array, " b"] | None = None,
) -> Int32[Array, "{num_classes} {num_classes}"]:
    """Pixel counts by true class (rows) and predicted class (columns).

    Args:
        label: class ids; pixels with `IGNORE` are not counted.
        prediction: class ids in 0..num_classes-1.
        mask: rows that count; None for all.
    """
    valid = label != IGNORE
    if mask is not None:
        valid &= mask[:, None, None]
    cells = num_classes * label.astype(jnp.int32) + prediction.astype(jnp.int32)
    # Pixels that do not count go to one cell more, which is cut off.
    cells = jnp.where(valid, cells, num_classes**2)
    counts = jnp.zeros(num_classes**2 + 1, jnp.int32).at[cells.ravel()].add(1)
    return counts[:-1].reshape(num_classes, num_classes)


def scores(confusion: Int[np.ndarray, "k k"], scheme: Scheme) -> dict[str, Any]:
    """Scores of one summed confusion matrix, as Python floats in 0..1.

    F1 of a class is 2 TP / (predicted + true), its IoU TP / (predicted + true - TP).

    Returns:
        ``f1/<class>`` and ``iou/<class>`` for every class; ``f1/<region>`` for every region
        of the scheme, inside which a confusion counts as right (Smith et al., CVPR 2013);
        ``f1/mean`` over all classes but the background, ``f1/mean_depth_classes`` over those
        with depth support,
        ``iou/mean`` over all classes; ``accuracy`` over all pixels; ``absent``: names of
        the classes that are neither in truth nor in prediction. Absent classes have the
        score None and are left out of the means; a mean of nothing is None.
    """
    if confusion.shape != (scheme.num_classes, scheme.num_classes):
        raise ValueError(f"confusion {confusion.shape} for the {scheme.num_classes} classes")
    hits = np.diag(confusion).astype(np.float64)
    both = (confusion.sum(0) + confusion.sum(1)).astype(np.float64)
    present = both > 0
    safe = np.where(present, both, 1)
    f1, iou = 2 * hits / safe, hits / (safe - hits)
    foreground = np.arange(scheme.num_classes) != 0
    with_depth = np.isin(np.arange(scheme.num_classes), scheme.depth_classes)

    def mean(values, chosen):
        chosen = chosen & present
        return float(values[chosen].mean()) if chosen.any() else None

    numbers: dict[str, Any] = {}
    for name, values in (("f1", f1), ("iou", iou)):
        for i, part in enumerate(scheme.classes):
            numbers[f"{name}/{part}"] = float(values[i]) if present[i] else None
    for name, ids in scheme.regions:
        truth, predicted = confusion[list(ids)].sum(), confusion[:, list(ids)].sum()
        inside = confusion[np.ix_(ids, ids)].sum()
        numbers[f"f1/{name}"] = (
            float(2 * inside / (truth + predicted)) if truth + predicted else None
        )
    total = confusion.sum()
    return numbers | {
        "f1/mean": mean(f1, foreground),
        "f1/mean_depth_classes": mean(f1, with_depth),
        "iou/mean": mean(iou, np.ones_like(foreground)),
        "accuracy": float(hits.sum() / total) if total else None,
        "absent": [part for i, part in enumerate(scheme.classes) if not present[i]],
    }


def table(results: Mapping[str, Mapping[str, Any]], scheme: Scheme) -> str:
    """F1 of every class, regions and means, one column for each evaluation, in percent.

    Args:
        results: what `scores` returned, by the name of the evaluation.
    """
    classes = {f"F1 {part}": f"f1/{part}" for part in scheme.classes}
    summary = {f"F1 {name} (region)": f"f1/{name}" for name, _ in scheme.regions}
    summary |= {
        "mean F1": "f1/mean",
        "mean F1, depth classes": "f1/mean_depth_classes",
        "mean IoU": "iou/mean",
        "accuracy": "accuracy",
    }
    boundary = {}
    if any("boundary_f1/mean" in result for result in results.values()):
        boundary = {f"boundary F1 {part}": f"boundary_f1/{part}" for part in scheme.classes}
        boundary["mean boundary F1"] = "boundary_f1/mean"
    blocks = [block for block in (classes, summary, boundary) if block]
    cells = [["%", *results]]
    for title, key in itertools.chain.from_iterable(block.items() for block in blocks):
        values = [result.get(key) for result in results.values()]
        cells.append([title, *("-" if v is None else f"{100 * v:.2f}" for v in values)])
    lines = tables.aligned(cells, numbers_from=1)
    rule = "-" * max(map(len, lines))
    rows = iter(lines)
    ruled = [next(rows)]
    for block in blocks:
        ruled += [rule, *itertools.islice(rows, len(block))]
    return "\n".join(ruled)
