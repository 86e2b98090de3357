"""Ranges of the config's numbers: what lies outside is refused before anything is written."""

import math

import ml_collections

from configs import base
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import provenance

# Intervals as in mathematics: "[0, 1)" has 0 and not 1; inf is never a value. Steps are counted
# in 32 bits on the device.
_RATE, _WEIGHT, _SHARE = "[0, inf)", "[0, inf)", "[0, 1]"
_COUNT, _STEPS = "[1, 2147483647]", "[0, 2147483647]"
RANGES = {
    "seed": "[0, 2147483647]",
    "devices": "[0, inf)",
    "data.size": "[16, 8192]",
    "data.shuffle_buffer": _COUNT,
    "data.depth_fraction": _SHARE,
    "data.label_fraction": _SHARE,
    "data.fraction_seed": "[0, 2147483647]",
    "data.depth_share": _SHARE,
    "data.label_share": _SHARE,
    "augment.crop": "[16, 8192]",
    "augment.flip": _SHARE,
    "augment.rotate": "[0, 180]",
    "augment.jitter": "[0, 1)",
    "model.width": "(0, inf)",
    "model.translator_features": _COUNT,
    "model.translator_dropout": "[0, 1)",
    "model.discriminator_features": _COUNT,
    "loss.rgb": _WEIGHT,
    "loss.depth": _WEIGHT,
    "loss.e2e": _WEIGHT,
    "loss.mutual": _WEIGHT,
    "loss.translation": _WEIGHT,
    "loss.adversarial": _WEIGHT,
    "loss.temperature": "(0, inf)",
    "loss.e2e_to_translator": _WEIGHT,
    "loss.mutual_start_step": _STEPS,
    "loss.mutual_ramp_steps": _STEPS,
    "loss.e2e_ramp_steps": _STEPS,
    "loss.e2e_fade_steps": _STEPS,
    "loss.auxiliary": _WEIGHT,
    "loss.ohem_threshold": "(0, 1]",
    "loss.ohem_min_fraction": _SHARE,
    "optim.rate": _RATE,
    "optim.momentum": "[0, 1)",
    "optim.weight_decay": "[0, inf)",
    "optim.head_factor": "[0, inf)",
    "optim.power": "[0, inf)",
    "optim.warmup_steps": _STEPS,
    "optim.warmup_rate": "(0, inf)",  # it grows by a factor
    "optim.translator_rate": _RATE,
    "optim.discriminator_rate": _RATE,
    "train.steps": _COUNT,
    "train.batch": _COUNT,
    "train.ema": "[0, 1)",
    "eval.every": _COUNT,
    "eval.batch": _COUNT,
    "eval.label_size": "[-1, 8192]",
    "eval.boundary_tolerance": "[-1, inf)",
    "eval.pictures": _COUNT,
    "log.every": _COUNT,
    "log.pictures_every": _COUNT,
    "checkpoint.every": _COUNT,
    "checkpoint.keep": _COUNT,
}


def inside(value: int | float, interval: str) -> bool:
    """Whether a number lies in an interval such as ``[0, 1)``; NaN lies in none."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below


def check(config: ml_collections.ConfigDict | ml_collections.FrozenConfigDict) -> None:
    """Refuses a config without keys of `configs.base`, or with numbers out of `RANGES`.

    Raises:
        InputError: all of them at once.
    """
    missing = provenance.flat(base.get_config().to_dict()).keys() - provenance.flat(
        config.to_dict()
    )
    if missing:
        raise InputError(
            "--config",
            f"a config without {', '.join(sorted(missing)[:5])}"
            + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""),
            "every key of configs/base.py",
            "start the file with config = base.get_config(), as those of configs/ do",
        )
    values = {}
    for key in RANGES:
        section, _, name = key.rpartition(".")
        values[key] = (config[section] if section else config)[name]
    wrong = [
        key
        for key, value in values.items()
        # None passes for a value of any type.
        if not isinstance(value, int | float) or not inside(value, RANGES[key])
    ]
    scales = config.augment.scales
    numbers = scales and all(isinstance(scale, int | float) for scale in scales)
    if not numbers or not all(0 < scale < math.inf for scale in scales):
        values["augment.scales"], wrong = scales, [*wrong, "augment.scales"]
    if wrong:
        ranges = RANGES | {"augment.scales": "at least one number above 0"}
        raise InputError(
            ", ".join(f"config.{key}" for key in wrong),
            ", ".join(f"{values[key]}" for key in wrong),
            ", ".join(ranges[key] for key in wrong),
            "mend the config, or set --config." + " --config.".join(f"{key}=..." for key in wrong),
        )
