"""Augmentation and normalisation on the device, as pure functions.

Image, depth and label of an example pass through one affine map; each pixel of the
crop looks up its source once. Image values are interpolated bilinearly, labels by
nearest neighbour, depth linearly among valid pixels only, so that "no depth" (0) never
mixes into depth values. Pixels from outside the frame get label `IGNORE`, no depth
and the mean colour.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8, UInt16

from faceparse_jax.config import Config
from faceparse_jax.images.normalise import normalise_depth, normalise_image
from faceparse_jax.labels import IGNORE, Scheme
from faceparse_jax.runtime.forms import platform


@dataclasses.dataclass(frozen=True)
class Augment:
    """What is drawn at random for each training example.

    Attributes:
        crop: side of the square crop in pixels.
        mirror: class ids after mirroring (`labels.Scheme.mirror`).
        scales: factors of the random scale, one drawn per example.
        flip: probability of mirroring.
        rotate: largest rotation to either side, in degrees.
        jitter: brightness, contrast and saturation factors are drawn from 1 -+ jitter.
    """

    crop: int
    mirror: tuple[int, ...]
    scales: tuple[float, ...] = (1.0,)
    flip: float = 0.0
    rotate: float = 0.0
    jitter: float = 0.0


def build(config: Config, scheme: Scheme) -> Augment:
    """The random changes that a config describes, for labels of a scheme."""
    return Augment(mirror=scheme.mirror, **dict(config.augment))


def source_grid(
    key: PRNGKeyArray, shape: tuple[int, int], augment: Augment
) -> tuple[Float[Array, "c c"], Float[Array, "c c"], Bool[Array, ""]]:
    """Draws the geometry of one example.

    Returns:
        Row and column in the source image, in pixels, of every pixel of the crop, and
        whether the example is mirrored. At scale 1 without rotation they are integers.
    """
    height, width = shape
    crop = augment.crop
    scale_key, row_key, column_key, flip_key, angle_key = jax.random.split(key, 5)
    scale = jax.random.choice(scale_key, jnp.asarray(augment.scales, jnp.float32))
    flip = jax.random.bernoulli(flip_key, augment.flip)
    angle = jnp.deg2rad(jax.random.uniform(angle_key, minval=-1.0) * augment.rotate)

    centred = jnp.arange(crop, dtype=jnp.float32) - (crop - 1) / 2
    rows, columns = jnp.meshgrid(centred, centred, indexing="ij")
    if augment.rotate:
        cosine, sine = jnp.cos(angle), jnp.sin(angle)
        rows, columns = cosine * rows + sine * columns, cosine * columns - sine * rows

    def place(key, offsets, length):
        # The crop lies inside the scaled image, or around it where that is smaller.
        slack = jnp.round(scale * length) - crop
        start = jnp.floor(jax.random.uniform(key) * (jnp.abs(slack) + 1)) * jnp.sign(slack)
        return (offsets + (crop - 1) / 2 + start + 0.5) / scale - 0.5

    rows = place(row_key, rows, height)
    columns = place(column_key, columns, width)
    return rows, jnp.where(flip, width - 1 - columns, columns), flip


def _gather(planes, rows, columns):
    """Looks up planes [5 h w] (colours, depth, label) at every position [r c].

    Returns:
        Colours and depth between their four neighbours, weighted; the weight of those neighbours
        that have depth; depth and label of the nearest one.
    """
    height, width = planes.shape[1:]
    stacked = jnp.moveaxis(planes, 0, -1).reshape(-1, len(planes))
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = rows - top, columns - left

    def tap(row, column):
        row = jnp.clip(row.astype(jnp.int32), 0, height - 1)
        column = jnp.clip(column.astype(jnp.int32), 0, width - 1)
        return stacked[row * width + column]

    taps = jnp.stack([tap(top + i, left + j) for i in (0, 1) for j in (0, 1)])
    weights = jnp.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    )
    values = taps[..., :4].astype(jnp.float32)
    colours = jnp.einsum("tij,tijc->ijc", weights, values[..., :3])
    depth = jnp.sum(weights * values[..., 3], axis=0)
    mixed = jnp.concatenate([jnp.moveaxis(colours, -1, 0), depth[None]])
    weight = jnp.sum(jnp.where(values[..., 3] > 0, weights, 0.0), axis=0)
    nearest = 2 * (down >= 0.5).astype(jnp.int32) + (right >= 0.5)
    nearest = jnp.take_along_axis(taps, nearest[None, ..., None], axis=0)[0]
    return mixed, weight, nearest[..., 3] > 0, nearest[..., 4]


_TILE = 16
"""Side of the tiles of a crop that `_multiply` makes at once."""


def _reach(augment: Augment) -> int:
    """How many pixels of the source a tile can span to a side, at most."""
    angle = math.radians(min(augment.rotate, 45.0))
    span = (_TILE - 1) * (math.cos(angle) + math.sin(angle)) / min(augment.scales)
    return math.ceil(span) + 3  # one neighbour more, and rounding to either side


def _multiply(planes, rows, columns, reach: int):
    """What `_gather` gives, as products of matrices: TPUs look up single pixels one by one.

    Each tile of the crop takes the patch of the source that it can touch as a whole. One matrix
    weighs the patch's rows for every pixel of the tile, and each pixel weighs its own columns.
    """
    height, width = planes.shape[1:]
    shape, tiles = rows.shape, [-(-side // _TILE) for side in rows.shape]
    sides = min(reach, height), min(reach, width)

    def cut(positions):
        ends = [(0, n * _TILE - side) for n, side in zip(tiles, shape, strict=True)]
        padded = jnp.pad(positions, ends, mode="edge")
        parts = padded.reshape(tiles[0], _TILE, tiles[1], _TILE).transpose(0, 2, 1, 3)
        return parts.reshape(-1, _TILE * _TILE)

    def joined(parts):
        picture = parts.reshape(*tiles, -1, _TILE, _TILE).transpose(2, 0, 3, 1, 4)
        picture = picture.reshape(-1, tiles[0] * _TILE, tiles[1] * _TILE)
        return picture[:, : shape[0], : shape[1]]

    def weights(positions, length, side):
        """Where the patch begins; weights [side n] of a linear and of the nearest neighbour."""
        inside = jnp.clip(positions, 0, length - 1)
        start = jnp.clip(jnp.floor(jnp.min(inside)), 0, length - side)
        places = (start + jnp.arange(side, dtype=jnp.float32))[:, None]
        low = jnp.floor(positions)
        near = jnp.clip(low + (positions - low >= 0.5), 0, length - 1)
        linear = jnp.maximum(1 - jnp.abs(inside - places), 0.0)
        return start.astype(jnp.int32), linear, (near == places).astype(jnp.float32)

    def tile(rows, columns):
        top, down, down_nearest = weights(rows, height, sides[0])
        left, right, right_nearest = weights(columns, width, sides[1])
        patch = jax.lax.dynamic_slice(planes, (0, top, left), (len(planes), *sides))
        patch = patch.astype(jnp.float32)
        has_depth = (patch[3:4] > 0).astype(jnp.float32)

        def weighed(patch, down, right, precision):
            half = jnp.einsum("cyx,yn->cxn", patch, down, precision=precision)
            return jnp.sum(half * right, axis=1)

        mixed = weighed(jnp.concatenate([patch[:4], has_depth]), down, right, "highest")
        # One product of 1 with a whole number up to 255 is exact in bfloat16.
        nearest = jnp.concatenate([has_depth, patch[4:]])
        nearest = weighed(nearest, down_nearest, right_nearest, "default")
        return jnp.concatenate([mixed, nearest])

    *mixed, weight, has_depth, label = joined(jax.vmap(tile)(cut(rows), cut(columns)))
    return jnp.stack(mixed), weight, has_depth > 0.5, label


def sample(
    image: UInt8[Array, "h w 3"],
    depth: UInt8[Array, "h w 1"] | UInt16[Array, "h w 1"],
    label: UInt8[Array, "h w"],
    rows: Float[Array, "c c"],
    columns: Float[Array, "c c"],
    look_up: Callable = _gather,
) -> tuple[Float[Array, "c c 3"], Float[Array, "c c 1"], Int[Array, "c c"], Bool[Array, "c c"]]:
    """Looks up image, depth and label at fractional source positions.

    Args:
        look_up: `_gather`, or `_multiply` with its reach.

    Returns:
        Image and depth in 0..255 (16-bit depth too, as fractions), label, and which pixels
        come from inside the frame; outside it the label is `IGNORE` and the depth 0.
    """
    height, width = label.shape
    inside = (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)
    stacked = jnp.concatenate([image, depth, label[..., None]], axis=-1)
    mixed, weight, has_depth, classes = look_up(jnp.moveaxis(stacked, -1, 0), rows, columns)
    # No depth is 0 and adds nothing. The nearest neighbour weighs at least a quarter, so the sum
    # is positive where that one has depth.
    depths = jnp.where(inside & has_depth, mixed[3] / jnp.maximum(weight, 1e-6), 0.0)
    if depth.dtype == jnp.uint16:
        depths = depths / 257
    classes = jnp.where(inside, classes.astype(jnp.int32), IGNORE)
    return jnp.moveaxis(mixed[:3], 0, -1), depths[..., None], classes, inside


def jitter_colours(
    key: PRNGKeyArray, image: Float[Array, "h w 3"], strength: float
) -> Float[Array, "h w 3"]:
    """Random brightness, contrast and saturation of an image in 0..255, clipped to it.

    Each factor is drawn from 1 -+ strength; contrast blends with the mean luma and
    saturation with each pixel's (as Pillow's ImageEnhance, ITU-R 601 luma).
    """
    brightness, contrast, saturation = jax.random.uniform(
        key, (3,), minval=max(1 - strength, 0.0), maxval=1 + strength
    )

    def luma(x):
        return jnp.sum(x * np.float32((0.299, 0.587, 0.114)), axis=-1, keepdims=True)

    image = jnp.clip(image * brightness, 0, 255)
    grey = jnp.mean(luma(image))
    image = jnp.clip(grey + (image - grey) * contrast, 0, 255)
    grey = luma(image)
    return jnp.clip(grey + (image - grey) * saturation, 0, 255)


def augment_batch(
    key: PRNGKeyArray, batch: dict[str, Array | dict[str, Array]], augment: Augment
) -> dict[str, Array | dict[str, Array]]:
    """Augments and normalises a training batch.

    Args:
        key: one key for the batch; row i draws from ``fold_in(key, i)``.
        batch: image u8 [b h w 3], depth u8 or u16 [b h w 1], label u8 [b h w], has_depth [b];
            the same under ``paired`` where there is a second batch.

    Returns:
        image [b c c 3] and depth [b c c 1] normalised, label i32 [b c c], has_depth [b],
        and ``frame`` bool [b c c]: pixels that come from inside the picture; likewise under
        ``paired``.
    """
    look_up = _gather
    if platform() == "tpu":
        look_up = functools.partial(_multiply, reach=_reach(augment))
    mirror = np.arange(256, dtype=np.int32)
    mirror[: len(augment.mirror)] = augment.mirror

    def one(row, image, depth, label):
        geometry_key, colour_key = jax.random.split(jax.random.fold_in(key, row))
        rows, columns, flip = source_grid(geometry_key, label.shape, augment)
        image, depth, label, inside = sample(image, depth, label, rows, columns, look_up)
        label = jnp.where(flip, jnp.asarray(mirror)[label], label)
        if augment.jitter:
            image = jitter_colours(colour_key, image, augment.jitter)
        image = jnp.where(inside[..., None], normalise_image(image), 0.0)
        return image, normalise_depth(depth), label, inside

    rows = jnp.arange(batch["label"].shape[0])
    arrays = (batch[name] for name in ("image", "depth", "label"))
    image, depth, label, frame = jax.vmap(one)(rows, *arrays)
    ready = {"image": image, "depth": depth, "label": label, "frame": frame}
    ready |= {"has_depth": batch["has_depth"]}
    if "paired" in batch:
        other = jax.random.fold_in(key, 2**31 - 1)  # which is no row
        ready["paired"] = augment_batch(other, batch["paired"], augment)
    return ready
