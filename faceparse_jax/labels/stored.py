"""Schemes as data, which prepared datasets, runs and packed files carry with them.

A scheme of this package is stored by its name. One of a user's own dataset, which no code knows,
is stored as a whole beside its name.
"""

from collections.abc import Mapping
from typing import Any

import pydantic

from faceparse_jax.labels.schemes import SCHEMES, Scheme

KEY = "scheme_data"
"""Where the whole of an own scheme is stored; ``scheme`` has the name of every scheme."""


def is_own(scheme: Scheme) -> bool:
    """Whether a scheme is a user's own, and not one of `SCHEMES`."""
    return scheme.name not in SCHEMES


def as_data(scheme: Scheme) -> dict[str, Any]:
    """The entries, of the types of JSON, from which `from_data` makes the scheme again."""
    whole = pydantic.TypeAdapter(Scheme).dump_python(scheme, mode="json")
    name = whole.pop("name")
    return {"scheme": name} | ({KEY: whole} if is_own(scheme) else {})


def from_data(stored: Mapping[str, Any]) -> Scheme:
    """The scheme of entries that `as_data` gave; other entries may lie beside them.

    Raises:
        ValueError: a name that is not known and has no scheme beside it, or a scheme that
            contradicts itself, in words that say what was found.
    """
    name, whole = stored.get("scheme"), stored.get(KEY)
    if isinstance(name, str) and name in SCHEMES and whole is None:
        return SCHEMES[name]
    if whole is None or name in SCHEMES or not isinstance(whole, dict):
        raise ValueError(f"the label scheme {name!r}")
    try:
        return pydantic.TypeAdapter(Scheme).validate_python({**whole, "name": name})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"{part}: " for part in first["loc"][:1])
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"the label scheme {name!r} with {place}{reason}") from error
