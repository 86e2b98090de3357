"""Pictures on another grid, and in the networks' square without changing their aspect ratio.

Training, evaluation and prediction call these functions, so that the networks see the same
pixels of a picture everywhere. A picture that has the wanted shape passes unchanged. NumPy and
Pillow only.
"""

from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float16, Float32, UInt8, UInt16
from PIL import Image

Shape = tuple[int, int]
"""Height and width in pixels."""


def resize_image(
    image: UInt8[np.ndarray, "_ _ 3"], shape: Shape
) -> UInt8[np.ndarray, "height width 3"]:
    """A photograph at another shape: every new pixel is a mean of the pixels around it.

    Whole blocks are averaged as long as a side is at least twice too long; what is left of the
    way is weighted by a triangle, which widens when the picture shrinks. So nothing aliases,
    and at a half or a quarter a pixel is the mean of the area that it covers.
    """
    return image if image.shape[:2] == shape else _mean(image, shape)


def resize_depth(
    depth: UInt8[np.ndarray, "_ _"] | UInt16[np.ndarray, "_ _"], shape: Shape
) -> UInt8[np.ndarray, "height width"] | UInt16[np.ndarray, "height width"]:
    """Depth at another shape: there is depth where the nearest pixel has some.

    Its value is the mean of `resize_image` with pixels without depth left out: 0 is never mixed
    into a value, and no value becomes 0. All 16 bits count where there are 16.

    Args:
        depth: 0 = none.
    """
    if depth.shape == shape:
        return depth
    valid = depth > 0
    total, weight = (_mean(x.astype(np.float32), shape) for x in (depth, valid))
    values = np.round(total / np.where(weight > 0, weight, 1))
    values = np.clip(values, 1, np.iinfo(depth.dtype).max)
    return np.where(_nearest(valid, shape), values, 0).astype(depth.dtype)


def resize_label(
    label: UInt8[np.ndarray, "_ _"], shape: Shape
) -> UInt8[np.ndarray, "height width"]:
    """A label at another shape: the class of the pixel in which each new pixel's centre lies."""
    return label if label.shape == shape else _nearest(label, shape)


def _mean(values: np.ndarray, shape: Shape) -> np.ndarray:
    picture = Image.fromarray(values)
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR, reducing_gap=1.0))


def _nearest(values: np.ndarray, shape: Shape) -> np.ndarray:
    for axis, (there, wanted) in enumerate(zip(values.shape, shape, strict=True)):
        centres = 2 * np.arange(wanted) + 1  # in halves of a new pixel
        values = values.take(centres * there // (2 * wanted), axis)
    return values


def same_frame(shape: Shape, other: Shape) -> bool:
    """Whether two pictures have one aspect ratio, but for the rounding of their sides."""
    # A picture that was scaled has sides that are off by less than a pixel each.
    return abs(shape[0] * other[1] - shape[1] * other[0]) < max(*shape, *other)


def fitted(shape: Shape, size: int) -> Shape:
    """The shape of a picture when its longer side has become `size` pixels."""
    height, width = (max(1, round(side * size / max(shape))) for side in shape)
    return height, width


def inside(shape: Shape, size: int) -> tuple[slice, slice]:
    """Rows and columns of the square that a picture of this shape fills, in the middle."""
    rows, columns = (
        slice((size - side) // 2, (size - side) // 2 + side) for side in fitted(shape, size)
    )
    return rows, columns


def in_square(
    picture: np.ndarray,
    size: int,
    resize: Callable[[np.ndarray, Shape], np.ndarray],
    outside: np.ndarray | int,
    shape: Shape | None = None,
) -> np.ndarray:
    """A picture [h w] or [h w c] in the middle of a square.

    Args:
        size: side of the square in pixels.
        resize: one of this module's, of the kind of the picture.
        outside: the value round the picture.
        shape: of the picture that it belongs to and lies on; None for its own.
    """
    shape = shape or picture.shape[:2]
    picture = resize(picture, fitted(shape, size))
    if picture.shape[:2] == (size, size):
        return picture
    square = np.full((size, size, *picture.shape[2:]), outside, picture.dtype)
    square[inside(shape, size)] = picture
    return square


def resize_plane(plane: Float32[np.ndarray, "_ _"], shape: Shape) -> Float32[np.ndarray, "h w"]:
    """One channel of what networks say, at the shape of their input, by a triangle."""
    picture = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR))


def decide(
    planes: Iterable[Float32[np.ndarray, "h w"]], shape: Shape, kept: int = 0
) -> tuple[
    UInt8[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float16[np.ndarray, "h w k"] | None
]:
    """The most probable class at `shape`, its probability, and all of them where they are kept.

    Class by class, since all of them at the size of a photograph take gigabytes.

    Args:
        planes: the probability of each class.
        kept: how many classes there are, where their probabilities are to be kept.
    """
    label = np.zeros(shape, np.uint8)
    highest = np.full(shape, -1, np.float32)
    all_of_them = np.empty((*shape, kept), np.float16) if kept else None
    for c, plane in enumerate(planes):
        label[plane > highest] = c
        highest = np.maximum(highest, plane)
        if kept:
            all_of_them[..., c] = plane
    return label, highest, all_of_them
