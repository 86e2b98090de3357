"""The ways from inputs to a label map. This module needs no JAX."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping

TRANSLATED = "depth_translated"
"""The route by translated depth, and the name of its batch statistics where they are split."""


@dataclasses.dataclass(frozen=True)
class Route:
    """A way to a label map.

    Attributes:
        title: what tables say.
        column: what stands over a picture.
        networks: what it needs of the networks.
        inputs: what it needs besides, any one of these sets.
        preference: the first of the routes that are there is the answer, and the one whose score
            chooses the best checkpoint; 0 comes first.
    """

    title: str
    column: str
    networks: frozenset[str]
    inputs: tuple[set[str], ...]
    preference: int


ROUTES: Mapping[str, Route] = {
    "rgb": Route(
        "RGB parser on images", "RGB parser", frozenset({"rgb"}), ({"image"},), preference=1
    ),
    "depth": Route(
        "depth parser on real depth", "depth parser", frozenset({"depth"}), ({"depth map"},),
        preference=2,
    ),
    TRANSLATED: Route(
        "depth parser on translated depth", "depth parser on translated",
        frozenset({"depth", "translator"}), ({"image"},), preference=3,
    ),
    "fusion": Route(
        "mean of both parsers", "both parsers", frozenset({"rgb", "depth"}),
        ({"image", "depth map"}, {"image", "translator"}), preference=0,
    ),
}  # fmt: skip
"""The ways to a label map, in the order of the tables."""


def routes(
    networks: Collection[str], inputs: Collection[str] = ("image", "depth map")
) -> list[str]:
    """The routes that these networks have for these inputs, in the order of `ROUTES`."""
    there = {*networks, *inputs}
    return [
        name
        for name, route in ROUTES.items()
        if route.networks <= there and any(needed <= there for needed in route.inputs)
    ]


def preferred(names: Iterable[str]) -> list[str]:
    """Routes, the preferred one first."""
    return sorted(names, key=lambda name: ROUTES[name].preference)
