"""JSON files that one command leaves for another, read with the doubt that files deserve."""

import json
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import ml_collections

from configs import base
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import provenance


def read(
    path: pathlib.Path, expected: str, next_step: str, **kinds: type | tuple[type, ...]
) -> dict[str, Any]:
    """The JSON object of a file.

    Args:
        expected: what errors say the file should be.
        next_step: what mends it.
        kinds: keys that the object must have, and the type of each value.

    Raises:
        InputError: no such file, no JSON, no object, or a key that is missing or of another type.
    """
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        for key, kind in kinds.items():
            if key not in value:
                raise ValueError(f"no {key} in it")
            if not isinstance(value[key], kind) or isinstance(value[key], bool):
                raise ValueError(f"{key} = {str(value[key])[:40]!r}")
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(str(path), reason, expected, next_step) from error
    return value


_UNTIL_THEN = {"loss.mutual_mean": "pixels"}
"""What runs did before there was a key, where its default is something else."""


def completed(values: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config, flat, with what keys that are younger than the run would have said."""
    default = json.loads(json.dumps(base.get_config().to_dict()))
    return provenance.flat(default) | _UNTIL_THEN | provenance.flat(values)


def differing(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """What a stored config and another one differ in, as ``key=old (now new)``.

    Args:
        before, now: nested, as `ConfigDict.to_dict` gives them; of an older run, see `completed`.
        free: keys that may differ, and sections, with a dot at the end.
    """
    old, new = completed(before), provenance.flat(json.loads(json.dumps(now)))
    may = tuple(entry for entry in free if entry.endswith("."))
    return [
        f"{key}={old.get(key)!r} (now {new.get(key)!r})"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and key not in free and not key.startswith(may)
    ]


def stored_config(
    values: Mapping[str, Any], where: str, next_step: str
) -> ml_collections.ConfigDict:
    """The config that a run was begun with.

    Keys that are younger than the run have the value that changes nothing, see `completed`.

    Args:
        values: nested, as `ConfigDict.to_dict` gives them.
        where: what errors call it.

    Raises:
        InputError: keys or types that `configs.base` does not have.
    """
    config = base.get_config()
    unknown = provenance.flat(values).keys() - provenance.flat(config.to_dict()).keys()
    if unknown:
        raise InputError(
            where,
            f"a config with {', '.join(sorted(unknown))}",
            "keys of configs/base.py",
            next_step,
        )
    try:
        config.update_from_flattened_dict(_UNTIL_THEN)
        config.update(values)
    except (TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(where, reason, "values as in configs/base.py", next_step) from error
    return config
