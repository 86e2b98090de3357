"""The terms of the step: which rows, networks and steps each of them reaches, and at what cost."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.checkpoints.state import Weights
from faceparse_jax.data.augment import augment_batch
from faceparse_jax.training import losses
from tests.support.steps import AUGMENT, CLASSES, KEY, ROWS, make, make_batch, same, start


def flops(weights):
    init, step, _ = make(weights, real=True)
    state = jax.eval_shape(init, KEY)
    lowered = jax.jit(step).lower(state, make_batch(), KEY)
    return lowered.cost_analysis()["flops"], state


def test_a_zero_weight_costs_nothing():
    rgb, rgb_state = flops(Weights(rgb=1.0))
    both, both_state = flops(Weights(rgb=1.0, depth=1.0))
    taught, _ = flops(Weights(rgb=1.0, depth=1.0, mutual=1.0))
    assert tuple(rgb_state.params) == ("rgb",)
    assert set(both_state.params) == {"rgb", "depth"}
    # Depth has one input channel, so its parser costs slightly less than the RGB one.
    assert 1.5 * rgb < both < 2.0 * rgb
    # Mutual learning without a translator adds arithmetic on logits, no pass of a network.
    assert both < taught < 1.05 * both


def test_end_to_end_term_reaches_the_translator():
    state, step, _ = start(Weights(e2e=2.0, e2e_ramp_steps=4))
    assert set(state.params) == {"depth", "translator"}
    new, scalars = step(state, make_batch(0), KEY)
    assert not same(new.params["translator"], state.params["translator"])
    assert not same(new.params["depth"], state.params["depth"])
    # The term grows: a quarter of its weight in the first step, half of it in the second.
    assert scalars["loss"] == pytest.approx(2.0 * 0.25 * scalars["loss/e2e"])
    _, scalars = step(new, make_batch(0), KEY)
    assert scalars["loss"] == pytest.approx(2.0 * 0.5 * scalars["loss/e2e"])


def test_mutual_learning_starts_late_and_grows():
    weights = Weights(rgb=1.0, mutual=2.0, mutual_start_step=1, mutual_ramp_steps=2)
    state, step, _ = start(weights)
    for share in (0.0, 0.5, 1.0, 1.0):
        state, scalars = step(state, make_batch(), KEY)
        expected = scalars["loss/rgb"] + 2.0 * share * scalars["loss/mutual"]
        assert scalars["loss"] == pytest.approx(expected)


@pytest.mark.parametrize(("students", "learner"), [("rgb", "rgb"), ("depth", "depth")])
def test_only_the_student_of_mutual_learning_moves(students, learner):
    state, step, _ = start(Weights(mutual=1.0, mutual_students=students))
    _, scalars = step(state, make_batch(), KEY)
    for net in ("rgb", "depth"):
        assert (scalars[f"gradient_norm/{net}"] > 0) == (net == learner)


def test_end_to_end_term_fades():
    state, step, _ = start(Weights(depth=1.0, e2e=2.0, e2e_fade_steps=2))
    for share in (1.0, 0.5, 0.0, 0.0):
        state, scalars = step(state, make_batch(0), KEY)
        expected = scalars["loss/depth"] + 2.0 * share * scalars["loss/e2e"]
        assert scalars["loss"] == pytest.approx(expected)


def test_the_factor_on_the_end_to_end_term_is_the_translators_alone():
    """Adam forgets the scale of a gradient, so its norm is compared."""
    norms = {}
    for share in (1.0, 0.25, 0.0):
        state, step, _ = start(Weights(e2e=1.0, e2e_to_translator=share))
        _, scalars = step(state, make_batch(0), KEY)
        norms[share] = [float(scalars[f"gradient_norm/{n}"]) for n in ("depth", "translator")]
    assert norms[0.0][1] == 0
    assert norms[0.25][1] == pytest.approx(0.25 * norms[1.0][1], rel=1e-3)
    for share in (0.25, 0.0):
        assert norms[share][0] == pytest.approx(norms[1.0][0], rel=1e-4)


def test_mutual_learning_stays_where_depth_is_and_can_count_classes_alike():
    """Without augmentation, so that the test knows the pixels."""
    batch = make_batch(ROWS)
    still = dataclasses.replace(AUGMENT, scales=(1.0,), flip=0.0, rotate=0.0, jitter=0.0)
    terms = {}
    for where, mean in (("frame", "pixels"), ("support", "pixels"), ("frame", "classes")):
        init, step, _ = make(Weights(mutual=1.0, mutual_where=where, mutual_mean=mean))
        step = jax.jit(functools.partial(step, augment=still))
        state = jax.jit(init)(jax.random.key(0))
        terms[where, mean] = float(step(state, batch, KEY)[1]["loss/mutual"])
        if where == "support":
            # Nothing is taught where there is no depth at all.
            empty = batch | {"depth": np.zeros_like(batch["depth"])}
            assert step(state, empty, KEY)[1]["loss/mutual"] == 0
    assert len(set(terms.values())) == 3
    assert all(term > 0 for term in terms.values())


def test_rows_drawn_for_their_depth_teach_from_depth_alone():
    """Without augmentation; what changes in rows shows in the terms that see them."""
    own, rest = np.arange(1, ROWS, 2), np.arange(0, ROWS, 2)
    batch = make_batch(ROWS)
    batch["has_depth"] = np.isin(np.arange(ROWS), own)
    still = dataclasses.replace(AUGMENT, scales=(1.0,), flip=0.0, rotate=0.0, jitter=0.0)
    weights = Weights(rgb=1.0, depth=1.0, e2e=1.0, mutual=1.0, translation=1.0)
    init, step, nets = make(dataclasses.replace(weights, depth_rows=tuple(own.tolist())))
    step = jax.jit(functools.partial(step, augment=still))
    state = jax.jit(init)(jax.random.key(0))

    def terms(changes, rows):
        changed = batch | {k: batch[k].copy() for k in changes}
        for name in changes:
            top = CLASSES - 1 if name == "label" else 255
            changed[name][rows] = top - batch[name][rows]
        scalars = step(state, changed, KEY)[1]
        return {name[5:]: float(v) for name, v in scalars.items() if name.startswith("loss/")}

    before = terms((), own)
    assert all(before.values())

    def moved(changes, rows):
        after = terms(changes, rows)
        return {name for name in before if after[name] != before[name]}

    assert moved(("label",), own) == {"depth"}
    assert moved(("label",), rest) == {"rgb", "e2e"}
    # The pass over real and translated depth shares its batch statistics.
    assert moved(("depth",), own) == {"depth", "translation", "e2e", "mutual"}
    assert moved(("depth",), rest) == set()
    assert moved(("image",), rest) == set(before)

    heads, _ = nets.rgb.apply(
        {"params": state.params["rgb"], "batch_stats": state.batch_stats["rgb"]},
        augment_batch(KEY, jax.tree.map(jnp.asarray, batch), still)["image"][rest],
        train=True,
        mutable=["batch_stats"],
    )
    constants = {"auxiliary": 1.0, "threshold": 0.7, "min_fraction": 1 / 16}
    alone = losses.segmentation(heads, jnp.asarray(batch["label"][rest], jnp.int32), **constants)
    assert before["rgb"] == pytest.approx(float(alone), rel=1e-4)
