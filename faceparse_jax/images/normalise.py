"""From stored pixels to what the networks take, and back, on the device."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from faceparse_jax.images.read import BEHIND

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""ImageNet's statistics, as in the public BiSeNet recipe."""

OUTSIDE = np.array(BEHIND, np.uint8)
"""Colour of a square outside its picture: the mean colour, as augmentation has it round one."""

NO_DEPTH = -1.0
"""Normalised value of pixels without depth, and the far end of the translator's tanh."""


def normalise_image(image: Shaped[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """sRGB in 0..255 to ImageNet-normalised float32."""
    mean, std = np.float32(IMAGE_MEAN), np.float32(IMAGE_STD)
    return (image.astype(jnp.float32) / 255 - mean) / std


def normalise_depth(depth: Shaped[Array, "*b h w 1"]) -> Float[Array, "*b h w 1"]:
    """Depth in 0..255 to [-1, 1], or 0..65535 where it is u16; `NO_DEPTH` where there is none.

    0 = none, larger = farther.
    """
    half = 65535 / 2 if depth.dtype == jnp.uint16 else 127.5
    return depth.astype(jnp.float32) / half - 1


def depth_to_u8(depth: Float[Array, "*b h w 1"]) -> UInt8[Array, "*b h w 1"]:
    """The inverse of `normalise_depth`, rounded and clipped."""
    return jnp.clip(jnp.round((depth + 1) * 127.5), 0, 255).astype(jnp.uint8)


def prepare(batch: dict[str, Array]) -> dict[str, Array]:
    """Normalises a batch without augmentation; keys that are absent stay absent."""
    ready = dict(batch)
    if "image" in batch:
        ready["image"] = normalise_image(batch["image"])
    if "depth" in batch:
        ready["depth"] = normalise_depth(batch["depth"])
    if "label" in batch:
        ready["label"] = batch["label"].astype(jnp.int32)
    return ready
