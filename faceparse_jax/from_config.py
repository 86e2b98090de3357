"""From the config to the frozen values that the steps take. Nothing below reads a config."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import ml_collections

from faceparse_jax.checkpoints.state import Nets, Weights
from faceparse_jax.config import check
from faceparse_jax.data.augment import Augment
from faceparse_jax.data.scarcity import rows_drawn
from faceparse_jax.errors import InputError
from faceparse_jax.labels import Scheme
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.pix2pix import PatchGAN, UNet, unet_levels
from faceparse_jax.training.optim import Optimizer, gan_direction, parser_direction, schedule

Config = ml_collections.ConfigDict | ml_collections.FrozenConfigDict


def _choice(config: Config, key: str, allowed: tuple):
    section, name = key.split(".")
    value = config[section][name]
    if value not in allowed:
        raise InputError(
            f"config.{key}",
            repr(value),
            " or ".join(map(repr, allowed)),
            f"set --config.{key}={allowed[0]}",
        )
    return value


def _depth_rows(config: Config, weights: Weights) -> tuple[int, ...]:
    """The rows that teach from depth alone."""
    if weights.drawn_rows == "all":
        return ()
    data, batch = config.data, config.train.batch
    drawn = rows_drawn(data.depth_share, data.label_share, batch)["depth"].tolist()
    if not drawn:
        raise InputError(
            "config.loss.drawn_rows",
            "'depth', with data.depth_share=0, by which no row is drawn for its depth",
            "rows that are",
            "set --config.data.depth_share=0.5 or --config.loss.drawn_rows=all",
        )
    if len(drawn) == batch and (weights.rgb or weights.e2e or weights.mutual):
        raise InputError(
            "config.loss.drawn_rows",
            f"'depth', with every row of the batch drawn for its depth "
            f"(data.depth_share={data.depth_share:g})",
            "rows that are left for the terms rgb, e2e and mutual",
            "set --config.data.depth_share=0.5 or --config.loss.drawn_rows=all",
        )
    if drawn and weights.mutual and "translator" not in weights.networks():
        raise InputError(
            "config.loss.drawn_rows",
            "'depth', with mutual learning and no translator",
            "translated depth for the rows that are not drawn for theirs",
            "set --config.loss.e2e=1 or --config.loss.drawn_rows=all",
        )
    return tuple(drawn)


def weights(config: Config) -> Weights:
    """The terms' weights.

    Raises:
        InputError: what `config.check` refuses, no term at all, or an unknown kind.
    """
    check(config)
    loss = config.loss
    _choice(config, "loss.mutual_kind", ("kl", "l2", "pseudo"))
    _choice(config, "loss.mutual_students", ("both", "rgb", "depth"))
    _choice(config, "loss.segmentation_mean", ("pixels", "classes"))
    _choice(config, "loss.mutual_mean", ("pixels", "classes"))
    _choice(config, "loss.mutual_trust", ("always", "confidence", "correct"))
    _choice(config, "loss.mutual_where", ("frame", "support"))
    _choice(config, "loss.drawn_rows", ("all", "depth"))
    frozen = bool(config.train.translator_from)
    value = Weights(**loss, freeze_translator=frozen)
    value = dataclasses.replace(value, depth_rows=_depth_rows(config, value))
    if frozen and (value.translation or value.adversarial or not value.e2e):
        raise InputError(
            "config.train.translator_from",
            f"loss.translation={value.translation:g}, loss.adversarial={value.adversarial:g}, "
            f"loss.e2e={value.e2e:g}",
            "a frozen translator that is used and has no loss of its own",
            "set --config.loss.translation=0 --config.loss.adversarial=0 --config.loss.e2e=1",
        )
    if not value.networks():
        raise InputError(
            "config.loss", "every weight at 0", "at least one term", "set --config.loss.rgb=1"
        )
    return value


def nets(config: Config, num_classes: int) -> Nets:
    """The networks that the terms of `config` need."""
    model = config.model
    dtype = jnp.dtype(_choice(config, "model.dtype", ("float32", "bfloat16")))
    _choice(config, "model.backbone", (18, 34, 50))
    _choice(config, "model.depth_channels", (3, 1))
    _choice(config, "model.depth_statistics", ("shared", "split"))
    terms = weights(config)
    needed = terms.networks()
    # Statistics of a kind of depth that the parser never learns from would stay as they began.
    both = terms.real_depth() and terms.translated_depth()

    def parser():
        return BiSeNet(num_classes, model.backbone, model.width, dtype=dtype)

    # The U-Net must fit the crop that it trains on and the size that it predicts at.
    levels = min(unet_levels(config.augment.crop), unet_levels(config.data.size))
    if "translator" in needed and levels < 2:
        raise InputError(
            "config.augment.crop and config.data.size",
            f"{config.augment.crop} and {config.data.size}",
            "sides that divide by 4 at least, by 32 or more for a deep translator",
            "set --config.data.size=512 --config.augment.crop=448",
        )
    made = {
        "rgb": parser,
        "depth": parser,
        "translator": lambda: UNet(
            levels, model.translator_features, model.translator_dropout, dtype=dtype
        ),
        "discriminator": lambda: PatchGAN(model.discriminator_features, dtype=dtype),
    }
    return Nets(
        **{name: made[name]() for name in needed},
        depth_channels=model.depth_channels,
        split_statistics=both and model.depth_statistics == "split",
    )


def optimizers(config: Config) -> Mapping[str, Optimizer]:
    """An optimiser for every network name."""
    optim = config.optim
    _choice(config, "optim.kind", ("sgd", "adamw"))
    _choice(config, "optim.schedule", ("poly", "cosine", "constant"))
    parser = parser_direction(
        optim.kind,
        momentum=optim.momentum,
        weight_decay=optim.weight_decay,
        head_factor=optim.head_factor,
    )

    def rate(peak):
        return schedule(
            optim.schedule,
            peak,
            config.train.steps,
            optim.warmup_steps,
            optim.warmup_rate,
            optim.power,
        )

    return {
        "rgb": Optimizer(parser, rate(optim.rate)),
        "depth": Optimizer(parser, rate(optim.rate)),
        "translator": Optimizer(gan_direction(), rate(optim.translator_rate)),
        "discriminator": Optimizer(gan_direction(), rate(optim.discriminator_rate)),
    }


def augment(config: Config, scheme: Scheme) -> Augment:
    """The random changes to training examples."""
    return Augment(mirror=scheme.mirror, **config.augment)
