"""What stands for a photograph or a depth map: a path, a picture of Pillow, an array, a list."""

import os
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from faceparse_jax.errors import InputError
from faceparse_jax.images import contents, read_depth, read_image, turn_of

Photo = UInt8[np.ndarray, "_ _ 3"]
AnyDepth = Shaped[np.ndarray, "_ _"]

_FILES = (str, os.PathLike, bytes)


def several(given: Any) -> list[Any] | None:
    """The inputs of a list, or of an array [n h w c]; None where one input or none is given."""
    if isinstance(given, list | tuple):
        return list(given)
    return list(np.asarray(given)) if getattr(given, "ndim", 0) == 4 else None


def name_of(given: Any, name: str) -> str:
    """What errors call an input: its path, or `name` where it has none."""
    return os.fsdecode(given) if isinstance(given, str | os.PathLike) else name


def photograph(given: Any, name: str) -> tuple[Photo, Image.Transpose | None]:
    """An sRGB photograph in 0..255, and how it was turned, since its EXIF orientation asks for it.

    Args:
        given: a path, the bytes of a file, a picture of Pillow, or an array [h w], [h w 1],
            [h w 3] or [h w 4], which holds uint8 or floats from 0 to 1.
        name: what errors call it.

    Raises:
        InputError: a file that cannot be read, or another array.
    """
    if isinstance(given, _FILES):
        given, _ = contents(given, name)
    elif not isinstance(given, Image.Image):
        return _rgb(_array(given, name), name), None
    photo, turn = read_image(given, name), turn_of(given)
    if not photo.size:
        height, width, _ = photo.shape
        raise InputError(
            name, f"a picture of {width} x {height} pixels", "one with pixels", "leave it out"
        )
    return photo, turn


def depth_map(given: Any, name: str) -> AnyDepth:
    """A depth map as it is given, with numbers of any type.

    Args:
        given: a path, the bytes of a file, a picture of Pillow, or an array [h w] or [h w 1].
        name: what errors call it.

    Raises:
        InputError: a file that cannot be read, or another array.
    """
    if isinstance(given, (*_FILES, Image.Image)):
        depth = read_depth(given, name, measured=True)
    else:
        depth = _array(given, name)
        if depth.ndim == 3 and depth.shape[-1] == 1:
            depth = depth[..., 0]
    if depth.dtype.kind not in "iuf" or depth.ndim != 2 or not depth.size:
        raise InputError(
            name,
            f"{depth.dtype} of shape {depth.shape}",
            "numbers of shape (height, width) or (height, width, 1)",
            "for several maps at once give a list or (n, height, width, 1)",
        )
    return depth


def _array(given: Any, name: str) -> np.ndarray:
    if not hasattr(given, "__array__"):
        raise InputError(
            name,
            f"an object of type {type(given).__name__}",
            "a path, a picture of Pillow or an array",
            "read it first, for example with faceparse_jax.images",
        )
    return np.asarray(given)


def _rgb(array: np.ndarray, name: str) -> Photo:
    channels = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if channels not in (1, 3, 4) or not array.size:
        raise InputError(
            name,
            f"an array of shape {array.shape}",
            "(height, width) or (height, width, channels) with 1, 3 or 4 channels",
            "move the channels to the end; several photographs at once are a list or "
            "(n, height, width, channels)",
        )
    if array.dtype != np.uint8 and not jnp.issubdtype(array.dtype, jnp.floating):
        raise InputError(
            name,
            f"numbers of type {array.dtype}",
            "uint8, or floats from 0 to 1",
            "divide by the value of white",
        )
    if array.dtype != np.uint8:
        least, most = float(array.min()), float(array.max())
        if not (least >= 0 and most <= 1):  # nor where there is NaN
            raise InputError(
                name,
                "NaN" if np.isnan(least) else f"{array.dtype} from {least:g} to {most:g}",
                "floats from 0 to 1",
                "replace the NaN" if np.isnan(least) else "divide by the value of white",
            )
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    if channels == 3:
        return array.copy()  # results keep it, and the caller may fill theirs anew
    return read_image(Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array), name)
