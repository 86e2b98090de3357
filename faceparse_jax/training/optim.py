"""Learning rates and optimisers: one for each network, joined into one transformation."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

import jax
import optax

from faceparse_jax.config import Config
from faceparse_jax.models.system import NETWORKS, System


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """The update of all networks.

    Attributes:
        transform: from gradients by network to updates by network.
        rates: the learning rate of each network that learns, by step; `transform` applies it.
    """

    transform: optax.GradientTransformation
    rates: Mapping[str, optax.Schedule]


def build(config: Config, system: System) -> Optimizer:
    """The optimisers of the networks in use."""
    optim = config.optim
    peaks = {
        "rgb": optim.rate,
        "depth": optim.rate,
        "translator": optim.translator_rate,
        "discriminator": optim.discriminator_rate,
    }
    rates = {
        name: rate(
            optim.schedule,
            peaks[name],
            config.train.steps,
            optim.warmup_steps,
            optim.warmup_rate,
            optim.power,
        )
        for name in system.networks()
        if not (name == "translator" and system.frozen_translator)
    }
    parser = parser_direction(
        optim.kind,
        momentum=optim.momentum,
        weight_decay=optim.weight_decay,
        head_factor=optim.head_factor,
    )
    gan = gan_direction()
    directions = {"rgb": parser, "depth": parser, "translator": gan, "discriminator": gan}
    return join({name: directions[name] for name in rates}, rates, system.networks())


def join(
    directions: Mapping[str, optax.GradientTransformation],
    rates: Mapping[str, optax.Schedule],
    networks: Collection[str] = (),
) -> Optimizer:
    """Directions and rates by network as one transformation of gradients by network.

    Args:
        networks: all that are in use; one that has no rate stays as it is.
    """
    each = {
        name: optax.chain(directions[name], optax.scale_by_learning_rate(rates[name]))
        for name in rates
    }
    each |= {name: optax.set_to_zero() for name in networks if name not in rates}
    names = {name: name for name in NETWORKS if name in each}
    return Optimizer(optax.partition(each, names), rates)


def rate(
    kind: str,
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_rate: float = 1e-5,
    power: float = 0.9,
) -> optax.Schedule:
    """The learning rate at a step counted from 0.

    Warm-up grows exponentially from `warmup_rate` to `peak`; then ``poly`` falls as
    (1 - progress)^power, ``cosine`` as half a cosine, and ``constant`` stays.

    Source: zllrunning/face-parsing.PyTorch, `Optimizer` (warm-up and poly 0.9).
    """
    if not peak:
        return optax.constant_schedule(0.0)
    rest = max(total_steps - warmup_steps, 1)
    after = {
        "poly": optax.polynomial_schedule(peak, 0.0, power, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
        "constant": optax.constant_schedule(peak),
    }[kind]
    if not warmup_steps:
        return after
    start = min(warmup_rate, peak)
    warm = optax.exponential_decay(start, warmup_steps, peak / start)
    return optax.join_schedules([warm, after], [warmup_steps])


def _names(path) -> tuple[str, ...]:
    return tuple(str(entry.key) for entry in path)


def _by_name(holds: Callable[[tuple[str, ...]], bool]) -> Callable:
    """A mask of parameters, by the names on the way to each."""
    return lambda params: jax.tree_util.tree_map_with_path(
        lambda path, _: holds(_names(path)), params
    )


decay_mask = _by_name(lambda names: names[-1] == "kernel")
"""True for the weights that decay: kernels, neither biases nor norm parameters."""

head_mask = _by_name(lambda names: any(name.startswith(("fusion", "head")) for name in names[:2]))
"""True for the fusion module and the heads of a parser, alone or under its network's name."""


def parser_direction(
    kind: str, *, momentum: float, weight_decay: float, head_factor: float
) -> optax.GradientTransformation:
    """The parsers' direction: ``sgd`` as torch.optim.SGD, or ``adamw``; heads times `head_factor`.

    torch adds weight decay to the gradient before the momentum and applies the rate
    after it, which fixes the order of the chain.
    """
    decay = optax.add_decayed_weights(weight_decay, mask=decay_mask)
    heads = optax.masked(optax.scale(head_factor), head_mask)
    return {
        "sgd": optax.chain(decay, optax.trace(decay=momentum), heads),
        "adamw": optax.chain(optax.scale_by_adam(), decay, heads),
    }[kind]


def gan_direction() -> optax.GradientTransformation:
    """Adam with beta1 = 0.5, as pix2pix trains translator and discriminator."""
    return optax.scale_by_adam(b1=0.5, b2=0.999)
