"""Convolution modules with torch's meanings.

BatchNorm's momentum 0.9 is torch's 0.1, and the running variance is the biased one
(torch keeps the unbiased one; they differ by a factor of n / (n - 1) over n values).
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from faceparse_jax.models.ops import conv2d

HE_NORMAL = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
"""The public BiSeNet's own convolutions: He normal, negative slope 1."""

TORCH_DEFAULT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""torch's default: uniform within 1 / sqrt(fan-in). The trunk starts so, from scratch.

Under BatchNorm the scale of a kernel sets nothing but how far a step turns it: with
He's larger kernels the trunk learns more slowly at the same rate.
"""


class Conv(nn.Module):
    """A square convolution; parameters ``kernel`` [s s c o] and, if asked for, ``bias`` [o]."""

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    use_bias: bool = False
    dtype: Any = jnp.float32
    kernel_init: Any = HE_NORMAL

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 o"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        x = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            x = x + bias.astype(self.dtype)
        return x


def batch_norm(train: bool, dtype: Any, name: str) -> nn.BatchNorm:
    """BatchNorm as torch's default; over the global batch under jit on a mesh."""
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name
    )


class ConvNorm(nn.Module):
    """Convolution and BatchNorm, then a ReLU unless told otherwise."""

    features: int
    size: int = 3
    stride: int = 1
    relu: bool = True
    dtype: Any = jnp.float32
    kernel_init: Any = HE_NORMAL

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h2 w2 o"]:
        padding = self.size // 2
        conv = Conv(
            self.features,
            self.size,
            self.stride,
            padding,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            name="conv",
        )
        x = batch_norm(train, self.dtype, "norm")(conv(x))
        return nn.relu(x) if self.relu else x
