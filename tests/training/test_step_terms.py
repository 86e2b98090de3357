"""The terms of the step: which rows, networks and steps each of them reaches, and at what cost."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import pytest

from faceparse_jax.data.augment import augment_batch
from faceparse_jax.training import losses
from faceparse_jax.training.objective import schedule
from tests.support.steps import AUGMENT, CLASSES, KEY, ROWS, make, make_batch, same, start


def flops(weights):
    init, step, _ = make(weights, real=True)
    state = jax.eval_shape(init, KEY)
    lowered = jax.jit(step).lower(state, make_batch(), KEY)
    return lowered.cost_analysis()["flops"], state


def test_a_zero_weight_costs_nothing():
    rgb, rgb_state = flops({"rgb": 1.0})
    both, both_state = flops({"rgb": 1.0, "depth": 1.0})
    taught, _ = flops({"rgb": 1.0, "depth": 1.0, "mutual": 1.0})
    assert tuple(rgb_state.params) == ("rgb",)
    assert set(both_state.params) == {"rgb", "depth"}
    # Depth has one input channel, so its parser costs slightly less than the RGB one.
    assert 1.5 * rgb < both < 2.0 * rgb
    # Mutual learning without a translator adds arithmetic on logits, no pass of a network.
    assert both < taught < 1.05 * both


def test_end_to_end_term_reaches_the_translator_and_follows_its_schedule():
    weights = {"depth": 1.0, "e2e": ((0, 2.0), (2, 1.0), (3, 0.0))}
    state, step, _ = start(weights)
    assert set(state.params) == {"depth", "translator"}
    first = state
    for weight in (2.0, 1.5, 1.0, 0.0, 0.0):
        state, scalars = step(state, make_batch(0), KEY)
        expected = scalars["loss/depth"] + weight * scalars["loss/e2e"]
        assert scalars["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert not same(state.params["translator"], first.params["translator"])
    assert not same(state.params["depth"], first.params["depth"])


def test_a_schedule_is_flat_outside_its_points_and_holds_no_array_of_a_device():
    """A step that closes over such an array fetches it when it is lowered."""
    points = schedule(((2, 1.0), (4, 3.0)))
    assert [float(points(step)) for step in (0, 2, 3, 4, 9)] == [1.0, 1.0, 2.0, 3.0, 3.0]
    assert not any(isinstance(cell.cell_contents, jax.Array) for cell in points.__closure__)


def test_a_term_whose_schedule_is_zero_throughout_has_no_network():
    assert set(start({"rgb": 1.0, "e2e": ((0, 0.0), (5, 0.0))})[0].params) == {"rgb"}


@pytest.mark.parametrize("student", ["rgb", "depth"])
def test_only_the_student_of_mutual_learning_moves(student):
    state, step, _ = start({"mutual": 1.0}, mutual_students=student)
    _, scalars = step(state, make_batch(), KEY)
    for net in ("rgb", "depth"):
        assert (scalars[f"gradient_norm/{net}"] > 0) == (net == student)


def test_mutual_learning_can_count_classes_alike():
    found = []
    for mean in ("pixels", "classes"):
        state, step, _ = start({"mutual": 1.0}, mutual_mean=mean)
        found.append(float(step(state, make_batch(), KEY)[1]["loss/mutual"]))
    assert found[0] > 0
    assert found[1] > 0
    assert found[0] != pytest.approx(found[1], rel=1e-3)


def test_paired_rows_teach_from_depth_alone():
    """Without augmentation; what changes in rows shows in the terms that see them."""
    still = dataclasses.replace(AUGMENT, scales=(1.0,), flip=0.0, rotate=0.0, jitter=0.0)
    weights = {"rgb": 1.0, "depth": 1.0, "e2e": 1.0, "mutual": 1.0, "translation": 1.0}
    init, step, system = make(weights)
    step = jax.jit(functools.partial(step, augment=still))
    state = jax.jit(init)(jax.random.key(0))
    first, paired = make_batch(0), {k: v[: ROWS // 2] for k, v in make_batch(seed=1).items()}

    def terms(change="", where=""):
        batch = first | {"paired": paired}
        if change:
            top = CLASSES - 1 if change == "label" else 255
            rows = paired if where == "paired" else first
            changed = rows | {change: top - rows[change]}
            batch = batch | ({"paired": changed} if where == "paired" else changed)
        scalars = step(state, batch, KEY)[1]
        return {name[5:]: float(v) for name, v in scalars.items() if name.startswith("loss/")}

    before = terms()
    assert all(before.values())

    def moved(change, where):
        after = terms(change, where)
        return {name for name in before if after[name] != before[name]}

    assert moved("label", "paired") == {"depth"}
    assert moved("label", "first") == {"rgb", "e2e"}
    # The pass over real and translated depth shares its batch statistics.
    assert moved("depth", "paired") == {"depth", "translation", "e2e", "mutual"}
    assert moved("depth", "first") == set()  # its rows have no depth
    # The translator's statistics are those of all rows.
    assert moved("image", "first") == set(before)
    assert moved("image", "paired") == set(before) - {"rgb"}

    heads, _ = system.rgb.apply(
        {"params": state.params["rgb"], "batch_stats": state.batch_stats["rgb"]},
        augment_batch(KEY, jax.tree.map(jnp.asarray, first), still)["image"],
        train=True,
        mutable=["batch_stats"],
    )
    constants = {"auxiliary": 1.0, "threshold": 0.7, "min_fraction": 1 / 16}
    alone = losses.segmentation(heads, jnp.asarray(first["label"], jnp.int32), **constants)
    assert before["rgb"] == pytest.approx(float(alone), rel=1e-4)
