"""Boundary F1: how well the outlines of a class agree, within a tolerance in pixels.

A pixel of a class lies on its boundary where one of its four neighbours is of another
class; the picture's edge is none. A boundary pixel is matched where the other map has a
boundary pixel of the same class within the tolerance, by Euclidean distance
(Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013).
Counts are summed over the whole split before anything is divided.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, Integer

from faceparse_jax.labels import IGNORE, Scheme


def outline(label: Integer[Array, "b h w"]) -> Bool[Array, "b h w"]:
    """Pixels with a neighbour of another class; `IGNORE` makes no boundary."""

    def differs(axis):
        before = jax.lax.slice_in_dim(label, 0, label.shape[axis] - 1, axis=axis)
        after = jax.lax.slice_in_dim(label, 1, None, axis=axis)
        edge = (before != after) & (before != IGNORE) & (after != IGNORE)
        first, last = [(0, 0)] * 3, [(0, 0)] * 3
        first[axis], last[axis] = (0, 1), (1, 0)
        return jnp.pad(edge, first) | jnp.pad(edge, last)

    return (differs(1) | differs(2)) & (label != IGNORE)


def counts(
    label: Integer[Array, "b h w"],
    prediction: Integer[Array, "b h w"],
    num_classes: int,
    mask: Bool[Array, " b"],
    tolerance: int,
) -> Int32[Array, "{num_classes} 4"]:
    """Boundary pixels by class: predicted, of these matched, true, of these matched.

    Args:
        label: class ids; pixels with `IGNORE` are on no boundary, nor is the prediction there.
        prediction: class ids in 0..num_classes-1.
        mask: rows that count.
        tolerance: in pixels, at least 0.
    """
    valid = (label != IGNORE) & mask[:, None, None]
    prediction = jnp.where(valid, prediction, IGNORE)
    label = jnp.where(valid, label, IGNORE)
    true, predicted = outline(label), outline(prediction)
    reach = range(-tolerance, tolerance + 1)
    disc = [(y, x) for y in reach for x in reach if y * y + x * x <= tolerance**2]

    def near(boundary, ids, other_ids):
        """Whether a boundary pixel of the class `other_ids` has at a pixel is near."""
        pad = [(0, 0), (tolerance, tolerance), (tolerance, tolerance)]
        height, width = ids.shape[1:]
        there = jnp.pad(jnp.where(boundary, ids, IGNORE), pad, constant_values=IGNORE)

        def matches(offset):
            y, x = offset
            return there[:, y + tolerance :, x + tolerance :][:, :height, :width] == other_ids

        found = matches(disc[0])
        for offset in disc[1:]:
            found |= matches(offset)
        return found

    def per_class(ids, chosen):
        cells = jnp.where(chosen, ids, num_classes)
        return jnp.zeros(num_classes + 1, jnp.int32).at[cells.ravel()].add(1)[:-1]

    return jnp.stack(
        [
            per_class(prediction, predicted),
            per_class(prediction, predicted & near(true, label, prediction)),
            per_class(label, true),
            per_class(label, true & near(predicted, prediction, label)),
        ],
        axis=-1,
    )


def scores(counts: Int[np.ndarray, "k 4"], scheme: Scheme) -> dict[str, Any]:
    """``boundary_f1/<class>`` in 0..1, None where a class has no boundary in either map.

    Also ``boundary_f1/mean`` over the classes but the background that have one.
    """
    numbers: dict[str, Any] = {}
    for part, (predicted, right, true, found) in zip(scheme.classes, counts.tolist(), strict=True):
        if not predicted and not true:
            numbers[f"boundary_f1/{part}"] = None
            continue
        precision = right / predicted if predicted else 0.0
        recall = found / true if true else 0.0
        both = precision + recall
        numbers[f"boundary_f1/{part}"] = 2 * precision * recall / both if both else 0.0
    present = [numbers[f"boundary_f1/{part}"] for part in scheme.classes[1:]]
    present = [value for value in present if value is not None]
    return numbers | {"boundary_f1/mean": float(np.mean(present)) if present else None}
