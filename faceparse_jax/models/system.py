"""The networks together: which there are, and how they pass over a batch.

`build` makes the networks that a config needs. `forward` runs them for training and says which
rows each pass sees and what counts in its batch statistics. `inference` runs them on inputs.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Shaped

from faceparse_jax.config import Config
from faceparse_jax.errors import InputError
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.layers import BatchNorm
from faceparse_jax.models.pix2pix import SMALLEST_JUDGED, PatchGAN, UNet, unet_levels
from faceparse_jax.models.routes import TRANSLATED

NETWORKS = ("rgb", "depth", "translator", "discriminator")

Heads = tuple[Float[Array, "b _ _ k"], ...]
"""Logits of a parser's main head and of its auxiliary heads, each at its own resolution."""


@dataclasses.dataclass(frozen=True)
class System:
    """The networks in use; None where no term needs one.

    Attributes:
        depth_channels: depth is repeated to this many equal channels for its parser.
        split_statistics: the depth parser keeps batch statistics of translated depth apart from
            those of real depth, under ``batch_stats['depth_translated']``.
        frozen_translator: the translator is used as it is and learns nothing.
    """

    rgb: nn.Module | None = None
    depth: nn.Module | None = None
    translator: nn.Module | None = None
    discriminator: nn.Module | None = None
    depth_channels: int = 3
    split_statistics: bool = False
    frozen_translator: bool = False

    def networks(self) -> tuple[str, ...]:
        """Names of the networks in use."""
        return tuple(name for name in NETWORKS if getattr(self, name) is not None)

    def init(self, key: PRNGKeyArray, size: int) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
        """Fresh parameters and batch statistics by network, for crops of `size` pixels."""
        image = jnp.zeros((1, size, size, 3))
        depth = jnp.zeros((1, size, size, 1))
        inputs = {
            "rgb": (image,),
            "depth": (self.depth_input(depth),),
            "translator": (image,),
            "discriminator": (image, depth),
        }
        params, stats = {}, {}
        for name in self.networks():
            # Keyed by name, so that a network starts the same whatever else is in use.
            own_key = jax.random.fold_in(key, NETWORKS.index(name))
            variables = getattr(self, name).init(own_key, *inputs[name])
            params[name], stats[name] = variables["params"], variables.get("batch_stats", {})
        if self.split_statistics:
            stats[TRANSLATED] = jax.tree.map(jnp.copy, stats["depth"])
        return params, stats

    def depth_input(self, depth: Float[Array, "b h w 1"]) -> Float[Array, "b h w c"]:
        """Depth as its parser takes it, in equal channels."""
        return jnp.repeat(depth, self.depth_channels, axis=-1)


def needed(terms: Collection[str]) -> tuple[str, ...]:
    """Names of the networks that these terms of the loss need."""
    users = {
        "rgb": {"rgb", "mutual"},
        "depth": {"depth", "e2e", "mutual"},
        "translator": {"e2e", "translation", "adversarial"},
        "discriminator": {"adversarial"},
    }
    return tuple(name for name in NETWORKS if not users[name].isdisjoint(terms))


def _sees_real(terms: Collection[str], paired: bool) -> bool:
    """Whether the depth parser learns from real depth."""
    return "depth" in terms or ("mutual" in terms and not paired)


def _sees_translated(terms: Collection[str]) -> bool:
    """Whether the depth parser learns from translated depth."""
    return "translator" in needed(terms) and not {"e2e", "mutual"}.isdisjoint(terms)


def translator_levels(crop: int, size: int) -> int:
    """The U-Net's levels: it must fit the crop that it trains on and the size it predicts at."""
    return min(unet_levels(crop), unet_levels(size))


def build(config: Config, num_classes: int) -> System:
    """The networks that the terms of a config need.

    Raises:
        InputError: sides that the translator cannot halve, or of which the discriminator sees
            no patch.
    """
    model, terms = config.model, config.loss.weights()
    names, dtype = needed(terms), jnp.dtype(config.model.dtype)

    def parser():
        return BiSeNet(num_classes, model.backbone, model.width, dtype=dtype)

    levels = translator_levels(config.augment.crop, config.data.size)
    if "translator" in names and levels < 2:
        raise InputError(
            "config.augment.crop and config.data.size",
            f"{config.augment.crop} and {config.data.size}",
            "sides that divide by 4 at least, by 32 or more for a deep translator",
            "set --config.data.size=512 --config.augment.crop=448",
        )
    if "discriminator" in names and config.augment.crop < SMALLEST_JUDGED:
        raise InputError(
            "config.augment.crop",
            f"{config.augment.crop}, of which the discriminator sees no patch",
            f"at least {SMALLEST_JUDGED}",
            f"set --config.augment.crop={SMALLEST_JUDGED} or more, or --config.loss.adversarial=0",
        )
    made = {
        "rgb": parser,
        "depth": parser,
        "translator": lambda: UNet(
            levels, model.translator_features, model.translator_dropout, dtype=dtype
        ),
        "discriminator": lambda: PatchGAN(model.discriminator_features, dtype=dtype),
    }
    # Statistics of a kind of depth that the parser never learns from would stay as they began.
    both = _sees_real(terms, bool(config.data.paired_rows)) and _sees_translated(terms)
    return System(
        **{name: made[name]() for name in names},
        depth_channels=model.depth_channels,
        split_statistics=both and model.depth_statistics == "split",
        frozen_translator=bool(config.train.translator_from),
    )


def beside(a: Shaped[Array, "m ..."], b: Shaped[Array, "n ..."]) -> Shaped[Array, "m+n ..."]:
    """The rows of two batches as one, in groups, so that no row leaves its device.

    Both batches are split over the devices by their rows. A concatenation would move half of
    the rows to another device; here each device holds its rows of `a`, then its rows of `b`.
    """
    groups = math.gcd(len(a), len(b))
    parts = (x.reshape(groups, len(x) // groups, *x.shape[1:]) for x in (a, b))
    joined = jnp.concatenate(list(parts), axis=1)
    return joined.reshape(len(a) + len(b), *a.shape[1:])


def apart(
    joined: Shaped[Array, "n ..."], first: int
) -> tuple[Shaped[Array, "a ..."], Shaped[Array, "b ..."]]:
    """The two batches that `beside` put together; `first` rows are those of the first."""
    second = len(joined) - first
    groups = math.gcd(first, second)
    parts = joined.reshape(groups, len(joined) // groups, *joined.shape[1:])
    a, b = parts[:, : first // groups], parts[:, first // groups :]
    return a.reshape(first, *joined.shape[1:]), b.reshape(second, *joined.shape[1:])


def where_rows(rows: Bool[Array, " b"], a: PyTree, b: PyTree) -> PyTree:
    """Rows [b h w c] of `a` where the flag holds, else of `b`."""
    return jax.tree.map(lambda x, y: jnp.where(rows[:, None, None, None], x, y), a, b)


class Outputs(NamedTuple):
    """What the networks say of a training batch; None where no term asks for it.

    Attributes:
        rgb: the RGB parser on the images.
        real: the depth parser on the real depth of the paired rows, or of the batch without them.
        fake: the depth parser on the translated depth of the images.
        peer: logits of the depth parser's main head for the rows of `rgb`: on real depth where a
            row has it, else on translated depth.
        peer_mask: the pixels for which `peer` has an answer.
        translated: depth of every image in [-1, 1], rows as in `all_rows`.
    """

    rgb: Heads | None = None
    real: Heads | None = None
    fake: Heads | None = None
    peer: Float[Array, "b _ _ k"] | None = None
    peer_mask: Bool[Array, "b h w"] | None = None
    translated: Float[Array, "n h w 1"] | None = None


def all_rows(batch: Mapping[str, Array]) -> dict[str, Array]:
    """The rows of a batch and of its paired batch as one."""
    rows = {key: value for key, value in batch.items() if key != "paired"}
    paired = batch.get("paired")
    return rows if paired is None else {k: beside(v, paired[k]) for k, v in rows.items()}


def with_depth(rows: Mapping[str, Array]) -> Bool[Array, "b h w"]:
    """Pixels inside the frame of rows that have depth."""
    return rows["frame"] & rows["has_depth"][:, None, None]


def _pass(system: System, name: str, params, stats, *inputs, counts=None, kept="", **rngs):
    """A network in training: its answer, and the statistics with those under `kept` renewed.

    Args:
        counts: how much each row counts in the batch statistics; all alike where None.
        kept: where the statistics lie; the network's name where empty.
    """
    kept = kept or name

    def counted(call, args, kwargs, context):
        if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
            kwargs = kwargs | {"counts": counts}
        return call(*args, **kwargs)

    variables = {"params": params[name], "batch_stats": stats[kept]}
    with nn.intercept_methods(counted):
        out, new = getattr(system, name).apply(
            variables,
            *inputs,
            train=True,
            mutable=["batch_stats"],
            rngs=rngs,
            method="heads" if name in ("rgb", "depth") else None,
        )
    return out, stats | {kept: new.get("batch_stats", {})}


def forward(
    system: System,
    params: Mapping[str, PyTree],
    stats: Mapping[str, PyTree],
    batch: Mapping[str, Array],
    key: PRNGKeyArray,
    terms: Collection[str],
) -> tuple[Outputs, dict[str, PyTree]]:
    """The passes that the terms need, in training.

    A row without depth has no part in the statistics of real depth. Where a pass sees real and
    translated depth, each kind counts in its statistics by its rows in the batch, however many of
    them lack depth.

    Args:
        batch: as `data.augment.augment_batch` gives it: image [b h w 3], depth [b h w 1], frame
            and label [b h w], has_depth [b]; the same under ``paired`` where there is a second
            batch, whose rows the RGB parser and mutual learning do not see.
        key: of the translator's dropout.
        terms: of the loss.

    Returns:
        What the networks say, and the batch statistics, those of the passes renewed.
    """
    stats, found = dict(stats), {}
    image, has_depth = batch["image"], batch["has_depth"]
    paired = batch.get("paired")
    drawn = batch if paired is None else paired

    if not {"rgb", "mutual"}.isdisjoint(terms):
        found["rgb"], stats = _pass(system, "rgb", params, stats, image)
    translated = None
    if system.translator is not None:
        images = all_rows(batch)["image"]
        if system.frozen_translator:
            fixed = {"params": params["translator"], "batch_stats": stats["translator"]}
            translated = jax.lax.stop_gradient(system.translator.apply(fixed, images, train=False))
        else:
            translated, stats = _pass(system, "translator", params, stats, images, dropout=key)
        found["translated"] = translated

    see_real, see_translated = _sees_real(terms, paired is not None), _sees_translated(terms)
    if see_real:
        real, there = system.depth_input(drawn["depth"]), drawn["has_depth"].astype(jnp.float32)
    if see_translated:
        own = translated if paired is None else apart(translated, len(image))[0]
        fake = system.depth_input(own)
    if see_real and see_translated and not system.split_statistics:
        counts = beside(
            there * (len(there) / jnp.maximum(jnp.sum(there), 1.0)), jnp.ones(len(fake))
        )
        heads, stats = _pass(system, "depth", params, stats, beside(real, fake), counts=counts)
        found["real"], found["fake"] = zip(*(apart(head, len(real)) for head in heads), strict=True)
    else:
        if see_real:
            found["real"], stats = _pass(system, "depth", params, stats, real, counts=there)
        if see_translated:
            kept = TRANSLATED if system.split_statistics else "depth"
            found["fake"], stats = _pass(system, "depth", params, stats, fake, kept=kept)

    if "mutual" in terms:
        found["peer_mask"] = batch["frame"]
        if not see_translated:
            found["peer"], found["peer_mask"] = found["real"][0], with_depth(batch)
        elif paired is not None:
            found["peer"] = found["fake"][0]
        else:
            found["peer"] = where_rows(has_depth, found["real"][0], found["fake"][0])
    return Outputs(**found), stats


def judge(
    system: System,
    params: Mapping[str, PyTree],
    stats: Mapping[str, PyTree],
    image: Float[Array, "b h w 3"],
    depth: Float[Array, "b h w 1"],
    counts: Float[Array, " b"] | None = None,
) -> tuple[Float[Array, "b hp wp 1"], dict[str, PyTree]]:
    """The discriminator's logits on patches of (image, depth) pairs, and the new statistics."""
    return _pass(system, "discriminator", params, stats, image, depth, counts=counts)
