"""Convolution modules with torch's meanings.

BatchNorm's momentum 0.9 is torch's 0.1, and the running variance is the biased one
(torch keeps the unbiased one; they differ by a factor of n / (n - 1) over n values).
"""

from typing import Any

import flax.linen as nn
import jax
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


class BatchNorm(nn.Module):
    """BatchNorm as torch's default, over the global batch; rows may count unequally.

    Parameters ``scale`` and ``bias`` [c], statistics ``mean`` and ``var`` [c], all float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool, counts: Float[Array, " b"] | None = None
    ) -> Float[Array, "b h w c"]:
        """Normalises by the batch's statistics in training, else by the running ones.

        Args:
            counts: how much each row counts in the statistics; all alike where None.

        Where fewer than two values of a channel count, the running statistics are used and stay
        as they are: one value alone would be its own mean, and the output a constant. So it is
        where no row counts, or where one row does and has one pixel.
        """
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        running = (
            self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32),
            self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32),
        )
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, var = (statistic.value for statistic in running)
        if train:
            rows = x.shape[0] if counts is None else jnp.sum(counts > 0)
            enough = rows * x.shape[1] * x.shape[2] > 1

            def average(values):
                if counts is None:
                    return jnp.mean(values, axis=(0, 1, 2))
                # A row that does not count may hold anything: 0 times infinity is no number.
                total = jnp.sum(counts)
                means = jnp.where(counts[:, None] > 0, jnp.mean(values, axis=(1, 2)), 0.0)
                return jnp.sum(counts[:, None] * means, axis=0) / jnp.where(total > 0, total, 1.0)

            mean = average(wide)
            var = jnp.maximum(average(jnp.square(wide)) - jnp.square(mean), 0.0)
            mean, var = (
                jnp.where(enough, new, old.value)
                for new, old in zip((mean, var), running, strict=True)
            )
            for statistic, new in zip(running, (mean, var), strict=True):
                if not self.is_initializing():
                    moved = 0.9 * statistic.value + 0.1 * new
                    statistic.value = jnp.where(enough, moved, statistic.value)
        y = (wide - mean) * (jax.lax.rsqrt(var + 1e-5) * scale) + bias
        return y.astype(self.dtype)


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
        x = BatchNorm(self.dtype, name="norm")(conv(x), train)
        return nn.relu(x) if self.relu else x
