"""Synthetic heads as a few characters that tell one from another, and blocks in their place."""

import hashlib
from collections.abc import Sequence

import numpy as np

from faceparse_jax.labels import CELEBAMASK_HQ


def digest(head):
    data = b"".join(head[name].tobytes() for name in ("image", "depth", "label"))
    return hashlib.sha256(data).hexdigest()


def blocks(keys: Sequence[int], size: int) -> dict[str, np.ndarray]:
    """Blocks of colour in place of what `heads.rendered` gives, other ones for each key."""
    drawn = [np.random.default_rng(key).integers(1, 255, (4, 4, 3), np.uint8) for key in keys]
    image = np.stack(drawn).repeat(size // 4, 1).repeat(size // 4, 2)
    return {
        "image": image,
        "depth": image[..., :1],
        "label": image[..., 1] % CELEBAMASK_HQ.num_classes,
        "has_depth": np.ones(len(keys), bool),
    }
