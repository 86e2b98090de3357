"""The translator and its discriminator: pix2pix (Isola et al., CVPR 2017)."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from faceparse_jax.models.layers import BatchNorm, Conv
from faceparse_jax.models.ops import conv2d_transpose

_NORMAL = nn.initializers.normal(0.02)  # the public code's initialisation


SMALLEST_JUDGED = 24
"""Side in pixels of the smallest picture of which the discriminator sees a patch."""


def unet_levels(size: int) -> int:
    """Halvings that a square image of this side allows, at most 8."""
    levels = 0
    while levels < 8 and size % 2 == 0 and size > 1:
        size //= 2
        levels += 1
    return levels


class ConvTranspose(nn.Module):
    """Transposed convolution 4x4, stride 2, that doubles the sides."""

    features: int
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        kernel = self.param("kernel", _NORMAL, (4, 4, x.shape[-1], self.features))
        x = conv2d_transpose(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            x = x + bias.astype(self.dtype)
        return x


class UNet(nn.Module):
    """Image to depth through `levels` halvings and back, with skip connections.

    Attributes:
        levels: at least 1; the input's sides must divide by ``2**levels``.
        features: channels of the first level; doubled up to three times.
        dropout: rate in the (up to three) innermost decoder levels.
        dtype: of the computation; parameters and statistics stay float32.
    """

    levels: int
    features: int = 64
    dropout: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"], train: bool = False) -> Float[Array, "b h w 1"]:
        """Depth in [-1, 1].

        Raises:
            ValueError: the sides do not divide by ``2**levels``.
        """
        if x.shape[1] % 2**self.levels or x.shape[2] % 2**self.levels:
            raise ValueError(
                f"a U-Net of {self.levels} levels needs sides that divide by "
                f"{2**self.levels}, not {x.shape[1]}x{x.shape[2]}"
            )
        widths = [self.features * min(2**level, 8) for level in range(self.levels)]
        skips = []
        for level, width in enumerate(widths):
            innermost = level == self.levels - 1
            if level:
                x = nn.leaky_relu(x, 0.2)
            # The outermost level has no norm; nor has the innermost, which may be one pixel.
            plain = level == 0 or innermost
            conv = Conv(width, 4, 2, 1, plain, self.dtype, _NORMAL, name=f"down{level}")
            x = conv(x)
            if not plain:
                x = BatchNorm(self.dtype, name=f"norm_down{level}")(x, train)
            skips.append(x)

        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                x = jnp.concatenate([skips[level], x], axis=-1)
            x = nn.relu(x)
            if level == 0:
                x = ConvTranspose(1, use_bias=True, dtype=self.dtype, name="up0")(x)
                return jnp.tanh(x.astype(jnp.float32))
            x = ConvTranspose(widths[level - 1], dtype=self.dtype, name=f"up{level}")(x)
            x = BatchNorm(self.dtype, name=f"norm_up{level}")(x, train)
            if self.levels - 4 <= level < self.levels - 1:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        raise ValueError("a U-Net needs at least one level")


class PatchGAN(nn.Module):
    """Judges patches of 70x70 pixels of an (image, depth) pair.

    Attributes:
        features: channels of the first layer.
        dtype: of the computation; parameters and statistics stay float32.
    """

    features: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w 3"],
        depth: Float[Array, "b h w 1"],
        train: bool = False,
    ) -> Float[Array, "b hp wp 1"]:
        """Logits, positive where a patch looks real; one for each 8x8 pixels or so."""
        x = jnp.concatenate([image, depth], axis=-1)
        for layer, (factor, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)]):
            conv = Conv(
                factor * self.features, 4, stride, 1, layer == 0, self.dtype, _NORMAL,
                name=f"conv{layer}",
            )  # fmt: skip
            x = conv(x)
            if layer:
                x = BatchNorm(self.dtype, name=f"norm{layer}")(x, train)
            x = nn.leaky_relu(x, 0.2)
        x = Conv(1, 4, 1, 1, True, self.dtype, _NORMAL, name="logits")(x)
        return x.astype(jnp.float32)
