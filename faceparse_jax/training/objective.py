"""The loss of the whole system: six terms, each with a weight that may change over the steps."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from faceparse_jax.config import Config
from faceparse_jax.labels import IGNORE
from faceparse_jax.models.system import System, all_rows, forward, judge, with_depth
from faceparse_jax.training import losses

_MEANS = {"pixels": losses.pixel_mean, "classes": losses.class_mean}


@dataclasses.dataclass(frozen=True)
class Loss:
    """The terms in use, and the form of each.

    Attributes:
        weights: weight of each term at a step.
        segment: what logits and labels cost (`losses.segmentation` with its constants).
        agree: what the parsers' disagreement costs (`losses.mutual` in one of its forms).
    """

    weights: Mapping[str, optax.Schedule]
    segment: Callable[..., Float[Array, ""]]
    agree: Callable[..., Float[Array, ""]]


def build(config: Config) -> Loss:
    """The loss that a config describes."""
    loss = config.loss
    segment = functools.partial(
        losses.segmentation,
        auxiliary=loss.auxiliary,
        threshold=loss.ohem_threshold,
        min_fraction=loss.ohem_min_fraction,
        mean=_MEANS[loss.segmentation_mean],
    )
    students = ("rgb", "depth") if loss.mutual_students == "both" else (loss.mutual_students,)
    agree = functools.partial(losses.mutual, mean=_MEANS[loss.mutual_mean], students=students)
    return Loss({term: schedule(of) for term, of in loss.weights().items()}, segment, agree)


def schedule(weight: float | tuple[tuple[int, float], ...]) -> optax.Schedule:
    """A constant, or straight lines between points (step, value), flat before and after them."""
    if not isinstance(weight, tuple):
        return optax.constant_schedule(weight)
    # Of NumPy, so that a step that is lowered fetches nothing from a device.
    steps, values = (np.array(column, np.float32) for column in zip(*weight, strict=True))
    return lambda step: jnp.interp(step, steps, values)


def objective(
    params: Mapping[str, PyTree],
    stats: Mapping[str, PyTree],
    batch: Mapping[str, Array],
    key: PRNGKeyArray,
    step: Int[Array, ""],
    *,
    system: System,
    loss: Loss,
) -> tuple[Float[Array, ""], tuple[dict, dict, Float[Array, "n h w 1"] | None]]:
    """The weighted sum of the terms.

    Args:
        params, stats: parameters and batch statistics by network.
        batch: as `models.system.forward` takes it.
        key: of the translator's dropout.
        step: counted from 0, for weights that change.

    Returns:
        The loss; and the terms by name, the new batch statistics, and the translated depth
        [n h w 1] of all rows in [-1, 1], None without a translator.
    """
    out, stats = forward(system, params, stats, batch, key, loss.weights.keys())
    label, paired, every = batch["label"], batch.get("paired", batch), all_rows(batch)

    def on_real_depth():
        return loss.segment(out.real, jnp.where(with_depth(paired), paired["label"], IGNORE))

    def deceives():
        patches, _ = judge(system, params, stats, every["image"], out.translated)
        return losses.adversarial(patches, every["has_depth"])

    terms = {
        "rgb": lambda: loss.segment(out.rgb, label),
        "depth": on_real_depth,
        "e2e": lambda: loss.segment(out.fake, label),
        "mutual": lambda: loss.agree(out.rgb[0], out.peer, out.peer_mask),
        "translation": lambda: losses.translation(
            out.translated, every["depth"], with_depth(every)
        ),
        "adversarial": deceives,
    }
    # A term of weight 0 has no entry among the weights and is never traced.
    values = {name: terms[name]() for name in loss.weights}
    total = sum((loss.weights[name](step) * value for name, value in values.items()), 0.0)
    return total, (values, stats, out.translated)
