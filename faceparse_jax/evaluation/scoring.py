"""The evaluation step: predictions on the label's grid, counted; nothing is divided here."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from faceparse_jax.evaluation import boundaries, metrics
from faceparse_jax.labels import IGNORE
from faceparse_jax.models.inference import Variables, predict, predict_both_ways
from faceparse_jax.models.system import System


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How predictions are counted.

    Attributes:
        num_classes: classes that are counted.
        class_table: counted id of each of the networks' classes; () where they are equal.
        label_table: counted id of each label value; () where they are equal.
        mirror: `labels.Scheme.mirror` of the networks' scheme, to average with the
            prediction for the mirrored input; () for the input alone.
        boundary_tolerance: in pixels of the label, for boundary F1; -1 for none.
    """

    num_classes: int
    class_table: tuple[int, ...] = ()
    label_table: tuple[int, ...] = ()
    mirror: tuple[int, ...] = ()
    boundary_tolerance: int = -1


def resize_within(
    values: Float[Array, "h w k"],
    window: Int[Array, "4"],
    size: Int[Array, "2"],
    shape: tuple[int, int],
) -> Float[Array, "height width k"]:
    """Bilinear resize of a window to `size`, in the top left corner of an array of `shape`.

    As `jax.image.resize` without antialiasing, for windows (top, left, height, width) and
    sizes that are known on the device only; beyond the size the values at its edge go on.
    """

    def weights(length, start, part, out, wanted):
        place = (jnp.arange(out) + 0.5) * part / wanted - 0.5
        place = start + jnp.clip(place, 0, part - 1)[:, None]
        return jnp.maximum(0.0, 1 - jnp.abs(place - jnp.arange(length)))

    rows = weights(values.shape[0], window[0], window[2], shape[0], size[0])
    columns = weights(values.shape[1], window[1], window[3], shape[1], size[1])
    exact = jax.lax.Precision.HIGHEST
    half = jnp.einsum("wj,ijk->iwk", columns, values, precision=exact)
    return jnp.einsum("hi,iwk->hwk", rows, half, precision=exact)


def eval_step(
    variables: Variables, batch: dict[str, Array], *, system: System, scoring: Scoring
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Counts of every route over the valid rows of a batch, and what there is to look at.

    Probabilities are brought to the counted classes, then to the label's grid, before the
    argmax. The route ``depth`` counts only the rows that have depth.

    Args:
        batch: as for evaluation; with ``size`` i32 [b 2] and ``window`` i32 [b 4] where
            labels are not of the networks' size (see `data.batches`).

    Returns:
        By route: ``confusion`` [k k] (see `metrics.confusion`) and, where it is asked
        for, ``boundary`` [k 4] (see `boundaries.counts`). By route the label map on the grid of
        the networks and in their classes, u8 [b h w]; under ``translated`` the translated depth,
        u8 [b h w 1].
    """
    label, mask = batch["label"], batch["mask"]
    inputs = {k: batch[k] for k in ("image", "depth", "has_depth")}
    if scoring.mirror:
        out = predict_both_ways(variables, inputs, system=system, mirror=scoring.mirror)
    else:
        out = predict(variables, inputs, system=system)
    if scoring.label_table:
        table = np.full(256, IGNORE, np.uint8)
        table[: len(scoring.label_table)] = scoring.label_table
        label = jnp.asarray(table)[label]
    maps = {name: out.pop(name) for name in ("translated",) if name in out}
    counts = {}
    for name, probabilities in out.items():
        maps[name] = jnp.argmax(probabilities, axis=-1).astype(jnp.uint8)
        rows = mask & batch["has_depth"] if name == "depth" else mask
        if scoring.class_table:
            # A product with 0 and 1: probabilities of classes that merge are summed.
            merge = np.eye(scoring.num_classes, dtype=np.float32)[list(scoring.class_table)]
            probabilities = jnp.matmul(probabilities, merge, precision=jax.lax.Precision.HIGHEST)
        if "size" in batch:
            # One image after the other: canvases are large.
            prediction = jax.lax.map(
                lambda one: jnp.argmax(resize_within(*one, label.shape[1:]), axis=-1),
                (probabilities, batch["window"], batch["size"]),
            )
        else:
            prediction = jnp.argmax(probabilities, axis=-1)
        counts[name] = {
            "confusion": metrics.confusion(label, prediction, scoring.num_classes, rows)
        }
        if scoring.boundary_tolerance >= 0:
            counts[name]["boundary"] = boundaries.counts(
                label, prediction, scoring.num_classes, rows, scoring.boundary_tolerance
            )
    return counts, maps
