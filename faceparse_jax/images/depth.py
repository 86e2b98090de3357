"""Depth of several kinds, brought to the form of the benchmarks, and what is wrong with a map.

The benchmarks' form: 8 or 16 bits, 0 = none, larger = farther, relative to the range of its type,
and nothing but the head has depth. NumPy only.
"""

import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8, UInt16

from faceparse_jax.errors import InputError

NEAR, FAR = 80, 240
"""Grey values of a head's nearest and farthest pixel in 8-bit maps that are made here.

Our choice: the benchmarks' maps look so, with nose darkest and hair brightest.
"""

Levels = tuple[float, float]
"""Values of a head's nearest and farthest part, as shares of the range of the type."""

LEVELS: Levels = (NEAR / 255, FAR / 255)

DepthMap = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

_FULL = 0.999  # more of a frame has no map whose background was removed
_HEAD = 0.3  # metres from the nose's tip to the last of the head that a camera sees
# Nearest distance and units to a metre; beyond the last one any unit may be meant.
_UNITS = ((0.1, 1.0), (10, 100.0), (100, 1e3), (3000, 1e4), (1e5, np.inf))


def to_benchmark(
    values: Shaped[np.ndarray, "h w"],
    kind: str = "benchmark",
    missing: int | float | None = None,
    levels: Levels = LEVELS,
    name: str = "depth",
) -> tuple[DepthMap, str]:
    """A map in the benchmarks' form, and the kind that it was taken for.

    A map of the kind ``benchmark`` keeps its values. Of the other kinds the nearest surface is
    taken for the head. Stray pixels are no surface: of their eight neighbours fewer than three lie
    within a tenth of their value or a twentieth of the median. What lies nearer than the head is
    removed, and what lies behind it: all beyond the first gap in the values, metric depth beyond
    0.3 m (by the unit that the nearest distance suggests) or beyond twice the nearest distance,
    and inverse depth below half of the largest value where the whole frame has depth. The head's
    nearest hundredth then gets the first of the `levels`, its farthest gets the second, and what
    lies between gets its share.

    Args:
        values: integers or floats; 0, negative and non-finite values are no depth.
        kind: one of `prediction.kinds.KINDS`.
        missing: another value that stands for no depth.
        levels: of the depth that the networks were trained on.
        name: what errors call the map.

    Raises:
        InputError: floats or more than 16 bits where the kind is ``benchmark``, or values among
            which there is no head.
    """
    there = valid(values, missing)
    if kind == "auto":
        kind = _guess(values, there)
    if kind == "benchmark":
        if values.dtype not in (np.uint8, np.uint16):
            raise InputError(
                name,
                f"numbers of type {values.dtype}",
                "depth of 8 or 16 bits, 0 = none, larger = farther",
                "add --depth_kind=metric for distances, or --depth_kind=inverse for disparities",
            )
        return np.where(there, values, 0).astype(values.dtype), kind
    distance = np.where(there, values, 0).astype(np.float64)
    surface = _together(distance, there)
    if kind == "inverse":
        distance = -distance
    seen = distance[surface]
    ends = _head_ends(seen, kind, bool(there.mean() > _FULL))
    nearest = np.quantile(seen, 0.001) if seen.size else 0.0
    begins = nearest - 0.02 * abs(nearest)  # nearer than that are stray pixels alone
    head = there & (begins <= distance) & (distance <= ends)
    if not head.any():
        return np.zeros(values.shape, np.uint16), kind
    # The rim of a head may be too steep for a surface.
    near, far = np.quantile(distance[head & surface], 0.01), np.quantile(distance[head], 0.99)
    if near == far:
        raise InputError(
            name,
            f"the value {values[head][0]} wherever the head may be",
            f"depth of the kind {kind} with some relief",
            "give another map, or the photograph alone",
        )
    share = np.clip((distance - near) / (far - near), 0, 1)
    scaled = np.round(65535 * (levels[0] + share * (levels[1] - levels[0])))
    return np.where(head, np.maximum(scaled, 1), 0).astype(np.uint16), kind


def levels_of(maps: Iterable[DepthMap]) -> Levels | None:
    """The levels that these maps have on average; None where there is no depth.

    They are the medians over the maps of the first and of the last hundredth.
    """
    ends = [
        np.quantile(depth[depth > 0], (0.01, 0.99)) / np.iinfo(depth.dtype).max
        for depth in maps
        if depth.any()
    ]
    if not ends:
        return None
    near, far = np.median(ends, axis=0)
    return float(near), float(far)


def valid(
    values: Shaped[np.ndarray, "h w"], missing: int | float | None
) -> Bool[np.ndarray, "h w"]:
    """Where there is depth: finite, above 0 and not `missing`."""
    there = np.isfinite(values) & (values > 0)
    return there if missing is None else there & (values != missing)


def _together(
    distance: Float[np.ndarray, "h w"], there: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """The pixels that belong to a surface; all where most of them would be stray."""
    if not there.any():
        return there
    height, width = distance.shape
    near = np.maximum(0.1 * distance, 0.05 * np.median(distance[there]))
    around = np.pad(np.where(there, distance, np.inf), 1, constant_values=np.inf)
    alike = np.zeros(distance.shape, np.uint8)
    for down, right in itertools.product(range(3), range(3)):
        if (down, right) != (1, 1):
            other = around[down : down + height, right : right + width]
            alike += np.abs(other - distance) <= near
    found = there & (alike >= 3)
    return found if found.sum() > 0.5 * there.sum() else there


def _head_ends(distance: Float[np.ndarray, " n"], kind: str, full: bool) -> float:
    """The distance at which the head, the nearest thing, ends and the background begins."""
    if not distance.size:
        return 0.0
    near, end = np.quantile(distance, 0.01), np.inf
    if kind == "metric":
        units = [units for least, units in _UNITS if near >= least]
        end = min(2 * near, near + _HEAD * units[-1] if units else end)
    elif full:
        end = near / 2
    while (gap := _gap(distance[distance <= end])) is not None:
        end = gap[0]
    return float(end)


def _gap(values: Shaped[np.ndarray, " n"]) -> tuple[float, float] | None:
    """Ends of the first stretch that hardly any value has, a tenth of all or longer.

    None where there is no such stretch with a twentieth of the values on either side.
    """
    if not values.size:
        return None
    low, high = np.quantile(values, (0.005, 0.995))
    if low == high:
        return None
    # As shares, since no floats lie between two values that differ in their last bits.
    counts, edges = np.histogram((values - low) / (high - low), bins=64, range=(0, 1))
    edges = low + edges * (high - low)
    few = counts < 0.1 * values.size / counts.size
    before = np.cumsum(counts) / values.size
    start = None
    for i, empty in enumerate([*few, False]):
        if empty and start is None:
            start = i
        elif not empty and start is not None:
            if i - start >= 7 and before[start] >= 0.05 and before[i - 1] <= 0.95:
                return float(edges[start]), float(edges[i])
            start = None
    return None


def rise(values: Shaped[np.ndarray, "h w"], there: Bool[np.ndarray, "h w"]) -> float:
    """How much larger the values are at the rim of what has depth than in its middle.

    In -1..1, as a share of the range of the values without their outer hundredths.
    """
    rows, columns = np.nonzero(there)
    if rows.size < 16:
        return 0.0
    distance = [(at - at.mean()) / (np.ptp(at) + 1) for at in (rows, columns)]
    radius = np.hypot(*distance)
    inner, outer = np.quantile(radius, (1 / 3, 2 / 3))
    seen = values[there].astype(np.float64)
    low, high = np.quantile(seen, (0.01, 0.99))
    if low == high:
        return 0.0
    middle, rim = (np.median(seen[part]) for part in (radius <= inner, radius >= outer))
    return float(np.clip((rim - middle) / (high - low), -1, 1))


def _guess(values: np.ndarray, there: np.ndarray) -> str:
    """The kind of a map, by its type, by what would be wrong with it, and by its shape."""
    if values.dtype in (np.uint8, np.uint16):
        map_ = np.where(there, values, 0).astype(values.dtype)
        if fault(map_) is None and not doubts(map_):
            return "benchmark"
    return "inverse" if rise(values, there) < 0 else "metric"


def fault(depth: DepthMap) -> tuple[str, str, str] | None:
    """Why a map cannot be in the benchmarks' form; None where it can.

    Judged by quantiles of the pixels that have depth, which a few stray ones do not move.

    Returns:
        What was found, what was expected, and the option of prediction that mends it.
    """
    there = depth > 0
    if not there.any():
        return None
    seen, most = depth[there], int(np.iinfo(depth.dtype).max)
    near, far = (int(q) for q in np.quantile(seen, (0.01, 0.99), method="nearest"))
    if near == far:
        return (
            f"the value {near} in {_percent((seen == near).mean())} of the pixels with depth",
            "the relief of a head",
            "give another map, or the photograph alone",
        )
    code = _missing_code(depth, there)
    rest = seen[seen != code]
    near, far = (int(q) for q in np.quantile(rest, (0.01, 0.99), method="nearest"))
    if far < most / 16 or far - near < most / 32:
        return (
            f"{8 * depth.itemsize}-bit depth from {near} to {far}",
            f"depth that uses the range up to {most}",
            "add --depth_kind=metric if these are distances from the camera, or scale the values",
        )
    if code is not None:
        return (
            f"the value {code} in {_percent((depth == code).mean())} of the pixels, apart from all "
            "others",
            "0 where there is no depth",
            f"add --depth_missing={code} if it stands for no depth",
        )
    gap = _gap(seen)
    if gap is not None and gap[1] - gap[0] > gap[0] - near:
        return (
            f"depth up to {round(gap[0])} and from {round(gap[1])} on, as of a head and a wall",
            "depth of the head alone, 0 behind it",
            "add --depth_kind=metric or --depth_kind=inverse, which remove the background",
        )
    return None


def doubts(depth: DepthMap, kind: str = "benchmark") -> list[str]:
    """What is unusual about a map in the benchmarks' form, in sentences; see `fault`.

    Args:
        kind: what the map was before `to_benchmark`.
    """
    there = depth > 0
    found = []
    if there.mean() > _FULL:
        mend = "--depth_kind=metric or --depth_kind=inverse removes what lies behind it"
        if kind != "benchmark":
            mend = "give what lies behind it the value 0"
        found.append(
            "the map has depth in every pixel of the frame, and the networks know depth of the "
            f"head alone: {mend}"
        )
    if rise(depth, there) < -0.1:
        found.append(f"the middle of the map lies farther than its rim, {wrong_way(kind)}")
    return found


def wrong_way(kind: str) -> str:
    """The end of a sentence on a map of this kind whose near and far seem exchanged."""
    if kind == "inverse":
        return (
            "so that nearer pixels may have the smaller values: --depth_kind=metric takes them so"
        )
    return "so that nearer pixels may have the larger values: --depth_kind=inverse turns them round"


def _missing_code(depth: DepthMap, there: np.ndarray) -> int | None:
    """The largest or the least value, where it is no depth but stands for none."""
    levels, counts = np.unique(depth[there], return_counts=True)
    if levels.size < 3:
        return None
    around = np.concatenate([depth[0], depth[-1], depth[:, 0], depth[:, -1]])
    far = np.iinfo(depth.dtype).max / 25
    ends = ((levels[-1], levels[-2], counts[-1]), (levels[0], levels[1], counts[0]))
    ends = [end for end in ends if end[2] / depth.size > 0.02]
    alone = [value for value, neighbour, _ in ends if abs(int(value) - int(neighbour)) > far]
    # Where nothing is 0, a flat value round the picture is what 0 should be.
    flat = [value for value, *_ in ends if there.all() and (around == value).mean() > 0.5]
    return next((int(value) for value in alone + flat), None)


def _percent(share: float) -> str:
    return f"{100 * float(share):.0f} %"
