"""Which part of an input is parsed: the faces that are found, all of it, or a box."""

import math
from collections.abc import Sequence
from typing import Any

from faceparse_jax.errors import InputError
from faceparse_jax.images.resize import Shape
from faceparse_jax.prediction.faces import Face
from faceparse_jax.prediction.squares import Box, Square

_LARGEST = 1e6  # pixels of a side of a picture

Crop = str | tuple[float, float, float, float]
"""``auto``, ``none``, or x0, y0, x1 and y1 of a box in pixels."""


def checked(crop: Any, name: str = "crop") -> Crop:
    """What a user asks for, as words of a command line or as numbers.

    Args:
        name: what an error calls it.

    Raises:
        InputError: neither a word that is known nor four numbers that are the corners of a box.
    """
    if isinstance(crop, str) and crop in ("auto", "none"):
        return crop
    try:
        words = crop.split(",") if isinstance(crop, str) else crop
        box = tuple(float(word) for word in words)
    except (TypeError, ValueError):
        box = ()
    if (
        len(box) != 4
        or not all(abs(side) < _LARGEST for side in box)
        or box[0] >= box[2]
        or box[1] >= box[3]
    ):
        raise InputError(
            name,
            repr(crop),
            "auto, none, or x0,y0,x1,y1 in pixels with x0 < x1 and y0 < y1",
            "set --crop=auto, which looks for faces",
        )
    return box


def face_in(box: Sequence[float]) -> Face:
    """The face that fills a box: its square has the longer side of the box."""
    x0, y0, x1, y1 = box
    return Face(Square((x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)))


def region_of(box: Sequence[float], shape: Shape, name: str = "crop") -> Box:
    """The rows and columns of an input whose centres lie in a box.

    Args:
        name: what an error calls the input.

    Raises:
        InputError: there are none.
    """
    height, width = shape
    x0, y0, x1, y1 = box
    columns, rows = (
        slice(max(math.ceil(a - 0.5), 0), min(math.ceil(b - 0.5), length))
        for a, b, length in ((x0, x1, width), (y0, y1, height))
    )
    if columns.start >= columns.stop or rows.start >= rows.stop:
        raise InputError(
            name,
            f"{width} x {height} pixels, of which the box {x0:g},{y0:g},{x1:g},{y1:g} has none",
            "a box x0,y0,x1,y1 in pixels of the input",
            "give another box, or set --crop=auto, which looks for faces",
        )
    return rows, columns
