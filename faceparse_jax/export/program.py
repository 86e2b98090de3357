"""A route of trained networks as a function of pixels, with all that a parser does around it."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from faceparse_jax.checkpoints.trained import Trained
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.models.inference import predict
from faceparse_jax.models.routes import ROUTES
from faceparse_jax.models.system import System

CHANNELS = {"image": 3, "depth": 1}
"""What may be an input, and its channels."""


@dataclasses.dataclass(frozen=True)
class Program:
    """What is exported.

    Attributes:
        trained: the networks.
        route: a key of `models.routes.ROUTES`.
        inputs: ``image``, ``depth`` or both.
        size: side of the networks' square in pixels.
        phone: whether nothing may be in it that the GPUs of phones refuse.
    """

    trained: Trained
    route: str
    inputs: tuple[str, ...]
    size: int
    phone: bool = False

    def probabilities(self, **square: UInt8[Array, "1 s s _"]) -> Float[Array, "1 s s k"]:
        """Class probabilities of inputs that fill the square."""
        batch = dict(square)
        if "depth" in batch:
            # As floats, since TFLite compares no bytes.
            batch["has_depth"] = jnp.max(batch["depth"].astype(jnp.float32), (1, 2, 3)) > 0
        variables = jax.tree.map(jnp.asarray, self.trained.variables)
        return predict(variables, batch, system=self._system())[self.route]

    def _system(self) -> System:
        """The networks that the route needs, without those whose answers nobody would read."""
        needed = ROUTES[self.route].networks
        if self.route == "fusion":  # which is on translated depth where there is no other
            needed = needed | {"translator"}
        system = self.trained.system
        unread = [name for name in system.networks() if name not in needed]
        return dataclasses.replace(system, **dict.fromkeys(unread))

    def parse(self, **square: UInt8[Array, "1 s s _"]) -> dict[str, Array]:
        """As `probabilities`, with ``label`` u8 [1 s s] beside ``probabilities``."""
        said = self.probabilities(**square)
        return {"label": jnp.argmax(said, -1).astype(jnp.uint8), "probabilities": said}

    def photograph(self, **pictures: UInt8[Array, "h w _"]) -> dict[str, Array]:
        """The parsing of inputs of any size, which are fitted into the square and brought back.

        Args:
            pictures: ``image`` u8 [h w 3], or ``depth`` u8 [h w 1], or both; a depth map may have
                another size, as long as it has the photograph's aspect ratio.

        Returns:
            ``label`` u8 [h w] and ``confidence``, the probability of the chosen class, f32 [h w].
        """
        shape = next(pictures[name].shape[:2] for name in CHANNELS if name in pictures)
        frame = _Frame(shape, self.size)
        fitted = {name: _FIT[name](picture, frame)[None] for name, picture in pictures.items()}
        label, confidence = frame.decide(self.probabilities(**fitted)[0])
        return {"label": label, "confidence": confidence}


class _Frame:
    """Where a picture of a shape lies in the square; the same sums as those of `images.resize`.

    Args:
        shape: height and width, which may be symbolic.
        size: side of the square in pixels.
    """

    def __init__(self, shape, size: int):
        self._shape, self._size = shape, size
        height, width = (jnp.asarray(side, jnp.float32) for side in shape)
        longer = jnp.maximum(height, width)
        self._sides = [
            jnp.maximum(1, jnp.round(side * size / longer)).astype(int) for side in (height, width)
        ]

    def _starts(self) -> list[Int[Array, ""]]:
        return [(self._size - side) // 2 for side in self._sides]

    def mean(self, picture: Float[Array, "h w c"], rounded: bool = False) -> Float[Array, "s s c"]:
        """As `images.resize` has a picture in the square.

        Args:
            rounded: to whole numbers where Pillow does so: at the end, and between the two ways
                unless blocks were averaged before.
        """
        axes = list(zip(self._starts(), self._sides, picture.shape[:2], strict=True))
        rows, columns = (
            _triangle((self._size, start, side), (there, 0, there), blocks=True)
            for start, side, there in axes
        )
        values = jnp.einsum("xw,hwc->hxc", columns, picture, precision="highest")
        if rounded:
            whole = jnp.stack([there // side for _, side, there in axes]).max() < 2
            values = jnp.where(whole, jnp.floor(values + 0.5), values)
        values = jnp.einsum("yh,hxc->yxc", rows, values, precision="highest")
        return jnp.floor(values + 0.5) if rounded else values

    def nearest(self, picture: Array) -> Array:
        """The pixel in which each pixel's centre lies."""
        for axis, (start, side) in enumerate(zip(self._starts(), self._sides, strict=True)):
            there = jnp.asarray(picture.shape[axis])
            index = (2 * (jnp.arange(self._size) - start) + 1) * there // (2 * side)
            picture = jnp.take(picture, jnp.clip(index, 0, there - 1), axis)
        return picture

    def within(self) -> Array:
        """Whether a pixel of the square [s s 1] is one of the picture."""
        rows, columns = (
            (jnp.arange(self._size) >= start) & (jnp.arange(self._size) < start + side)
            for start, side in zip(self._starts(), self._sides, strict=True)
        )
        return (rows[:, None] & columns)[..., None]

    def decide(
        self, probabilities: Float[Array, "s s k"]
    ) -> tuple[UInt8[Array, "h w"], Float[Array, "h w"]]:
        """As `images.resize.decide`, class by class."""
        rows, columns = (
            _triangle((there, 0, there), (self._size, start, side))
            for start, side, there in zip(self._starts(), self._sides, self._shape, strict=True)
        )

        def choose(best, plane):
            number, label, highest = best
            plane = jnp.matmul(jnp.matmul(rows, plane, precision="highest"), columns.T,
                               precision="highest")  # fmt: skip
            label = jnp.where(plane > highest, number, label)
            return (number + jnp.uint8(1), label, jnp.maximum(highest, plane)), None

        none = (jnp.uint8(0), jnp.zeros(self._shape, jnp.uint8), jnp.full(self._shape, -1.0))
        (_, label, highest), _ = jax.lax.scan(choose, none, jnp.moveaxis(probabilities, -1, 0))
        return label, highest


def _triangle(to, of, blocks: bool = False) -> Float[Array, "out in"]:
    """Weights of Pillow's bilinear filter, which widens where a picture shrinks.

    Args:
        to, of: the pixels of an axis, the first one of the picture, and the picture's side.
        blocks: whole blocks are averaged first, as Pillow does with ``reducing_gap=1``.
    """
    (count, start, side), (there, first, length) = to, of
    side, length = jnp.asarray(side), jnp.asarray(length)
    pixel = jnp.arange(there) - first
    block = jnp.maximum(length // side, 1) if blocks else jnp.int32(1)
    number = pixel // block
    scale = length / (block * side)  # blocks for each new pixel
    centres = (jnp.arange(count) - start + 0.5) * scale
    distance = jnp.abs(number + 0.5 - centres[:, None]) / jnp.maximum(scale, 1)
    members = jnp.minimum(block, length - number * block)
    within = (pixel >= 0) & (pixel < length)
    weights = jnp.where(within, jnp.maximum(1 - distance, 0) / members, 0)
    total = weights.sum(1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1)


def _fit_image(image: UInt8[Array, "h w 3"], frame: _Frame) -> UInt8[Array, "s s 3"]:
    values = frame.mean(image.astype(jnp.float32), rounded=True)
    return jnp.where(frame.within(), values, OUTSIDE).astype(jnp.uint8)


def _fit_depth(depth: UInt8[Array, "h w 1"], frame: _Frame) -> UInt8[Array, "s s 1"]:
    valid = depth > 0
    total, weight = (frame.mean(x.astype(jnp.float32)) for x in (depth, valid))
    values = jnp.clip(jnp.round(total / jnp.where(weight > 0, weight, 1)), 1, 255)
    there = frame.nearest(valid) & frame.within()
    return jnp.where(there, values, 0).astype(jnp.uint8)


_FIT = {"image": _fit_image, "depth": _fit_depth}
