"""Pictures on the host: reading files, bringing them to a size, drawing.

The functions named here need no JAX.
"""

from faceparse_jax.images.depth_files import check_depth_range, depth_to_u8, read_depth
from faceparse_jax.images.read import (
    MAX_PIXELS,
    contents,
    read_image,
    read_label,
    read_mask,
    turn_of,
    turned,
)
from faceparse_jax.images.resize import resize_depth, resize_image, resize_label, same_frame

__all__ = [
    "MAX_PIXELS",
    "check_depth_range",
    "contents",
    "depth_to_u8",
    "read_depth",
    "read_image",
    "read_label",
    "read_mask",
    "resize_depth",
    "resize_image",
    "resize_label",
    "same_frame",
    "turn_of",
    "turned",
]
