"""The loss terms: arrays in, scalar out; no parameters, no configuration, no state.

Every mean divides by at least one, so a batch whose pixels are all ignored, or one
without depth, gives 0 with gradient 0 and never NaN. A NaN in the logits stays a NaN.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from faceparse_jax.labels import IGNORE


def masked_mean(values: Float[Array, "*s"], mask: Bool[Array, "*s"]) -> Float[Array, ""]:
    """Mean of the values where the mask holds; 0 where it holds nowhere."""
    total = jnp.sum(jnp.where(mask, values, 0.0))
    return total / jnp.maximum(jnp.sum(mask, dtype=jnp.float32), 1.0)


def class_mean(
    values: Float[Array, "b h w"],
    classes: Int[Array, "b h w"],
    num_classes: int,
    mask: Bool[Array, "b h w"],
    floor: float = 1e-3,
) -> Float[Array, ""]:
    """Mean of the classes' means where the mask holds: a small class counts as a large one.

    Over the classes that occur. One of fewer pixels than `floor` of the mask counts in
    proportion: some stray pixels must not weigh as much as the skin. 0 for an empty mask.
    A pixel whose class is no class, `IGNORE` for one, is left out. Weights by inverse
    frequency, as is common; the floor is our choice.
    """
    members = jax.nn.one_hot(classes, num_classes) * mask[..., None]
    count = jnp.sum(members, axis=(0, 1, 2))
    total = jnp.sum(members * jnp.where(mask, values, 0.0)[..., None], axis=(0, 1, 2))
    least = jnp.maximum(floor * jnp.sum(count), 1.0)
    return jnp.sum(total / jnp.maximum(count, least)) / jnp.maximum(jnp.sum(count > 0), 1)


def _mean(
    values: Float[Array, "b h w"],
    classes: Int[Array, "b h w"],
    num_classes: int,
    mask: Bool[Array, "b h w"],
    over: str,
) -> Float[Array, ""]:
    if over == "pixels":
        return masked_mean(values, mask)
    if over == "classes":
        return class_mean(values, classes, num_classes, mask)
    raise ValueError(f"the mean is over 'pixels' or 'classes', not {over!r}")


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


def cross_entropy(
    logits: Float[Array, "b h w k"], label: Int[Array, "b h w"]
) -> Float[Array, "b h w"]:
    """Cross-entropy of each pixel in nats; 0 where the label is `IGNORE`."""
    valid = label != IGNORE
    picked = jax.nn.one_hot(jnp.where(valid, label, 0), logits.shape[-1], dtype=logits.dtype)
    # A product with a one-hot instead of a gather: the gather's gradient is a scatter.
    loss = jax.nn.logsumexp(logits, axis=-1) - jnp.sum(logits * picked, axis=-1)
    return jnp.where(valid, loss, 0.0)


def ohem_cross_entropy(
    logits: Float[Array, "b h w k"],
    label: Int[Array, "b h w"],
    threshold: float = 0.7,
    min_fraction: float = 1 / 16,
    mean: str = "pixels",
) -> Float[Array, ""]:
    """Cross-entropy over the hard pixels: online hard example mining.

    Keeps the pixels whose true class has probability below `threshold`, and at least
    `min_fraction` of the valid pixels of the whole batch, the hardest first
    (zllrunning/face-parsing.PyTorch, `OhemCELoss`, there per GPU and counting ignored
    pixels too). ``min_fraction=1`` gives the plain mean.

    Args:
        mean: over the kept ``pixels``, or over the ``classes`` of their labels, see `class_mean`.

    Raises:
        ValueError: another mean.
    """
    loss = cross_entropy(logits, label)
    keep = _hard(loss, label != IGNORE, threshold, min_fraction)
    return _mean(loss, label, logits.shape[-1], keep, mean)


def _hard(
    loss: Float[Array, "b h w"], valid: Bool[Array, "b h w"], threshold: float, min_fraction: float
) -> Bool[Array, "b h w"]:
    """The hard pixels, as `ohem_cross_entropy` chooses them; `loss` is 0 where not valid."""
    # abs turns -0.0 into 0.0, whose bit pattern sorts right.
    frozen = jnp.abs(jax.lax.stop_gradient(loss)).reshape(-1)
    count = jnp.sum(valid)
    k = jnp.clip(jnp.ceil(count * min_fraction).astype(jnp.int32), 1, frozen.size)
    cut = jnp.minimum(-jnp.log(threshold), kth_largest(frozen, k))
    # "Not below" keeps NaN, which "at least" would drop in silence.
    return valid & ~(loss < cut)


def segmentation(
    heads: tuple[Float[Array, "b h w k"], ...],
    label: Int[Array, "b h w"],
    *,
    auxiliary: float,
    threshold: float,
    min_fraction: float,
    mean: str = "pixels",
) -> Float[Array, ""]:
    """OHEM cross-entropy of the main head plus `auxiliary` times that of each other head."""
    main, *others = (
        ohem_cross_entropy(head, label, threshold, min_fraction, mean) for head in heads
    )
    return main + auxiliary * sum(others, jnp.float32(0.0))


def mutual(
    a: Float[Array, "b h w k"],
    b: Float[Array, "b h w k"],
    mask: Bool[Array, "b h w"],
    *,
    kind: str,
    temperature: float = 1.0,
    stop_gradient: bool = True,
    label: Int[Array, "b h w"] | None = None,
    trust: str = "always",
    students: str = "both",
    mean: str = "pixels",
    threshold: float = 0.7,
    min_fraction: float = 1 / 16,
) -> Float[Array, ""]:
    """Two parsers teach each other: the mean over pixels of both directions' distance.

    Args:
        a, b: logits of the two parsers for the same pixels.
        mask: pixels that take part.
        kind: ``kl``, temperature^2 * (KL(b || a) + KL(a || b)) of the tempered softmax
            (Zhang et al., Deep Mutual Learning, CVPR 2018, eq. 3-6; Hinton et al. 2015
            for the temperature); ``l2``, the squared distance of the probabilities once per
            direction; or ``pseudo``, the cross-entropy with the teacher's class as label, once
            per direction (Chen et al., Cross Pseudo Supervision, CVPR 2021, eq. 3): it has no
            temperature, and teachers that are unsure do not make their students unsure. Its
            mean is over the hard pixels alone, as in learning from labels.
        temperature: logit temperature, > 0.
        stop_gradient: each direction moves its student only, as in Deep Mutual Learning; always
            so where there is but one student.
        label: the truth, for `trust` of ``correct``; its ignored pixels are trusted.
        trust: weight of a pixel in each direction: ``always`` 1; ``confidence`` the
            teacher's largest probability; ``correct`` 1 where the teacher's class is the
            label's (after Meng et al., Conditional Teacher-Student Learning, ICASSP 2019),
            else 0. The mean is over all of the mask: a teacher that is not trusted is quiet.
        students: ``both``, or only ``a`` or ``b``, whose teacher then learns nothing from it.
        mean: over all ``pixels``, or of the means over the pixels of each of the teacher's
            ``classes`` (see `class_mean`), so that the small parts are taught as the large ones.
        threshold, min_fraction: of ``pseudo``, see `ohem_cross_entropy`.

    Raises:
        ValueError: another kind, trust, mean or student.
    """
    if students not in ("both", "a", "b"):
        raise ValueError(f"students are 'both', 'a' or 'b', not {students!r}")
    temperature = 1.0 if kind == "pseudo" else temperature
    log_a = jax.nn.log_softmax(a / temperature)
    log_b = jax.nn.log_softmax(b / temperature)

    def distance(student, teacher):
        if stop_gradient or students != "both":
            teacher = jax.lax.stop_gradient(teacher)
        if kind == "kl":
            per_class = jnp.exp(teacher) * (teacher - student) * temperature**2
        elif kind == "l2":
            per_class = jnp.square(jnp.exp(teacher) - jnp.exp(student))
        elif kind == "pseudo":
            hard = jax.nn.one_hot(jnp.argmax(teacher, axis=-1), teacher.shape[-1])
            per_class = -hard * student
        else:
            raise ValueError(f"mutual learning is 'kl', 'l2' or 'pseudo', not {kind!r}")
        per_pixel = jnp.sum(per_class, axis=-1) * weight(teacher)
        keep = mask
        if kind == "pseudo":
            keep = _hard(jnp.where(mask, per_pixel, 0.0), mask, threshold, min_fraction)
        return _mean(per_pixel, jnp.argmax(teacher, axis=-1), teacher.shape[-1], keep, mean)

    def weight(teacher):
        teacher = jax.lax.stop_gradient(teacher)
        if trust == "always":
            return 1.0
        if trust == "confidence":
            return jnp.exp(jnp.max(teacher, axis=-1))
        if trust == "correct":
            return ((jnp.argmax(teacher, axis=-1) == label) | (label == IGNORE)).astype(jnp.float32)
        raise ValueError(f"trust is 'always', 'confidence' or 'correct', not {trust!r}")

    directions = {"a": (log_a, log_b), "b": (log_b, log_a)}
    return sum(
        (distance(*pair) for student, pair in directions.items() if students in ("both", student)),
        jnp.float32(0.0),
    )


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
