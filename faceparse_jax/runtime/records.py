"""JSON files that one command leaves for another, read with the doubt that files deserve."""

import json
from collections.abc import Mapping
from typing import Any

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import interrupts, places
from faceparse_jax.runtime.places import Place


def read(
    path: Place, expected: str, next_step: str, **kinds: type | tuple[type, ...]
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


def write(path: Place, value: Any) -> None:
    """Writes JSON so that a reader never sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with interrupts.held():
        places.write(path, (json.dumps(value, indent=1) + "\n").encode())


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with keys joined by dots."""
    found = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found
