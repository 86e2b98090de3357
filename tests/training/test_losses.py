"""Losses against hand numbers and against independent gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.labels import IGNORE
from faceparse_jax.models import ops
from faceparse_jax.runtime.forms import forms_for
from faceparse_jax.training import losses

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(2, 3, 4, 5)).astype(np.float32))
LABEL = jnp.asarray(RNG.integers(0, 5, (2, 3, 4)))


def planes(logits):
    """Classes before rows and columns."""
    return jnp.moveaxis(logits, -1, 1)


def hard_mean(logits, label, *options):
    loss = losses.cross_entropy(planes(logits), label)
    return losses.hard_mean(loss, label, logits.shape[-1], *options)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]]))
    label = jnp.array([[[0, 1]]])
    loss = losses.cross_entropy(planes(logits), label)
    np.testing.assert_allclose(loss, -np.log([[[0.5, 0.1]]]), rtol=1e-6)
    assert losses.cross_entropy(planes(logits), jnp.array([[[IGNORE, 1]]]))[0, 0, 0] == 0


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    grad = jax.grad(lambda x: losses.cross_entropy(planes(x), LABEL).sum())(LOGITS)
    np.testing.assert_allclose(grad, softmax(LOGITS) - np.eye(5)[LABEL], atol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7, 100])
def test_kth_largest_equals_a_sort(k):
    values = RNG.exponential(size=100).astype(np.float32)
    values[:5] = values[5]  # ties
    expected = np.sort(values)[::-1][k - 1]
    assert losses.kth_largest(jnp.asarray(values), jnp.int32(k)) == expected


def ohem_reference(logits, label, threshold, fraction):
    """The public recipe: sort, then either the hard ones or the n hardest."""
    logits, label = np.asarray(logits, np.float64), np.asarray(label)
    valid = label != IGNORE
    p = np.take_along_axis(softmax(logits), np.where(valid, label, 0)[..., None], -1)[..., 0]
    loss = np.sort(-np.log(p)[valid])[::-1]
    n = max(int(np.ceil(valid.sum() * fraction)), 1)
    hard = loss[loss > -np.log(threshold)]
    return (hard if len(hard) > n else loss[:n]).mean()


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("fraction", [1 / 16, 0.5, 1.0])
def test_ohem_equals_the_sorted_recipe(scale, fraction):
    # At scale 30 most pixels are easy, so the least number decides.
    right = LABEL if scale == 30 else jnp.where(LABEL == 0, IGNORE, LABEL)
    logits = LOGITS * 0.1 + scale * jax.nn.one_hot(right, 5) if scale == 30 else LOGITS * scale
    got = hard_mean(logits, right, 0.7, fraction)
    assert got == pytest.approx(ohem_reference(logits, right, 0.7, fraction), rel=1e-4, abs=1e-6)


def test_ohem_keeps_nan_visible():
    logits = LOGITS.at[0, 0, 0, 0].set(jnp.nan)
    assert jnp.isnan(hard_mean(logits, LABEL))


def test_segmentation_adds_the_auxiliary_heads():
    heads = (LOGITS, 2 * LOGITS, 3 * LOGITS)
    one = [hard_mean(h, LABEL) for h in heads]
    options = {"threshold": 0.7, "min_fraction": 1 / 16}
    got = losses.segmentation(heads, LABEL, auxiliary=0.5, **options)
    assert got == pytest.approx(float(one[0] + 0.5 * (one[1] + one[2])), rel=1e-6)


def test_mutual_by_hand():
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.asarray(RNG.random(LABEL.shape) < 0.5)
    p, q = softmax(np.asarray(LOGITS)), softmax(np.asarray(other))
    expected = ((p - q) * (np.log(p) - np.log(q))).sum(-1)
    got = losses.mutual(LOGITS, other, mask)
    assert got == pytest.approx(expected[np.asarray(mask)].mean(), rel=1e-5)


def test_each_student_moves_towards_its_fixed_teacher():
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.ones(LABEL.shape, bool)
    to_rgb, to_depth = jax.grad(losses.mutual, argnums=(0, 1))(LOGITS, other, mask)
    # With the teacher fixed, the gradient of KL(teacher || student) is student - teacher.
    n = LABEL.size
    np.testing.assert_allclose(to_rgb, (softmax(LOGITS) - softmax(other)) / n, atol=1e-6)
    np.testing.assert_allclose(to_depth, (softmax(other) - softmax(LOGITS)) / n, atol=1e-6)


def test_one_student_learns_and_its_teacher_does_not():
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.ones(LABEL.shape, bool)

    def term(rgb, depth, students):
        return losses.mutual(rgb, depth, mask, students=students)

    both = jax.value_and_grad(term, argnums=(0, 1))
    (value_rgb, of_rgb), (value_depth, of_depth), (value, of_both) = (
        both(LOGITS, other, students) for students in (("rgb",), ("depth",), ("rgb", "depth"))
    )
    assert value == pytest.approx(float(value_rgb + value_depth), rel=1e-6)
    assert not jnp.any(of_rgb[1])
    assert not jnp.any(of_depth[0])
    np.testing.assert_allclose(of_rgb[0], of_both[0], atol=1e-7)
    np.testing.assert_allclose(of_depth[1], of_both[1], atol=1e-7)
    assert jnp.any(of_both[0])
    assert jnp.any(of_both[1])


def test_translation_counts_only_masked_pixels():
    a, b = jnp.zeros((1, 2, 2, 1)), jnp.array([[[[1.0], [-0.5]], [[0.25], [9.0]]]])
    mask = jnp.array([[[True, True], [True, False]]])
    assert losses.translation(a, b, mask) == pytest.approx(1.75 / 3)


def test_adversarial_terms_by_hand():
    real, fake = jnp.full((2, 2, 2, 1), 1.0), jnp.full((2, 2, 2, 1), -2.0)
    rows = jnp.array([True, False])
    assert losses.adversarial(fake, rows) == pytest.approx(np.log1p(np.exp(2.0)), rel=1e-6)
    expected = 0.5 * (np.log1p(np.exp(-1.0)) + np.log1p(np.exp(-2.0)))
    assert losses.discrimination(real, fake, rows) == pytest.approx(expected, rel=1e-6)


def test_nothing_valid_gives_zero_and_finite_gradients():
    ignored = jnp.full(LABEL.shape, IGNORE)
    nowhere = jnp.zeros(LABEL.shape, bool)
    no_rows = jnp.zeros(2, bool)
    terms = {
        "ohem": lambda x: hard_mean(x, ignored),
        "mutual": lambda x: losses.mutual(x, 2 * x, nowhere),
        "translation": lambda x: losses.translation(x[..., :1], x[..., 1:2], nowhere),
        "adversarial": lambda x: losses.adversarial(x[..., :1], no_rows),
        "discrimination": lambda x: losses.discrimination(x[..., :1], x[..., 1:2], no_rows),
    }
    for name, term in terms.items():
        value, grad = jax.value_and_grad(term)(LOGITS)
        assert value == 0, name
        assert jnp.all(grad == 0), name


def test_mutual_learning_can_count_classes_alike():
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(2, 30, 40, 3)).astype(np.float32) for _ in range(2))
    a[..., 2] -= 3.0  # a rare class
    b[:, 1:, :, 1] -= 30.0  # b knows the class 1 in a 30th of the pixels alone
    mask = rng.random((2, 30, 40)) < 0.8

    def direction(student, teacher):
        p, q = softmax(teacher), softmax(student)
        classes = p.argmax(-1)
        distance = (p * np.log(p / q)).sum(-1)
        means = [distance[mask & (classes == c)].mean() for c in np.unique(classes[mask])]
        return np.mean(means)

    arrays = (jnp.asarray(x) for x in (a, b, mask))
    got = losses.mutual(*arrays, mean=losses.class_mean)
    np.testing.assert_allclose(got, direction(a, b) + direction(b, a), rtol=1e-5)


def test_a_class_of_stray_pixels_counts_in_proportion():
    classes = np.zeros((1, 100, 100), np.int32)
    classes[0, 0, 0] = 2  # one of 10,000 pixels, and a class counts in full from 10 on
    values = np.where(classes == 2, 50.0, 1.0).astype(np.float32)
    mask = np.ones(classes.shape, bool)
    got = losses.class_mean(jnp.asarray(values), jnp.asarray(classes), 5, jnp.asarray(mask))
    assert got == pytest.approx((1.0 + 50.0 / 10) / 2, rel=1e-6)
    nothing = losses.class_mean(jnp.asarray(values), jnp.asarray(classes), 5, jnp.asarray(~mask))
    assert nothing == 0


def test_labels_can_count_classes_alike():
    """Hard pixels as before; their mean is that of the classes' means."""
    loss = np.asarray(losses.cross_entropy(planes(LOGITS), LABEL))
    label = np.asarray(LABEL)
    hard = (label != IGNORE) & (loss >= -np.log(0.5))
    means = [loss[hard & (label == c)].mean() for c in np.unique(label[hard])]
    got = hard_mean(LOGITS, LABEL, 0.5, 0.0, losses.class_mean)
    assert got == pytest.approx(np.mean(means), rel=1e-5)
    heads = (LOGITS, 0.5 * LOGITS)
    both = losses.segmentation(
        heads, LABEL, auxiliary=2.0, threshold=0.5, min_fraction=0.0, mean=losses.class_mean
    )
    other = hard_mean(heads[1], LABEL, 0.5, 0.0, losses.class_mean)
    assert both == pytest.approx(float(got + 2 * other), rel=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_small_logits_are_enlarged_to_the_label_before_anything_else(platform):
    """Against the enlarged logits themselves, in value and in gradient."""
    small = (LOGITS, jnp.asarray(RNG.normal(size=(2, 2, 2, 5)).astype(np.float32)))
    label = jnp.asarray(RNG.integers(0, 5, (2, 13, 9))).at[0, :3].set(IGNORE)
    mask = label != IGNORE
    options = {"auxiliary": 0.5, "threshold": 0.7, "min_fraction": 1 / 16}

    def terms(*heads):
        return losses.segmentation(heads, label, **options), losses.mutual(*heads, mask)

    def large(*heads):
        return terms(*(ops.resize_bilinear(head, label.shape[1:]) for head in heads))

    for n in (0, 1):
        with forms_for(platform):
            got, expected = (
                jax.value_and_grad(lambda *heads, f=f, n=n: f(*heads)[n], argnums=(0, 1))(*small)
                for f in (terms, large)
            )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), got, expected
        )
