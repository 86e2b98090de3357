"""The training step: that all networks learn, that devices do not matter; evaluation's step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.evaluation.scoring import Scoring, eval_step
from faceparse_jax.models.inference import predict
from faceparse_jax.models.system import NETWORKS
from faceparse_jax.training.optim import join, parser_direction, rate
from tests.support.steps import (
    CLASSES,
    FULL,
    KEY,
    ROWS,
    SIZE,
    make,
    make_batch,
    over,
    same,
    start,
)


@pytest.fixture(scope="module")
def full():
    init, step, system = make(FULL, real=True, ema=0.9)
    step, whole = over(1, step)
    return jax.jit(init, out_shardings=whole)(jax.random.key(0)), step, system


def test_every_network_learns_and_every_term_is_reported(full):
    state, step, _ = full
    new, scalars = step(state, make_batch(4), KEY)
    for name in NETWORKS:
        assert not same(new.params[name], state.params[name]), name
        assert scalars[f"gradient_norm/{name}"] > 0
    terms = ("rgb", "depth", "e2e", "mutual", "translation", "adversarial")
    total = sum(FULL[term] * scalars[f"loss/{term}"] for term in terms)
    assert scalars["loss"] == pytest.approx(float(total), rel=1e-5)
    assert scalars["batch/with_depth"] == 0.5
    assert scalars["rate/rgb"] == pytest.approx(0.01)


def test_same_key_same_numbers(full):
    state, step, _ = full
    assert same(step(state, make_batch(), KEY), step(state, make_batch(), KEY))
    other = step(state, make_batch(), jax.random.key(2))
    assert not same(step(state, make_batch(), KEY)[0].params, other[0].params)


def test_running_average_by_hand(full):
    state, step, _ = full
    new, _ = step(state, make_batch(), KEY)
    decay = 1 / 10  # the ramp (1 + 0) / (10 + 0) lies below 0.9
    expected = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.params, new.params)
    for got, want in zip(
        jax.tree.leaves(new.ema["params"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)
    assert new.variables()["rgb"]["params"] is new.ema["params"]["rgb"]


def test_batch_without_depth_is_finite_and_moves_what_it_can(full):
    state, step, _ = full
    new, scalars = step(state, make_batch(0), KEY)
    assert all(np.all(np.isfinite(v)) for v in jax.tree.leaves(scalars))
    assert scalars["seen"]["batches_without_depth"] == 1
    for term in ("depth", "translation", "adversarial", "discriminator"):
        assert scalars[f"loss/{term}"] == 0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(new.params))
    # Translated depth still teaches the depth parser.
    assert scalars["loss/e2e"] > 0
    assert scalars["gradient_norm/depth"] > 0


def test_without_depth_the_statistics_are_those_of_translated_depth():
    """As if there were no term of real depth."""
    found = []
    for weights in ({"depth": 1.0, "e2e": 1.0}, {"e2e": 1.0}):
        state, step, _ = start(weights)
        new, scalars = step(state, make_batch(0), KEY)
        found.append((scalars["loss/e2e"], new.batch_stats["depth"], new.params["translator"]))
    for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_every_pixel_ignored_is_finite(full):
    state, step, _ = full
    batch = make_batch() | {"label": np.full((ROWS, SIZE, SIZE), 255, np.uint8)}
    new, scalars = step(state, batch, KEY)
    assert scalars["seen"]["rows_without_label"] == ROWS
    # What needs no label goes on: photographs without one teach translator and parsers.
    assert scalars["loss/rgb"] == scalars["loss/depth"] == scalars["loss/e2e"] == 0
    assert scalars["loss/translation"] > 0
    assert scalars["loss/mutual"] > 0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(new))


def test_loss_falls(full):
    state, step, _ = full
    terms = ("loss/rgb", "loss/depth", "loss/e2e", "loss/translation")
    history = []
    for _ in range(40):
        state, scalars = step(state, make_batch(), KEY)
        history.append([float(scalars[term]) for term in terms])
    before, after = np.mean(history[:3], axis=0), np.mean(history[-3:], axis=0)
    # Blocks of 8 px at random scales, seen at a resolution of 1/8: segmentation falls slowly.
    assert np.all(after[:3] < 0.9 * before[:3])
    assert after[3] < 0.5 * before[3]


def test_one_and_eight_devices_agree():
    init, step, _ = make(FULL, ema=0.9)
    state = jax.jit(init)(jax.random.key(0))
    (on_one, _), (on_eight, whole) = over(1, step), over(8, step)
    results = [
        jax.device_get(on_one(state, make_batch(5), KEY)),
        jax.device_get(on_eight(jax.device_put(state, whole), make_batch(5), KEY)),
    ]
    (one, one_scalars), (eight, eight_scalars) = results
    # Counts are integers: equal to the last.
    jax.tree.map(np.testing.assert_array_equal, one_scalars.pop("seen"), eight_scalars.pop("seen"))
    for name, value in one_scalars.items():
        np.testing.assert_allclose(value, eight_scalars[name], rtol=2e-4, atol=1e-5, err_msg=name)
    for a, b in zip(
        jax.tree.leaves(one.batch_stats), jax.tree.leaves(eight.batch_stats), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_rate_that_is_reported_is_the_one_applied():
    """Plain gradient steps: the change is the rate times the gradient, whose norm is told."""
    init, step, _ = make({"rgb": 1.0})
    plain = parser_direction("sgd", momentum=0.0, weight_decay=0.0, head_factor=1.0)
    rates = {"rgb": rate("poly", 0.01, 50, warmup_steps=10, warmup_rate=1e-4)}
    optimizer = join({"rgb": plain}, rates)
    step = jax.jit(functools.partial(step, optimizer=optimizer))
    state = jax.jit(functools.partial(init, optimizer=optimizer))(jax.random.key(0))
    for _ in range(3):
        new, scalars = step(state, make_batch(), KEY)
        moved = jax.tree.map(jnp.subtract, new.params, state.params)
        norm = np.sqrt(sum(float(jnp.sum(jnp.square(x))) for x in jax.tree.leaves(moved)))
        applied = norm / float(scalars["gradient_norm/rgb"])
        assert applied == pytest.approx(float(scalars["rate/rgb"]), rel=1e-3)
        state = new


def test_depth_statistics_ignore_rows_without_depth():
    state, step, _ = start({"depth": 1.0})
    none, scalars = step(state, make_batch(0), KEY)
    assert same(none.batch_stats, state.batch_stats)
    assert scalars["loss/depth"] == 0
    # Noise in rows that are marked as having no depth changes nothing.
    clean, noisy = make_batch(4), make_batch(4)
    noisy["depth"][4:] = 77
    assert same(step(state, clean, KEY)[0], step(state, noisy, KEY)[0])


def test_split_statistics_and_bfloat16():
    weights = {"rgb": 1.0, "depth": 1.0, "e2e": 1.0, "mutual": 1.0, "translation": 1.0}
    state, step, system = start(weights, split=True, dtype=jnp.bfloat16)
    new, scalars = step(state, make_batch(4), KEY)
    assert np.isfinite(scalars["loss"])
    assert not same(new.batch_stats["depth"], new.batch_stats["depth_translated"])
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((new.params, new.batch_stats)))
    batch = {k: jnp.asarray(v) for k, v in make_batch(4).items() if k != "label"}
    out = jax.jit(functools.partial(predict, system=system))(new.variables(), batch)
    assert set(out) == {"rgb", "depth", "depth_translated", "fusion", "translated"}


def test_routes_follow_networks_and_inputs(full):
    state, _, system = full
    batch = make_batch(4)
    inputs = {k: jnp.asarray(batch[k]) for k in ("image", "depth", "has_depth")}
    routes = jax.jit(functools.partial(predict, system=system))
    out = routes(state.variables(), inputs)
    for row, second in ((0, "depth"), (7, "depth_translated")):
        mean = 0.5 * (out["rgb"][row] + out[second][row])
        np.testing.assert_allclose(out["fusion"][row], mean, atol=1e-6)
    np.testing.assert_allclose(out["fusion"].sum(-1), 1, atol=1e-5)
    image_only = routes(state.variables(), {"image": inputs["image"]})
    assert set(image_only) == {"rgb", "depth_translated", "fusion", "translated"}
    depth_only = routes(state.variables(), {k: inputs[k] for k in ("depth", "has_depth")})
    assert set(depth_only) == {"depth"}


def test_evaluation_counts_each_pixel_of_valid_rows_once(full):
    state, _, system = full
    batch = make_batch(3) | {"mask": np.arange(ROWS) < 6}
    batch["label"] = np.kron(batch["label"], np.ones((2, 2), int)).astype(np.uint8)
    batch["label"][0, :4] = 255
    batch["size"] = np.full((ROWS, 2), 2 * SIZE, np.int32)
    batch["window"] = np.tile(np.int32((0, 0, SIZE, SIZE)), (ROWS, 1))
    counts, _ = jax.jit(functools.partial(eval_step, system=system, scoring=Scoring(CLASSES)))(
        state.variables(), batch
    )
    pixels = (2 * SIZE) ** 2
    ignored = 4 * 2 * SIZE
    assert counts["rgb"]["confusion"].sum() == 6 * pixels - ignored
    assert counts["depth"]["confusion"].sum() == 3 * pixels - ignored  # rows with depth only
    assert counts["fusion"]["confusion"].dtype == jnp.int32


@pytest.mark.parametrize("paired", [False, True])
def test_nothing_but_sums_crosses_devices(paired):
    """On the program that is compiled for eight devices."""
    init, step, _ = make(FULL, ema=0.9)
    step, _ = over(8, step)
    batch = make_batch(5) | ({"paired": make_batch(3)} if paired else {})
    state = jax.eval_shape(init, KEY)
    program = step.lower(state, batch, KEY).compile().as_text()
    assert "all-reduce" in program
    for collective in ("all-to-all", "collective-permute", "all-gather"):
        assert collective not in program, collective
