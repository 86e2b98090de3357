"""The networks in use, the weights of the loss terms, and the state of a run: plain data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from faceparse_jax.training.optim import Optimizer

Variables = Mapping[str, Mapping[str, PyTree]]
"""Network name -> {'params', 'batch_stats'}."""


@dataclasses.dataclass(frozen=True)
class Nets:
    """The networks in use; None where no term needs one.

    Attributes:
        depth_channels: depth is repeated to this many equal channels for its parser.
        split_statistics: the depth parser keeps batch statistics of translated depth
            apart from those of real depth, under ``batch_stats['depth_translated']``; only
            where it learns from both.
    """

    rgb: nn.Module | None = None
    depth: nn.Module | None = None
    translator: nn.Module | None = None
    discriminator: nn.Module | None = None
    depth_channels: int = 3
    split_statistics: bool = False

    def items(self) -> list[tuple[str, nn.Module]]:
        named = ((name, getattr(self, name)) for name in NETWORKS)
        return [(name, net) for name, net in named if net is not None]


NETWORKS = ("rgb", "depth", "translator", "discriminator")


@dataclasses.dataclass(frozen=True)
class Weights:
    """Weight of each term, and the constants inside the terms.

    Attributes:
        rgb, depth: segmentation by the RGB and the depth parser on their own input.
        e2e: segmentation by the depth parser on translated depth.
        mutual: the parsers' mutual learning, of `mutual_kind` (see `losses.mutual`).
        translation: L1 of translated depth.
        adversarial: the translator's GAN term; it also trains the discriminator.
        mutual_trust: weight of a teacher's pixels (see `losses.mutual`).
        mutual_where: ``frame``, all pixels of the picture, or ``support``, those where depth,
            real or translated, shows something: the depth parser cannot see the others.
        e2e_to_translator: factor on the gradient of `e2e` and `mutual` where it reaches the
            translator; 0 leaves that to the translation terms.
        mutual_students: ``both`` parsers learn from each other, or ``rgb`` or ``depth`` alone
            from the other.
        mutual_mean: over ``pixels`` or over ``classes`` (see `losses.mutual`).
        mutual_start_step: the term is 0 before this step.
        mutual_ramp_steps, e2e_ramp_steps: the term grows linearly over its first so many steps.
        e2e_fade_steps: the term falls linearly to 0 by this step and stays there; 0 for never.
        drawn_rows: the terms that see rows drawn for their depth: ``all``, or those of ``depth``
            alone, which are then the `depth_rows`.
        depth_rows: rows of a global batch that teach from depth alone: only the terms `depth`,
            `translation` and `adversarial` see them, and `depth` sees no other row. Empty: every
            row is in every term.
        freeze_translator: it translates, and no term moves it.
        segmentation_mean: of the terms that learn from labels, over hard ``pixels`` or over their
            ``classes`` (see `losses.ohem_cross_entropy`).
        auxiliary: of the two auxiliary heads against the main one.
        ohem_threshold, ohem_min_fraction: see `losses.ohem_cross_entropy`.
    """

    rgb: float = 0.0
    depth: float = 0.0
    e2e: float = 0.0
    mutual: float = 0.0
    translation: float = 0.0
    adversarial: float = 0.0
    mutual_kind: str = "kl"
    temperature: float = 1.0
    stop_gradient: bool = True
    mutual_trust: str = "always"
    mutual_where: str = "frame"
    e2e_to_translator: float = 1.0
    mutual_students: str = "both"
    mutual_mean: str = "pixels"
    mutual_start_step: int = 0
    mutual_ramp_steps: int = 0
    e2e_ramp_steps: int = 0
    e2e_fade_steps: int = 0
    drawn_rows: str = "all"
    depth_rows: tuple[int, ...] = ()
    freeze_translator: bool = False
    segmentation_mean: str = "pixels"
    auxiliary: float = 1.0
    ohem_threshold: float = 0.7
    ohem_min_fraction: float = 1 / 16

    def networks(self) -> tuple[str, ...]:
        """Names of the networks that the terms need."""
        needed = {
            "rgb": self.rgb or self.mutual,
            "depth": self.depth or self.e2e or self.mutual,
            "translator": self.e2e or self.translation or self.adversarial,
            "discriminator": self.adversarial,
        }
        return tuple(name for name in NETWORKS if needed[name])

    def real_depth(self) -> bool:
        """Whether the depth parser learns from real depth."""
        return bool(self.depth or (self.mutual and not self.depth_rows))

    def translated_depth(self) -> bool:
        """Whether the depth parser learns from translated depth."""
        return "translator" in self.networks() and bool(self.e2e or self.mutual)


@flax.struct.dataclass
class TrainState:
    """Everything that a run carries from step to step; dicts are keyed by network.

    `ema` is empty when off, else ``{'params', 'batch_stats'}`` of the running average.
    """

    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any

    def variables(self) -> Variables:
        """What inference uses: the running average where there is one."""
        if self.ema:
            return inference_variables(self.ema["params"], self.ema["batch_stats"])
        return inference_variables(self.params, self.batch_stats)


def inference_variables(params: Mapping, batch_stats: Mapping) -> Variables:
    """Parameters and statistics by network.

    ``depth_translated`` stands for the depth parser with its second set of statistics,
    where there is one.
    """
    return {
        name: {
            "params": params["depth" if name == "depth_translated" else name],
            "batch_stats": stats,
        }
        for name, stats in batch_stats.items()
    }


def init_state(
    key: PRNGKeyArray, *, nets: Nets, txs: Mapping[str, Optimizer], size: int, ema: bool
) -> TrainState:
    """A fresh state; `size` is the side of the training crop in pixels."""
    image = jnp.zeros((1, size, size, 3))
    depth = jnp.zeros((1, size, size, 1))
    inputs = {
        "rgb": (image,),
        "depth": (jnp.repeat(depth, nets.depth_channels, -1),),
        "translator": (image,),
        "discriminator": (image, depth),
    }
    params, batch_stats = {}, {}
    for name, net in nets.items():
        # Keyed by name, so that a network starts the same whatever else is in use.
        net_key = jax.random.fold_in(key, NETWORKS.index(name))
        variables = net.init(net_key, *inputs[name])
        params[name] = variables["params"]
        batch_stats[name] = variables.get("batch_stats", {})
    if nets.split_statistics and nets.depth and nets.translator:
        batch_stats["depth_translated"] = jax.tree.map(jnp.copy, batch_stats["depth"])
    opt_state = {name: txs[name].direction.init(params[name]) for name in params}
    average = {"params": params, "batch_stats": batch_stats} if ema else {}
    average = jax.tree.map(jnp.copy, average)  # donated state must not alias itself
    return TrainState(jnp.int32(0), params, batch_stats, opt_state, average)
