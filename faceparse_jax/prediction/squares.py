"""Squares of a picture, at any place and angle: cut out for the networks, and put back."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image

from faceparse_jax.images import resize_depth, resize_image
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import Shape

Box = tuple[slice, slice]
"""Rows and columns of a picture."""


@dataclasses.dataclass(frozen=True)
class Square:
    """A square of a picture, in pixels whose centres lie at halves.

    Attributes:
        x, y: its centre.
        side: of it.
        angle: in radians, by which what stands upright in it leans to the right in the picture.
    """

    x: int | float
    y: int | float
    side: int | float
    angle: float = 0.0

    def grown(self, factor: float) -> "Square":
        """The square round the same centre that is so many times as large."""
        return dataclasses.replace(self, side=self.side * factor)

    def turned(self, angle: float) -> "Square":
        """The square that leans by another angle more."""
        return dataclasses.replace(self, angle=self.angle + angle)

    def point(self, u: float, v: float) -> tuple[float, float]:
        """Where a point lies in the picture that is so many sides right of and below the centre."""
        cos, sin = self.side * math.cos(self.angle), self.side * math.sin(self.angle)
        return self.x + cos * u - sin * v, self.y + sin * u + cos * v

    def corners(self) -> Float32[np.ndarray, "4 2"]:
        """x and y of the corners, from the upper left one clockwise, as it stands upright."""
        ends = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
        return np.array([self.point(*end) for end in ends], np.float32)

    def box(self, shape: Shape, margin: int | float = 0) -> Box:
        """The rows and columns of a picture that hold the part of the square that it has.

        Args:
            margin: pixels more on each side.
        """
        low, high = self.corners().min(0) - margin, self.corners().max(0) + margin
        columns, rows = (
            slice(*np.clip((math.floor(a), math.ceil(b)), 0, length).tolist())
            for a, b, length in zip(low, high, shape[::-1], strict=True)
        )
        return rows, columns

    def _onto(self, size: int, origin: tuple[int, int], scale: float) -> tuple[float, ...]:
        """From pixels of the cut square to those of a part of the picture, as Pillow has it.

        Args:
            origin: x and y of the part in the picture.
            scale: of the part, whose pixels are so many times as small.
        """
        left, top = self.point(-0.5, -0.5)
        step = self.side / size * scale
        cos, sin = math.cos(self.angle) * step, math.sin(self.angle) * step
        x, y = (left - origin[0]) * scale, (top - origin[1]) * scale
        return cos, -sin, x, sin, cos, y

    def _back(self, size: int, origin: tuple[int, int]) -> tuple[float, ...]:
        """From pixels of a part of the picture to those of the cut square."""
        step = size / self.side
        cos, sin = math.cos(self.angle) * step, math.sin(self.angle) * step
        dx, dy = origin[0] - self.x, origin[1] - self.y
        return cos, sin, cos * dx + sin * dy + size / 2, -sin, cos, cos * dy - sin * dx + size / 2

    def _part(self, picture: np.ndarray, size: int, resize) -> tuple[np.ndarray, tuple[float, ...]]:
        """What the square needs of a picture, shrunk to its scale, and Pillow's affine map."""
        rows, columns = self.box(picture.shape[:2], 2 * max(self.side / size, 1))
        part = picture[rows, columns]
        shape = part.shape[:2]
        if 0 in shape:
            return np.zeros((0, 0), np.uint8), ()
        scale = min(1.0, size / self.side)
        part = resize(part, tuple(max(1, round(side * scale)) for side in shape))
        a, b, c, d, e, f = self._onto(size, (columns.start, rows.start), 1.0)
        # The sides of what was shrunk are whole pixels.
        by, along = part.shape[0] / shape[0], part.shape[1] / shape[1]
        return part, (a * along, b * along, c * along, d * by, e * by, f * by)

    def image(self, image: UInt8[np.ndarray, "_ _ 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
        """The photograph inside, upright; what it does not have is of the mean colour."""
        part, affine = self._part(image, size, resize_image)
        outside = tuple(OUTSIDE.tolist())
        if not affine:
            return np.full((size, size, 3), OUTSIDE)
        return np.asarray(_mapped(Image.fromarray(part), size, affine, smooth=True, fill=outside))

    def depth(self, depth: Shaped[np.ndarray, "_ _"], size: int, shape: Shape):
        """The depth map inside, upright: the value of the nearest pixel, 0 where there is none.

        Args:
            depth: u8 or u16, of any size.
            shape: of the photograph that it lies on, whose pixels the square is given in.
        """
        if depth.shape != shape:
            depth = resize_depth(depth, shape)
        part, affine = self._part(depth, size, resize_depth)
        if not affine:
            return np.zeros((size, size), depth.dtype)
        values = Image.fromarray(part.astype(np.int32))
        return np.asarray(_mapped(values, size, affine, smooth=False)).astype(depth.dtype)

    def plane(self, plane: Float32[np.ndarray, "s s"], box: Box) -> Float32[np.ndarray, "h w"]:
        """One channel of what networks say of the square, where it lies in a box of the picture.

        Round the square its border goes on for a pixel of the networks. Then there is 0.
        """
        rows, columns = box
        affine = self._back(len(plane), (columns.start, rows.start))
        shape = (columns.stop - columns.start, rows.stop - rows.start)
        # Pillow knows no values outside, not even half a pixel: the border is repeated.
        padded = np.pad(np.ascontiguousarray(plane), 1, mode="edge")
        moved = (*affine[:2], affine[2] + 1, *affine[3:5], affine[5] + 1)
        return np.array(_mapped(Image.fromarray(padded), shape, moved, smooth=True))

    def distance(self, box: Box) -> Float32[np.ndarray, "h w"]:
        """How far pixels lie from the centre, in sides: 0.5 on the square's border."""
        rows, columns = box
        x = np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - self.x
        y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5 - self.y
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        across, down = np.abs(cos * x + sin * y), np.abs(cos * y - sin * x)
        return np.maximum(across, down) / np.float32(self.side)


def _mapped(picture: Image.Image, size, affine, smooth: bool, fill=0) -> Image.Image:
    shape = (size, size) if isinstance(size, int) else size
    way = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return picture.transform(shape, Image.Transform.AFFINE, affine, way, fillcolor=fill)
