"""BiSeNet with a ResNet context path, as the public face parser of zllrunning has it.

Yu et al., "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation",
ECCV 2018. The spatial path is the trunk's 1/8 features, as in the public code.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from faceparse_jax.models.layers import Conv, ConvNorm
from faceparse_jax.models.ops import resize_bilinear, resize_nearest
from faceparse_jax.models.resnet import BLOCKS, ResNet, scaled


def _pooled(x: Float[Array, "b h w c"]) -> Float[Array, "b 1 1 c"]:
    return jnp.mean(x, axis=(1, 2), keepdims=True)


class AttentionRefinement(nn.Module):
    """Features weighted per channel by a gate from their global mean."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w o"]:
        x = ConvNorm(self.features, dtype=self.dtype, name="conv")(x, train)
        gate = ConvNorm(self.features, 1, relu=False, dtype=self.dtype, name="gate")
        return x * nn.sigmoid(gate(_pooled(x), train))


class ContextPath(nn.Module):
    """Trunk features refined from 1/32 upwards; returns those at 1/8 and 1/16."""

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        at8: Float[Array, "b h8 w8 c8"],
        at16: Float[Array, "b h16 w16 c16"],
        at32: Float[Array, "b h32 w32 c32"],
        train: bool,
    ) -> tuple[Float[Array, "b h8 w8 o"], Float[Array, "b h16 w16 o"]]:
        features = scaled(128, self.width)

        def block(name, **options):
            return ConvNorm(features, dtype=self.dtype, name=name, **options)

        def attention(name):
            return AttentionRefinement(features, dtype=self.dtype, name=name)

        x = attention("arm32")(at32, train) + block("average", size=1)(_pooled(at32), train)
        up16 = block("refine32")(resize_nearest(x, at16.shape[1:3]), train)
        x = attention("arm16")(at16, train) + up16
        up8 = block("refine16")(resize_nearest(x, at8.shape[1:3]), train)
        return up8, up16


class FeatureFusion(nn.Module):
    """Spatial and context features joined, plus the same gated per channel."""

    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, spatial: Float[Array, "b h w c"], context: Float[Array, "b h w d"], train: bool
    ) -> Float[Array, "b h w o"]:
        features = scaled(256, self.width)
        x = jnp.concatenate([spatial, context], axis=-1)
        x = ConvNorm(features, 1, dtype=self.dtype, name="mix")(x, train)

        def gate(name, features):
            return Conv(features, 1, padding=0, dtype=self.dtype, name=name)

        squeezed = nn.relu(gate("squeeze", max(features // 4, 1))(_pooled(x)))
        return x + x * nn.sigmoid(gate("excite", features)(squeezed))


class Head(nn.Module):
    """Logits at the feature's resolution."""

    num_classes: int
    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w k"]:
        x = ConvNorm(self.features, dtype=self.dtype, name="mix")(x, train)
        return Conv(self.num_classes, 1, padding=0, dtype=self.dtype, name="classify")(x)


class BiSeNet(nn.Module):
    """A parser with a main and two auxiliary heads.

    Attributes:
        num_classes: number of logits per pixel.
        backbone: 18, 34 or 50, see `resnet.BLOCKS`.
        width: factor on all inner channels; 1 is the public network.
        dtype: of the computation; parameters and statistics stay float32.
    """

    num_classes: int
    backbone: int = 18
    width: float = 1.0
    dtype: Any = jnp.float32

    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b h w k"], Float[Array, "b h w k"], Float[Array, "b h w k"]]:
        """As `heads`, at the input's resolution and in float32."""
        heads = self.heads(x, train)
        main, at8, at16 = (resize_bilinear(y.astype(jnp.float32), x.shape[1:3]) for y in heads)
        return main, at8, at16

    @nn.compact
    def heads(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> tuple[Float[Array, "b h8 w8 k"], Float[Array, "b h8 w8 k"], Float[Array, "b h16 w16 k"]]:
        """Logits of the main head, at 1/8, and of the auxiliary heads at 1/8 and 1/16.

        Raises:
            ValueError: another backbone.
        """
        if self.backbone not in BLOCKS:
            raise ValueError(f"backbone is one of {sorted(BLOCKS)}, not {self.backbone}")
        trunk = ResNet(self.backbone, self.width, self.dtype, name="backbone")
        at8, at16, at32 = trunk(x, train)
        up8, up16 = ContextPath(self.width, self.dtype, name="context")(at8, at16, at32, train)
        fused = FeatureFusion(self.width, self.dtype, name="fusion")(at8, up8, train)

        def logits(name, features, x):
            head = Head(self.num_classes, scaled(features, self.width), self.dtype, name=name)
            return head(x, train)

        return logits("head", 256, fused), logits("head16", 64, up8), logits("head32", 64, up16)
