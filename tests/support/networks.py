"""Small networks that compile at once, for what does not depend on the network."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from faceparse_jax.models.layers import BatchNorm


class SmallParser(nn.Module):
    """Three heads on one layer."""

    classes: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train=False):
        shape = (*x.shape[:3], self.classes)
        x = nn.Conv(8, (3, 3), strides=2, dtype=self.dtype)(x)
        x = nn.relu(BatchNorm(self.dtype)(x, train))
        heads = (
            nn.Conv(self.classes, (1, 1), dtype=self.dtype, name=f"head{n}")(x) for n in (0, 1, 2)
        )
        return tuple(jax.image.resize(h.astype(jnp.float32), shape, "bilinear") for h in heads)

    def heads(self, x, train=False):
        return self(x, train)
