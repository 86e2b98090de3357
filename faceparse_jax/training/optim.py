"""Learning-rate schedules and optimisers with groups by parameter path.

An `Optimizer` keeps direction and rate apart: the step multiplies by the rate itself,
so the rate in the log is the one that was applied.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Schedule = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A descent direction (optax, without a learning rate) and the rate at each step."""

    direction: optax.GradientTransformation
    rate: Schedule


def schedule(
    kind: str,
    rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_rate: float = 1e-5,
    power: float = 0.9,
) -> Schedule:
    """The learning rate at a step counted from 0.

    Warm-up grows exponentially from `warmup_rate` to `rate`; then ``poly`` falls as
    (1 - progress)^power, ``cosine`` as half a cosine, and ``constant`` stays.

    Source: zllrunning/face-parsing.PyTorch, `Optimizer` (warm-up and poly 0.9).
    """
    if kind not in ("poly", "cosine", "constant"):
        raise ValueError(f"schedule is 'poly', 'cosine' or 'constant', not {kind!r}")

    def at(step):
        step = jnp.asarray(step, jnp.float32)
        start = min(warmup_rate, rate)  # a rate of 0 stays 0
        growth = rate / start if start else 1.0
        warm = start * growth ** (step / max(warmup_steps, 1))
        progress = jnp.clip((step - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        if kind == "poly":
            factor = (1 - progress) ** power
        elif kind == "cosine":
            factor = 0.5 * (1 + jnp.cos(jnp.pi * progress))
        else:
            factor = jnp.ones_like(progress)
        return jnp.where(step < warmup_steps, warm, rate * factor)

    return at


def _path(path) -> tuple[str, ...]:
    return tuple(str(entry.key) for entry in path)


def decay_mask(params):
    """True for the weights that decay: kernels, neither biases nor norm parameters."""
    return jax.tree_util.tree_map_with_path(lambda path, _: _path(path)[-1] == "kernel", params)


def head_factors(params, factor: float):
    """`factor` for the fusion module and the heads, 1 for the rest, by top-level name."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: factor if _path(path)[0].startswith(("fusion", "head")) else 1.0, params
    )


def scale_heads(factor: float) -> optax.GradientTransformation:
    """Multiplies the updates of the fusion module and the heads."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(jnp.multiply, updates, head_factors(updates, factor))
    )


def parser_direction(
    kind: str, *, momentum: float, weight_decay: float, head_factor: float
) -> optax.GradientTransformation:
    """The parsers' direction: ``sgd`` as torch.optim.SGD, or ``adamw``; heads times `head_factor`.

    torch adds weight decay to the gradient before the momentum and applies the rate
    after it, which fixes the order of the chain.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=decay_mask)
    if kind == "sgd":
        return optax.chain(decay, optax.trace(decay=momentum), scale_heads(head_factor))
    if kind == "adamw":
        return optax.chain(optax.scale_by_adam(), decay, scale_heads(head_factor))
    raise ValueError(f"optimiser is 'sgd' or 'adamw', not {kind!r}")


def gan_direction() -> optax.GradientTransformation:
    """Adam with beta1 = 0.5, as pix2pix trains translator and discriminator."""
    return optax.scale_by_adam(b1=0.5, b2=0.999)
