"""The loss terms: arrays in, scalar out; no parameters, no configuration, no state.

Logits of the size of a picture have their classes before rows and columns, [b k h w]. They are
made from the parsers' small ones where a term needs them.

Every mean divides by at least one, so a batch whose pixels are all ignored, or one
without depth, gives 0 with gradient 0 and never NaN. A NaN in the logits stays a NaN.
"""

from collections.abc import Callable, Collection

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from faceparse_jax.labels import IGNORE
from faceparse_jax.models import ops
from faceparse_jax.runtime.forms import platform

Mean = Callable[..., Float[Array, ""]]
"""`pixel_mean` or `class_mean`."""


def masked_mean(values: Float[Array, "*s"], mask: Bool[Array, "*s"]) -> Float[Array, ""]:
    """Mean of the values where the mask holds; 0 where it holds nowhere."""
    total = jnp.sum(jnp.where(mask, values, 0.0))
    return total / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)


def pixel_mean(
    values: Float[Array, "b h w"],
    classes: Int[Array, "b h w"],
    num_classes: int,
    mask: Bool[Array, "b h w"],
) -> Float[Array, ""]:
    """Mean over the pixels where the mask holds, whatever their class."""
    del classes, num_classes
    return masked_mean(values, mask)


def class_mean(
    values: Float[Array, "b h w"],
    classes: Int[Array, "b h w"],
    num_classes: int,
    mask: Bool[Array, "b h w"],
    floor: float = 1e-3,
) -> Float[Array, ""]:
    """Mean of the classes' means where the mask holds: a small class counts as a large one.

    The mean is over the classes that occur. A class of fewer pixels than `floor` of the mask
    counts in proportion, since some stray pixels must not weigh as much as the skin. A pixel
    whose class is no class, such as `IGNORE`, is left out; an empty mask gives 0. Weights by
    inverse frequency are common; the floor is our choice.
    """
    members = jax.nn.one_hot(classes, num_classes, axis=1) * mask[:, None]
    count = jnp.sum(members, axis=(0, 2, 3))
    total = jnp.sum(members * jnp.where(mask, values, 0.0)[:, None], axis=(0, 2, 3))
    least = jnp.maximum(floor * jnp.sum(count), 1.0)
    return jnp.sum(total / jnp.maximum(count, least)) / jnp.maximum(jnp.sum(count > 0), 1)


def kth_largest(values: Float[Array, " n"], k: Int[Array, ""]) -> Float[Array, ""]:
    """The exact k-th largest of non-negative float32 values, k >= 1.

    Bisects over the bit patterns, whose order is that of the values: 31 counting
    passes, cheaper than a sort on every backend, and over a sharded array each pass is
    one scalar sum across the devices.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32)

    def halve(_, bounds):
        low, high = bounds
        middle = low + (high - low) // 2
        enough = jnp.sum(bits >= middle) >= k
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    bounds = jnp.int32(0), jnp.int32(0x7F800001)
    low, _ = jax.lax.fori_loop(0, 31, halve, bounds)
    return jax.lax.bitcast_convert_type(low, jnp.float32)


def _made_again(function: Callable) -> Callable:
    """What it computes is made once more in the backward pass instead of stored.

    Reading memory is slow on a GPU or TPU; on a CPU the arithmetic is.
    """
    return function if platform() == "cpu" else jax.checkpoint(function)


def cross_entropy(
    logits: Float[Array, "b k h w"], label: Int[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """Cross-entropy of each pixel in nats; 0 where the label is `IGNORE`."""
    valid = label != IGNORE
    picked = jax.nn.one_hot(jnp.where(valid, label, 0), logits.shape[1], axis=1, dtype=logits.dtype)
    # A product with a one-hot instead of a gather: the gather's gradient is a scatter.
    loss = jax.nn.logsumexp(logits, axis=1) - jnp.sum(logits * picked, axis=1)
    return jnp.where(valid, loss, 0.0)


def hard_mean(
    loss: Float[Array, "b h w"],
    label: Int[Array, "b h w"],
    num_classes: int,
    threshold: float = 0.7,
    min_fraction: float = 1 / 16,
    mean: Mean = pixel_mean,
) -> Float[Array, ""]:
    """Mean of the cross-entropy over the hard pixels: online hard example mining.

    Keeps the pixels whose true class has probability below `threshold`, and at least
    `min_fraction` of the valid pixels of the whole batch, the hardest first
    (zllrunning/face-parsing.PyTorch, `OhemCELoss`, there per GPU and counting ignored
    pixels too). ``min_fraction=1`` gives the plain mean.

    Args:
        loss: what `cross_entropy` gives.
        mean: over the kept pixels, or over the classes of their labels.
    """
    # abs turns -0.0 into 0.0, whose bit pattern sorts right.
    frozen = jnp.abs(jax.lax.stop_gradient(loss)).reshape(-1)
    valid = label != IGNORE
    k = jnp.clip(jnp.ceil(jnp.sum(valid) * min_fraction).astype(jnp.int32), 1, frozen.size)
    cut = jnp.minimum(-jnp.log(threshold), kth_largest(frozen, k))
    # "Not below" keeps NaN, which "at least" would drop in silence.
    return mean(loss, label, num_classes, valid & ~(loss < cut))


def segmentation(
    heads: tuple[Float[Array, "b _ _ k"], ...],
    label: Int[Array, "b h w"],
    *,
    auxiliary: float,
    threshold: float,
    min_fraction: float,
    mean: Mean = pixel_mean,
) -> Float[Array, ""]:
    """OHEM cross-entropy of the main head plus `auxiliary` times that of each other head.

    Args:
        heads: logits of any resolution, which are enlarged to the label's.
    """

    @_made_again
    def of_pixels(head):
        return cross_entropy(ops.enlarge(head, label.shape[1:]), label)

    main, *others = (
        hard_mean(of_pixels(head), label, head.shape[-1], threshold, min_fraction, mean)
        for head in heads
    )
    return main + auxiliary * sum(others, jnp.float32(0.0))


def divergence(
    student: Float[Array, "b k h w"], teacher: Float[Array, "b k h w"]
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
    """KL(teacher || student) of each pixel, by which the student alone learns.

    Args:
        student, teacher: logits of two parsers for the same pixels.

    Returns:
        The divergence and the teacher's class of each pixel.
    """
    student = jax.nn.log_softmax(student, axis=1)
    teacher = jax.lax.stop_gradient(jax.nn.log_softmax(teacher, axis=1))
    return jnp.sum(jnp.exp(teacher) * (teacher - student), axis=1), jnp.argmax(teacher, axis=1)


def mutual(
    rgb: Float[Array, "b _ _ k"],
    depth: Float[Array, "b _ _ k"],
    mask: Bool[Array, "b h w"],
    mean: Mean = pixel_mean,
    students: Collection[str] = ("rgb", "depth"),
) -> Float[Array, ""]:
    """Two parsers teach each other: the sum over the students of the mean of `divergence`.

    In each direction the teacher stays fixed (Zhang et al., Deep Mutual Learning, CVPR 2018,
    eq. 3 to 6).

    Args:
        rgb, depth: logits of the two parsers for the same pictures, of any resolution, which
            are enlarged to the mask's.
        mask: pixels that take part.
        mean: over the pixels, or over the teacher's classes.
        students: the parsers that learn.
    """

    @_made_again
    def of_pixels(rgb, depth):
        rgb, depth = (ops.enlarge(logits, mask.shape[1:]) for logits in (rgb, depth))
        pairs = {"rgb": (rgb, depth), "depth": (depth, rgb)}
        return [divergence(*pairs[name]) for name in students]

    values = [mean(*each, rgb.shape[-1], mask) for each in of_pixels(rgb, depth)]
    return sum(values, jnp.float32(0.0))


def translation(
    translated: Float[Array, "b h w 1"], depth: Float[Array, "b h w 1"], mask: Bool[Array, "b h w"]
) -> Float[Array, ""]:
    """L1 between translated and real depth, both in [-1, 1] (pix2pix, Isola et al. 2017, eq. 3)."""
    return masked_mean(jnp.abs(translated - depth)[..., 0], mask)


def _rows(logits: Float[Array, "b h w 1"], rows: Bool[Array, " b"]) -> Bool[Array, "b h w 1"]:
    return jnp.broadcast_to(rows[:, None, None, None], logits.shape)


def adversarial(fake: Float[Array, "b h w 1"], rows: Bool[Array, " b"]) -> Float[Array, ""]:
    """The translator's non-saturating GAN loss on patch logits (pix2pix, "vanilla")."""
    return masked_mean(jax.nn.softplus(-fake), _rows(fake, rows))


def discrimination(
    real: Float[Array, "b h w 1"], fake: Float[Array, "b h w 1"], rows: Bool[Array, " b"]
) -> Float[Array, ""]:
    """The discriminator's loss: half the sum over real and translated pairs (pix2pix)."""
    loss = 0.5 * (jax.nn.softplus(-real) + jax.nn.softplus(fake))
    return masked_mean(loss, _rows(fake, rows))
