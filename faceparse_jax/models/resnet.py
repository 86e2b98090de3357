"""ResNet trunks of He et al. 2016, laid out as torchvision's."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from faceparse_jax.models.layers import TORCH_DEFAULT, ConvNorm
from faceparse_jax.models.ops import max_pool

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks per stage; 50 has bottleneck blocks, the others basic ones."""


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded to a multiple of 8, at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 around a bottleneck.

    As in torchvision, the bottleneck's stride sits in the 3x3 convolution.
    """

    features: int
    stride: int
    bottleneck: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 o"]:
        out = 4 * self.features if self.bottleneck else self.features

        def unit(name, features, size, stride=1, relu=True):
            return ConvNorm(features, size, stride, relu, self.dtype, TORCH_DEFAULT, name=name)

        shortcut = x
        if self.stride != 1 or x.shape[-1] != out:
            shortcut = unit("shortcut", out, 1, self.stride, relu=False)(x, train)
        if self.bottleneck:
            x = unit("conv1", self.features, 1)(x, train)
            x = unit("conv2", self.features, 3, self.stride)(x, train)
            x = unit("conv3", out, 1, relu=False)(x, train)
        else:
            x = unit("conv1", out, 3, self.stride)(x, train)
            x = unit("conv2", out, 3, relu=False)(x, train)
        return nn.relu(shortcut + x)


class ResNet(nn.Module):
    """The trunk without its classifier.

    Returns the features at 1/8, 1/16 and 1/32 of the input.
    """

    depth: int = 18
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        first = scaled(64, self.width)
        stem = ConvNorm(first, 7, 2, True, self.dtype, TORCH_DEFAULT, name="stem")
        x = max_pool(stem(x, train))
        features = []
        for stage, blocks in enumerate(BLOCKS[self.depth]):
            for block in range(blocks):
                x = Block(
                    scaled(64 * 2**stage, self.width),
                    stride=2 if stage and not block else 1,
                    bottleneck=self.depth == 50,
                    dtype=self.dtype,
                    name=f"stage{stage + 1}_{block}",
                )(x, train)
            features.append(x)
        return features[1], features[2], features[3]
