"""From an input to the squares that the networks see, and what they say back onto the input."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped, UInt8

from faceparse_jax.images import resize_depth, resize_image
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import Shape, in_square, inside, resize_plane
from faceparse_jax.prediction.faces import Face
from faceparse_jax.prediction.squares import Box, Square


class Whole:
    """The whole input, fitted into one square; it has what `Layers` and `Square` have.

    Args:
        shape: of the input.
        size: of what the networks see, in pixels.
        sought: whether faces were looked for, and none was found.
    """

    faces: tuple[Face, ...] = ()

    def __init__(self, shape: Shape, size: int, sought: bool = False):
        self._shape, self._part = shape, inside(shape, size)
        self.warnings = ("no face was found, so that the picture was parsed as a whole",) * sought

    def views(self) -> list["Whole"]:
        return [self]

    def image(self, image: UInt8[np.ndarray, "_ _ 3"], size: int) -> UInt8[np.ndarray, "s s 3"]:
        return in_square(image, size, resize_image, OUTSIDE)

    def depth(
        self, depth: Shaped[np.ndarray, "_ _"], size: int, shape: Shape
    ) -> Shaped[np.ndarray, "s s"]:
        return in_square(depth, size, resize_depth, 0, shape)

    def seen(self, view: Shaped[np.ndarray, "s s"]) -> Shaped[np.ndarray, "_ _"]:
        return view[self._part]

    def plane(self, views: Float32[np.ndarray, "1 s s"]) -> Float32[np.ndarray, "h w"]:
        return resize_plane(self.seen(views[0]), self._shape)

    def probabilities(
        self, views: Float32[np.ndarray, "1 s s k"], classes: Sequence[Int[np.ndarray, " _"]]
    ) -> Iterator[Float32[np.ndarray, "h w"]]:
        return (self.plane(views[..., merged].sum(-1)) for merged in classes)

    def translated(self, views: UInt8[np.ndarray, "1 s s"]) -> UInt8[np.ndarray, "h w"]:
        return resize_depth(self.seen(views[0]), self._shape)


class Layers:
    """Squares of an input, each round one face.

    Every square is seen close by and from farther away. Its pixels come from close by, near its
    border more and more from farther away, and round it from farther away alone. Where squares
    overlap, a pixel belongs to that whose centre is nearer, in sides.

    Args:
        faces: with their squares.
        shape: of the input.
        close_only: which classes are those of a face's parts. They are not looked for outside of
            its square, where what seems to be one is none.

    Attributes:
        faces: as given.
        owner: number of the face that a pixel belongs to, from 1 on; 0 where it is of none.
    """

    _FARTHER = 2.0  # the side from farther away, in sides
    _BORDER = 0.08  # of a square, in sides

    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        faces: Sequence[Face],
        shape: Shape,
        close_only: Bool[np.ndarray, " k"],
    ):
        self.faces, self._shape, self._close_only = tuple(faces), shape, close_only
        self.owner: UInt8[np.ndarray, "h w"] = np.zeros(shape, np.uint8)
        self._boxes: list[tuple[Box, Box]] = []
        self._close: list[Float32[np.ndarray, "_ _"]] = []  # how much counts what is seen close by
        nearest = np.full(shape, np.inf, np.float32)
        for number, face in enumerate(faces, 1):
            far, near = (face.square.grown(by).box(shape) for by in (self._FARTHER, 1.0))
            distance = face.square.distance(far)
            own = (distance <= self._FARTHER / 2) & (distance < nearest[far])
            self.owner[far][own] = number
            nearest[far][own] = distance[own]
            self._boxes.append((far, near))
            self._close.append(np.clip((0.5 - distance[_within(near, far)]) / self._BORDER, 0, 1))

    def views(self) -> list[Square]:
        """What the networks are to see: each square close by, then from farther away."""
        return [face.square.grown(by) for face in self.faces for by in (1.0, self._FARTHER)]

    def seen(self, view: Shaped[np.ndarray, "s s"]) -> Shaped[np.ndarray, "s s"]:
        """The part of a view that shows the input."""
        return view

    def plane(
        self, views: Float32[np.ndarray, "n s s"], outside: float = 0.0
    ) -> Float32[np.ndarray, "h w"]:
        """One channel of what the networks say of `views`, at the input's size.

        Args:
            outside: the value of pixels that belong to no square.
        """
        plane = np.full(self._shape, outside, np.float32)
        squares = self.views()
        for row, ((far, near), close) in enumerate(zip(self._boxes, self._close, strict=True)):
            found = squares[2 * row + 1].plane(views[2 * row + 1], far)
            part = found[_within(near, far)]
            part += close * (squares[2 * row].plane(views[2 * row], near) - part)
            np.copyto(plane[far], found, where=self.owner[far] == row + 1)
        return plane

    def probabilities(
        self, views: Float32[np.ndarray, "n s s k"], classes: Sequence[Int[np.ndarray, " _"]]
    ) -> Iterator[Float32[np.ndarray, "h w"]]:
        """That of each class of the answer; what belongs to no square is background.

        Args:
            classes: for each class of the answer those of the networks that merge into it.
        """
        for merged in classes:
            planes = views[..., merged].sum(-1)
            # What seems to be part of a face from farther away is background.
            planes[1::2] = views[1::2][..., merged[~self._close_only[merged]]].sum(-1)
            if 0 in merged:
                planes[1::2] += views[1::2][..., self._close_only].sum(-1)
            yield self.plane(planes, 1.0 if 0 in merged else 0.0)

    def translated(self, views: UInt8[np.ndarray, "n s s"]) -> UInt8[np.ndarray, "h w"]:
        """Translated depth; pixels without depth are left out of means."""
        there = self.plane((views > 0).astype(np.float32))
        total = self.plane(views.astype(np.float32))
        values = np.clip(np.round(total / np.where(there > 0, there, 1)), 1, 255)
        return np.where(there >= 0.5, values, 0).astype(np.uint8)


class Part(Layers):
    """A box of an input, which is seen close by; what lies round it is background.

    Args:
        face: whose square holds the box.
        shape: of the input.
        region: the box.
        classes: of the networks.
    """

    def __init__(self, face: Face, shape: Shape, region: Box, classes: int):
        super().__init__([], shape, np.zeros(classes, bool))
        self.faces, self._region = (face,), region
        self.owner[region] = 1

    def views(self) -> list[Square]:
        return [self.faces[0].square]

    def plane(
        self, views: Float32[np.ndarray, "1 s s"], outside: float = 0.0
    ) -> Float32[np.ndarray, "h w"]:
        plane = np.full(self._shape, outside, np.float32)
        plane[self._region] = self.faces[0].square.plane(views[0], self._region)
        return plane


def _within(part: Box, box: Box) -> Box:
    """The rows and columns of a part of a box, counted in that box."""
    rows, columns = (
        slice(inner.start - outer.start, inner.stop - outer.start)
        for inner, outer in zip(part, box, strict=True)
    )
    return rows, columns


View = Whole | Square
"""What the networks see of an input."""
