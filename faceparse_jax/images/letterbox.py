"""Pictures of any size in the networks' square and back, without changing their aspect ratio."""

import numpy as np
from jaxtyping import Float16, Float32, UInt8
from PIL import Image

from faceparse_jax.images.normalise import IMAGE_MEAN

OUTSIDE = np.rint(255 * np.array(IMAGE_MEAN)).astype(np.uint8)
"""Colour of the rest of the square: the mean colour, as training has it round a picture."""


def inside(shape: tuple[int, int], size: int) -> tuple[slice, slice]:
    """Rows and columns of the square that a picture of this shape fills, in the middle."""
    fitted = (max(1, round(side * size / max(shape))) for side in shape)
    return tuple(slice((size - side) // 2, (size - side) // 2 + side) for side in fitted)


def fit_image(
    image: UInt8[np.ndarray, "_ _ 3"], shape: tuple[int, int]
) -> UInt8[np.ndarray, "_ _ 3"]:
    """The mean of the area under each pixel where the image shrinks, else bilinear."""
    shrinks = image.shape[0] >= shape[0] and image.shape[1] >= shape[1]
    kernel = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize(shape[::-1], kernel))


def decide(
    probabilities: Float32[np.ndarray, "_ _ k"], shape: tuple[int, int], keep: bool
) -> tuple[
    UInt8[np.ndarray, "h w"], Float32[np.ndarray, "h w"], Float16[np.ndarray, "h w k"] | None
]:
    """The most probable class at `shape`, its probability, and all of them if `keep`.

    Class by class, since all of them at the size of a photograph take gigabytes.
    """
    classes = probabilities.shape[-1]
    label = np.zeros(shape, np.uint8)
    highest = np.full(shape, -1, np.float32)
    kept = np.empty((*shape, classes), np.float16) if keep else None
    for c in range(classes):
        plane = Image.fromarray(np.ascontiguousarray(probabilities[..., c]))
        plane = np.asarray(plane.resize(shape[::-1], Image.Resampling.BILINEAR))
        label[plane > highest] = c
        highest = np.maximum(highest, plane)
        if keep:
            kept[..., c] = plane
    return label, highest, kept
