"""The config that a run was begun with, as its files hold it, beside the config of today."""

import copy
import json
from collections.abc import Collection, Mapping
from typing import Any

from faceparse_jax.config import FIELDS, Config, Configs, parse, validated
from faceparse_jax.errors import InputError
from faceparse_jax.runtime.records import flat

_UNTIL_THEN = {"loss.mutual_mean": "pixels"}
"""What runs did before there was a key, where its default is something else."""

_READING = ("data.source", "data.cache", "data.shuffle_buffer")
"""Where a split lies in memory or is decoded: without a change of its batches, see `differing`."""

_GONE = frozenset(
    f"loss.{key}"
    for key in (
        "mutual_kind", "temperature", "stop_gradient", "mutual_trust", "mutual_where",
        "e2e_to_translator", "mutual_start_step", "mutual_ramp_steps", "e2e_ramp_steps",
        "e2e_fade_steps", "drawn_rows",
    )
)  # fmt: skip
"""Keys of earlier versions that training alone read: what is trained needs none of them."""


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, flat, with what keys that are younger than the run would have said."""
    return flat(Config().to_dict()) | _UNTIL_THEN | flat(values)


def differing(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """What a stored config and another one differ in, as ``key=old (now new)``.

    Decoded arrays give the batches of a split that is cached, so that a change from one to the
    other is none.

    Args:
        before, now: nested, as `Config.to_dict` gives them; of an older run, see `completed`.
        free: keys that may differ, and sections, with a dot at the end.
    """
    old, new = completed(before), flat(json.loads(json.dumps(now)))
    if all(of.get("data.cache") or of.get("data.source") == "arrays" for of in (old, new)):
        free = (*free, *_READING)
    may = tuple(entry for entry in free if entry.endswith("."))
    return [
        f"{key}={old.get(key)!r} (now {new.get(key)!r})"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and key not in free and not key.startswith(may)
    ]


def stored(values: Mapping[str, Any], where: str, next_step: str, trains: bool = False) -> Config:
    """The config that a run was begun with.

    Keys that are younger than the run have the value that changes nothing, see `completed`.

    Args:
        values: nested, as `Config.to_dict` gives them.
        where: what errors call it.
        trains: whether its training is to be repeated. Else the keys that only training read,
            and that are gone since, are left out.

    Raises:
        InputError: keys or values that a config does not take.
    """
    left_out = frozenset() if trains else _GONE
    found = {key: value for key, value in completed(values).items() if key not in left_out}
    if unknown := sorted(found.keys() - FIELDS.keys()):
        raise InputError(
            where,
            f"a config with {', '.join(unknown)}",
            "keys of docs/configuration.md",
            next_step,
        )
    nested: dict[str, Any] = {}
    for key, value in found.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = copy.deepcopy(value)
    try:
        return validated(nested)
    except InputError as error:
        raise InputError(
            f"{where}, {error.what}", error.found, error.expected, next_step
        ) from error


def with_overrides(config: Config, overrides: Configs | None) -> Config:
    """A run's config with the `eval`, `devices`, data folder and source of another one.

    Rendered heads have no other source, and are no source of other data.

    Raises:
        InputError: what `parse` refuses of the other one.
    """
    if overrides is None:
        return config
    other = parse(overrides)
    data = {"data_dir": other.data.data_dir}
    if "rendered" not in (config.data.source, other.data.source):
        data["source"] = other.data.source
    return config.replaced(eval=dict(other.eval), devices=other.devices, data=data)
