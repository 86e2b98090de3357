"""What a parser takes: a photograph, a depth map or both, looked at before they are parsed."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped, UInt8
from PIL import Image

from faceparse_jax.errors import InputError
from faceparse_jax.images import depth as depth_maps
from faceparse_jax.images import depth_to_u8, same_frame, turned
from faceparse_jax.images.depth import LEVELS, DepthMap, Levels
from faceparse_jax.images.draw import colour_depth
from faceparse_jax.labels import Scheme
from faceparse_jax.prediction import sources
from faceparse_jax.prediction.kinds import KINDS
from faceparse_jax.prediction.sources import AnyDepth, Photo

_QUARTERS = (
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


@dataclasses.dataclass(frozen=True)
class Item:
    """An input that the networks can take; `item` makes one.

    Attributes:
        depth: in the benchmarks' form.
        depth_kind: what the depth map was taken for; None where there is none.
        warnings: what is doubtful about the input, in sentences.
        turn: Pillow's name of what EXIF asked for, and of what was done to the photograph.
        depth_turned: whether the same was done to the depth map.
    """

    image: Photo | None
    depth: DepthMap | None
    depth_kind: str | None = None
    warnings: tuple[str, ...] = ()
    turn: str | None = None
    depth_turned: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, those of the image where there is one."""
        return (self.depth if self.image is None else self.image).shape[:2]

    @property
    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """The photograph, or the depth map in grey where there is none."""
        return colour_depth(depth_to_u8(self.depth)) if self.image is None else self.image


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
        names: what errors call an image and a depth map that have no path.

    Raises:
        InputError: files that cannot be read, other types or shapes, depth of another aspect
            ratio than its image or of another kind than is said, or nothing to parse.
    """
    names = (sources.name_of(image, names[0]), sources.name_of(depth, names[1]))
    turn = None
    if image is not None:
        image, turn = sources.photograph(image, names[0])
    alone = Item(image, None, turn=turn and turn.name)
    if depth is None:
        return alone
    if depth_kind not in KINDS:
        raise InputError("depth_kind", repr(depth_kind), f"one of {KINDS}", "choose one of them")
    depth = sources.depth_map(depth, names[1])
    depth_turned, doubts = False, ()
    if turn is not None:
        depth, depth_turned, doubts = _turned_alike(depth, image.shape[:2], turn)
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
        warnings = (*depth_maps.doubts(depth, kind), *doubts)
        return Item(image, depth, kind, warnings, alone.turn, depth_turned)
    if image is None:
        raise InputError(names[1], "no depth in any pixel", "depth of a head", "give an image, too")
    warning = "the depth map has no depth in any pixel, so that the photograph alone counts"
    return dataclasses.replace(alone, warnings=(warning, *doubts), depth_turned=depth_turned)


def _turned_alike(
    depth: AnyDepth, shape: tuple[int, int], turn: Image.Transpose
) -> tuple[AnyDepth, bool, tuple[str, ...]]:
    """A depth map that lies like its turned photograph, as far as the sizes tell.

    Args:
        shape: of the photograph, which was turned.

    Returns:
        The map, whether it was turned likewise, and what is doubtful, in sentences.
    """
    fits = same_frame(shape, depth.shape)
    fits_turned = turn in _QUARTERS and same_frame(shape, depth.shape[::-1])
    if fits_turned and not fits:
        return turned(depth, turn), True, ()
    if fits_turned or turn not in _QUARTERS:
        return (
            depth,
            False,
            (
                "the photograph was turned as its EXIF orientation asks for, and the sizes do not "
                "tell whether the depth map lies the same way: look at the overlay",
            ),
        )
    return depth, False, ()


def doubts_by_face(
    label: Int[np.ndarray, "h w"], depth: Shaped[np.ndarray, "h w"], scheme: Scheme, kind: str
) -> tuple[str, ...]:
    """What is doubtful about a depth map beside the face that the RGB parser sees.

    Args:
        label: class ids of the RGB parser.
        depth: in the benchmarks' form.
        kind: what the depth map was taken for.
    """
    if not {"nose", "skin"} <= set(scheme.classes):
        return ()
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
