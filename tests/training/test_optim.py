"""Schedules at given steps, and directions against torch.optim's arithmetic by hand."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from faceparse_jax.training import optim


def test_poly_with_exponential_warm_up():
    rate = optim.rate("poly", 1e-2, total_steps=1000, warmup_steps=100, warmup_rate=1e-5)
    assert rate(0) == pytest.approx(1e-5)
    assert rate(50) == pytest.approx(1e-5 * (1e-2 / 1e-5) ** 0.5)
    assert rate(100) == pytest.approx(1e-2)
    assert rate(550) == pytest.approx(1e-2 * 0.5**0.9)
    assert rate(1000) == 0


def test_cosine_and_constant():
    cosine = optim.rate("cosine", 1.0, total_steps=100)
    assert [float(cosine(s)) for s in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-6)
    constant = optim.rate("constant", 0.3, total_steps=100)
    assert [float(constant(s)) for s in (0, 99)] == pytest.approx([0.3, 0.3])


def test_zero_rate_stays_zero():
    assert optim.rate("poly", 0.0, 10)(3) == 0


def test_each_network_has_its_own_rate_and_a_frozen_translator_stays():
    """Against plain gradient steps by hand, through two steps of a warm-up."""
    plain = optim.parser_direction("sgd", momentum=0.0, weight_decay=0.0, head_factor=1.0)
    rates = {
        "rgb": optim.rate("constant", 0.5, 10, warmup_steps=2, warmup_rate=0.125),
        "translator": optim.rate("constant", 0.1, 10),
    }
    params = {"rgb": {"kernel": jnp.ones(2)}, "translator": {"kernel": jnp.ones(2)}}
    for frozen in (False, True):
        learn = {name: rates[name] for name in (("rgb",) if frozen else rates)}
        joined = optim.join(dict.fromkeys(learn, plain), learn, ("rgb", "translator"))
        update = joined.transform
        state, moved = update.init(params), params
        for _ in range(2):
            steps, state = update.update(params, state, moved)
            moved = optax.apply_updates(moved, steps)
        np.testing.assert_allclose(moved["rgb"]["kernel"], 1 - (0.125 + 0.25), rtol=1e-6)
        expected = 1.0 if frozen else 1 - 0.1 - 0.1
        np.testing.assert_allclose(moved["translator"]["kernel"], expected, rtol=1e-6)


PARAMS = {
    "backbone": {"conv": {"kernel": jnp.full((2,), 2.0), "bias": jnp.full((2,), 2.0)}},
    "head16": {"norm": {"scale": jnp.full((2,), 2.0)}},
}


def test_sgd_follows_torch_over_three_steps():
    direction = optim.parser_direction("sgd", momentum=0.9, weight_decay=0.1, head_factor=10.0)
    rate, state, params = 0.5, direction.init(PARAMS), PARAMS
    grads = {
        "backbone": {"conv": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}},
        "head16": {"norm": {"scale": jnp.ones(2)}},
    }
    kernel = bias = scale = 2.0
    kernel_buffer = plain_buffer = 0.0
    for _ in range(3):
        updates, state = direction.update(grads, state, params)
        params = optax.apply_updates(params, {k: _scaled(v, -rate) for k, v in updates.items()})
        kernel_buffer = 0.9 * kernel_buffer + (1.0 + 0.1 * kernel)
        plain_buffer = 0.9 * plain_buffer + 1.0
        kernel -= rate * kernel_buffer
        bias -= rate * plain_buffer
        scale -= 10 * rate * plain_buffer
    np.testing.assert_allclose(params["backbone"]["conv"]["kernel"], kernel, rtol=1e-5)
    np.testing.assert_allclose(params["backbone"]["conv"]["bias"], bias, rtol=1e-5)
    np.testing.assert_allclose(params["head16"]["norm"]["scale"], scale, rtol=1e-5)


def _scaled(tree, factor):
    if isinstance(tree, dict):
        return {k: _scaled(v, factor) for k, v in tree.items()}
    return factor * tree
