"""Losses against hand numbers and against independent gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.labels import IGNORE
from faceparse_jax.training import losses

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(2, 3, 4, 5)).astype(np.float32))
LABEL = jnp.asarray(RNG.integers(0, 5, (2, 3, 4)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]]))
    label = jnp.array([[[0, 1]]])
    loss = losses.cross_entropy(logits, label)
    np.testing.assert_allclose(loss, -np.log([[[0.5, 0.1]]]), rtol=1e-6)
    assert losses.cross_entropy(logits, jnp.array([[[IGNORE, 1]]]))[0, 0, 0] == 0


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    grad = jax.grad(lambda x: losses.cross_entropy(x, LABEL).sum())(LOGITS)
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
    got = losses.ohem_cross_entropy(logits, right, 0.7, fraction)
    assert got == pytest.approx(ohem_reference(logits, right, 0.7, fraction), rel=1e-4, abs=1e-6)


def test_ohem_keeps_nan_visible():
    logits = LOGITS.at[0, 0, 0, 0].set(jnp.nan)
    assert jnp.isnan(losses.ohem_cross_entropy(logits, LABEL))


def test_segmentation_adds_the_auxiliary_heads():
    heads = (LOGITS, 2 * LOGITS, 3 * LOGITS)
    one = [losses.ohem_cross_entropy(h, LABEL) for h in heads]
    options = {"threshold": 0.7, "min_fraction": 1 / 16}
    got = losses.segmentation(heads, LABEL, auxiliary=0.5, **options)
    assert got == pytest.approx(float(one[0] + 0.5 * (one[1] + one[2])), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_mutual_by_hand(temperature):
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.asarray(RNG.random(LABEL.shape) < 0.5)
    p, q = softmax(np.asarray(LOGITS) / temperature), softmax(np.asarray(other) / temperature)
    kl = temperature**2 * ((p - q) * (np.log(p) - np.log(q))).sum(-1)
    l2 = 2 * ((p - q) ** 2).sum(-1)
    # Pseudo labels have no temperature.
    p1, q1 = softmax(np.asarray(LOGITS)), softmax(np.asarray(other))
    pseudo = -sum(
        np.log(np.take_along_axis(student, teacher.argmax(-1)[..., None], -1))[..., 0]
        for student, teacher in ((p1, q1), (q1, p1))
    )
    for kind, expected in (("kl", kl), ("l2", l2), ("pseudo", pseudo)):
        hard = {"min_fraction": 1.0}  # every pixel
        got = losses.mutual(LOGITS, other, mask, kind=kind, temperature=temperature, **hard)
        assert got == pytest.approx(expected[np.asarray(mask)].mean(), rel=1e-5)


def test_stop_gradient_moves_each_student_towards_its_teacher():
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.ones(LABEL.shape, bool)

    def both(a, b, stop):
        return losses.mutual(a, b, mask, kind="kl", stop_gradient=stop)

    stopped = jax.grad(both)(LOGITS, other, True)
    # With the teacher fixed, the gradient of KL(teacher || student) is student - teacher.
    n = LABEL.size
    np.testing.assert_allclose(stopped, (softmax(LOGITS) - softmax(other)) / n, atol=1e-6)
    assert not np.allclose(jax.grad(both)(LOGITS, other, False), stopped, atol=1e-4)


@pytest.mark.parametrize("kind", ["kl", "l2", "pseudo"])
def test_the_teacher_of_one_student_learns_nothing(kind):
    def of_student(student, teacher):
        mask = jnp.ones(LABEL.shape, bool)
        return losses.mutual(student, teacher, mask, kind=kind, stop_gradient=False, students="a")

    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    to_student, to_teacher = jax.grad(of_student, argnums=(0, 1))(LOGITS, other)
    assert np.any(to_student)
    assert not np.any(to_teacher)


def test_pseudo_labels_are_learnt_as_labels_are():
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.asarray(RNG.random(LABEL.shape) < 0.7)
    label = jnp.where(mask, jnp.argmax(other, axis=-1), IGNORE)
    got = losses.mutual(LOGITS, other, mask, kind="pseudo", students="a")
    assert got == pytest.approx(float(losses.ohem_cross_entropy(LOGITS, label)), rel=1e-6)


@pytest.mark.parametrize("kind", ["kl", "l2", "pseudo"])
def test_one_student_learns_and_its_teacher_does_not(kind):
    other = jnp.asarray(RNG.normal(size=LOGITS.shape).astype(np.float32))
    mask = jnp.ones(LABEL.shape, bool)

    def term(a, b, students):
        return losses.mutual(a, b, mask, kind=kind, students=students)

    both = jax.value_and_grad(term, argnums=(0, 1))
    (value_a, grads_a), (value_b, grads_b), (value, grads) = (
        both(LOGITS, other, students) for students in ("a", "b", "both")
    )
    assert value == pytest.approx(float(value_a + value_b), rel=1e-6)
    assert not jnp.any(grads_a[1])
    assert not jnp.any(grads_b[0])
    np.testing.assert_allclose(grads_a[0], grads[0], atol=1e-7)
    np.testing.assert_allclose(grads_b[1], grads[1], atol=1e-7)
    assert jnp.any(grads[0])
    assert jnp.any(grads[1])


@pytest.mark.parametrize("wrong", [{"kind": "cosine"}, {"kind": "kl", "students": "rgb"}])
def test_unknown_mutual_kinds_and_students_are_refused(wrong):
    with pytest.raises(ValueError, match=r"'kl'|'both'"):
        losses.mutual(LOGITS, LOGITS, jnp.ones(LABEL.shape, bool), **wrong)


def test_unknown_means_are_refused():
    with pytest.raises(ValueError, match="'pixels' or 'classes', not 'faces'"):
        losses.mutual(LOGITS, LOGITS, jnp.ones(LABEL.shape, bool), kind="kl", mean="faces")
    with pytest.raises(ValueError, match="'pixels' or 'classes', not 'faces'"):
        losses.ohem_cross_entropy(LOGITS, LABEL, mean="faces")


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
        "ohem": lambda x: losses.ohem_cross_entropy(x, ignored),
        "mutual": lambda x: losses.mutual(x, 2 * x, nowhere, kind="kl", stop_gradient=False),
        "translation": lambda x: losses.translation(x[..., :1], x[..., 1:2], nowhere),
        "adversarial": lambda x: losses.adversarial(x[..., :1], no_rows),
        "discrimination": lambda x: losses.discrimination(x[..., :1], x[..., 1:2], no_rows),
    }
    for name, term in terms.items():
        value, grad = jax.value_and_grad(term)(LOGITS)
        assert value == 0, name
        assert jnp.all(grad == 0), name


@pytest.mark.parametrize("trust", ["confidence", "correct"])
def test_mutual_learning_weighs_a_pixel_by_its_teacher(trust):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2, 3, 4, 5)).astype(np.float32) for _ in range(2))
    label = rng.integers(0, 5, (2, 3, 4)).astype(np.int32)
    label[0, 0] = IGNORE
    mask = rng.random((2, 3, 4)) < 0.8

    def direction(student, teacher):
        p, q = softmax(teacher), softmax(student)
        distance = (p * np.log(p / q)).sum(-1)
        weight = p.max(-1) if trust == "confidence" else (p.argmax(-1) == label) | (label == IGNORE)
        return (distance * weight)[mask].sum() / mask.sum()

    arrays = (jnp.asarray(x) for x in (a, b, mask))
    got = losses.mutual(*arrays, kind="kl", label=jnp.asarray(label), trust=trust)
    np.testing.assert_allclose(got, direction(a, b) + direction(b, a), rtol=1e-5)


@pytest.mark.parametrize("kind", ["kl", "pseudo"])
def test_mutual_learning_can_count_classes_alike(kind):
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=(2, 30, 40, 3)).astype(np.float32) for _ in range(2))
    a[..., 2] -= 3.0  # a rare class
    b[:, 1:, :, 1] -= 30.0  # b knows the class 1 in a 30th of the pixels alone
    mask = rng.random((2, 30, 40)) < 0.8

    def direction(student, teacher):
        p, q = softmax(teacher), softmax(student)
        classes = p.argmax(-1)
        if kind == "kl":
            distance = (p * np.log(p / q)).sum(-1)
        else:
            distance = -np.log(np.take_along_axis(q, classes[..., None], -1))[..., 0]
        means = [distance[mask & (classes == c)].mean() for c in np.unique(classes[mask])]
        return np.mean(means)

    arrays = (jnp.asarray(x) for x in (a, b, mask))
    got = losses.mutual(*arrays, kind=kind, mean="classes", min_fraction=1.0)
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
    loss = np.asarray(losses.cross_entropy(LOGITS, LABEL))
    label = np.asarray(LABEL)
    hard = (label != IGNORE) & (loss >= -np.log(0.5))
    means = [loss[hard & (label == c)].mean() for c in np.unique(label[hard])]
    got = losses.ohem_cross_entropy(LOGITS, LABEL, 0.5, 0.0, "classes")
    assert got == pytest.approx(np.mean(means), rel=1e-5)
    heads = (LOGITS, 0.5 * LOGITS)
    both = losses.segmentation(
        heads, LABEL, auxiliary=2.0, threshold=0.5, min_fraction=0.0, mean="classes"
    )
    other = losses.ohem_cross_entropy(heads[1], LABEL, 0.5, 0.0, "classes")
    assert both == pytest.approx(float(got + 2 * other), rel=1e-5)
