"""What a parser takes: a photograph, a depth map or both, looked at before they are parsed."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8

from faceparse_jax.errors import InputError
from faceparse_jax.images import depth as depth_maps
from faceparse_jax.images import same_frame
from faceparse_jax.images.depth import LEVELS, DepthMap, Levels
from faceparse_jax.labels import Scheme
from faceparse_jax.prediction.kinds import KINDS

Photo = UInt8[np.ndarray, "_ _ 3"]
AnyDepth = Shaped[np.ndarray, "_ _"]


@dataclasses.dataclass(frozen=True)
class Item:
    """An input that the networks can take; `item` makes one.

    Attributes:
        depth: in the benchmarks' form.
        depth_kind: what the depth map was taken for; None where there is none.
        warnings: what is doubtful about the input, in sentences.
    """

    image: Photo | None
    depth: DepthMap | None
    depth_kind: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, those of the image where there is one."""
        return (self.depth if self.image is None else self.image).shape[:2]


def item(
    image: Any,
    depth: Any,
    depth_kind: str = "benchmark",
    depth_missing: int | float | None = None,
    levels: Levels = LEVELS,
    names: tuple[str, str] = ("image", "depth"),
) -> Item:
    """One input for `Parser.stream`; the first arguments are those of `Parser.__call__`.

    Args:
        levels: of the depth that the networks were trained on.
        names: what errors call image and depth map.

    Raises:
        InputError: other types or shapes, depth of another aspect ratio than its image or
            of another kind than is said, or nothing to parse.
    """
    image = None if image is None else _checked_image(np.asarray(image), names[0])
    if depth is None:
        return Item(image, None)
    if depth_kind not in KINDS:
        raise InputError("depth_kind", repr(depth_kind), f"one of {KINDS}", "choose one of them")
    depth = np.asarray(depth)
    if depth.dtype.kind not in "iuf" or depth.ndim != 2 or not depth.size:
        raise InputError(
            names[1],
            f"{depth.dtype} of shape {depth.shape}",
            "numbers of shape (height, width)",
            "read it with faceparse_jax.images.read_depth",
        )
    if image is not None and not same_frame(image.shape[:2], depth.shape):
        (h, w), (height, width) = image.shape[:2], depth.shape
        raise InputError(
            names[1],
            f"{width}x{height} pixels beside an image of {w}x{h}",
            "the aspect ratio of the image",
            "crop both to the same frame",
        )
    depth, kind = depth_maps.to_benchmark(depth, depth_kind, depth_missing, levels, names[1])
    if kind == "benchmark" and (fault := depth_maps.fault(depth)):
        raise InputError(names[1], *fault)
    if depth.any():
        return Item(image, depth, kind, tuple(depth_maps.doubts(depth, kind)))
    if image is None:
        raise InputError(names[1], "no depth in any pixel", "depth of a head", "give an image, too")
    warning = "the depth map has no depth in any pixel, so that the photograph alone counts"
    return Item(image, None, None, (warning,))


def _checked_image(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            name,
            f"{image.dtype} of shape {image.shape}",
            "uint8 of shape (height, width, 3), sRGB in 0..255",
            "read it with faceparse_jax.images.read_image",
        )
    return image


def doubts_by_face(
    label: Int[np.ndarray, "h w"], depth: Shaped[np.ndarray, "h w"], scheme: Scheme, kind: str
) -> tuple[str, ...]:
    """What is doubtful about a depth map beside the face that the RGB parser sees.

    Args:
        label: class ids of the RGB parser.
        depth: in the benchmarks' form.
        kind: what the depth map was taken for.
    """
    nose, skin = (label == scheme.classes.index(name) for name in ("nose", "skin"))
    if nose.sum() < 16 or skin.sum() < 64:
        return ()
    if (depth[nose | skin] > 0).mean() < 0.5:
        return (
            "most of the face that the RGB parser sees has no depth, so that the map may be of "
            "another picture, or turned",
        )
    nose, skin = nose & (depth > 0), skin & (depth > 0)
    low, high = np.quantile(depth[depth > 0], (0.01, 0.99))
    if nose.any() and np.median(depth[nose]) - np.median(depth[skin]) > 0.1 * (high - low):
        return (
            "the nose that the RGB parser sees lies farther than the skin round it, "
            + depth_maps.wrong_way(kind),
        )
    return ()
