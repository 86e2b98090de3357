"""What each pass of the networks sees, and what counts in its statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.models.inference import inference_variables, predict
from faceparse_jax.models.layers import BatchNorm
from faceparse_jax.models.system import System, all_rows, apart, beside, forward

CLASSES, SIDE = 3, 4
KEY = jax.random.key(0)


class NormalisedParser(nn.Module):
    """Logits are the normalised first channel, times 1, 2, 3: they show the statistics used."""

    @nn.compact
    def __call__(self, x, train=False):
        x = BatchNorm(name="norm")(x[..., :1], train)
        return tuple(x * jnp.arange(1.0, CLASSES + 1) for _ in range(3))

    def heads(self, x, train=False):
        return self(x, train)


class RedTranslator(nn.Module):
    """The first channel of the image, times a parameter, as depth."""

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("gain", nn.initializers.ones, ()) * x[..., :1]


def make(split=False, frozen=False, translator=True):
    system = System(
        rgb=NormalisedParser(),
        depth=NormalisedParser(),
        translator=RedTranslator() if translator else None,
        depth_channels=1,
        split_statistics=split,
        frozen_translator=frozen,
    )
    return system, *system.init(KEY, SIDE)


def rows(seed, has_depth):
    rng = np.random.default_rng(seed)
    count = len(has_depth)
    depth = rng.normal(size=(count, SIDE, SIDE, 1)) + 5
    there = np.reshape(has_depth, (-1, 1, 1, 1))
    return {
        "image": jnp.asarray(rng.normal(size=(count, SIDE, SIDE, 3)), jnp.float32),
        "depth": jnp.asarray(np.where(there, depth, -1.0), jnp.float32),
        "label": jnp.asarray(rng.integers(0, CLASSES, (count, SIDE, SIDE))),
        "has_depth": jnp.asarray(has_depth, bool),
        "frame": jnp.ones((count, SIDE, SIDE), bool),
    }


def normalised(values, mean, var):
    return (values - mean) / np.sqrt(var + 1e-5)


TERMS = ("rgb", "depth", "e2e", "mutual", "translation")


def test_shared_statistics_weigh_real_and_translated_depth_alike():
    system, params, stats = make()
    batch = rows(0, [1, 0, 0, 1])
    out, new = forward(system, params, stats, batch, KEY, TERMS)
    real, fake = np.asarray(batch["depth"])[[0, 3]], np.asarray(batch["image"])[..., :1]
    mean = (real.mean() + fake.mean()) / 2
    var = ((real**2).mean() + (fake**2).mean()) / 2 - mean**2
    np.testing.assert_allclose(
        out.real[0][[0, 3], ..., :1], normalised(real, mean, var), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        out.fake[0][..., :1], normalised(fake, mean, var), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(new["depth"]["norm"]["mean"], 0.1 * mean, rtol=1e-5)
    # Mutual learning compares with real depth where there is some.
    np.testing.assert_array_equal(out.peer[0], out.real[0][0])
    np.testing.assert_array_equal(out.peer[1], out.fake[0][1])
    assert out.peer_mask.all()
    np.testing.assert_allclose(out.translated, fake, rtol=1e-6)


def test_without_any_depth_the_statistics_are_those_of_translated_depth():
    system, params, stats = make()
    batch = rows(1, [0, 0])
    out, new = forward(system, params, stats, batch, KEY, TERMS)
    alone, of_fake = forward(system, params, stats, batch, KEY, ("e2e",))
    np.testing.assert_allclose(out.fake[0], alone.fake[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        new["depth"]["norm"]["mean"], of_fake["depth"]["norm"]["mean"], rtol=1e-5
    )


def test_without_depth_and_translator_nothing_is_remembered():
    system, params, stats = make(translator=False)
    _, new = forward(system, params, stats, rows(1, [0, 0]), KEY, ("rgb", "depth"))
    jax.tree.map(np.testing.assert_array_equal, new["depth"], stats["depth"])
    assert new["rgb"]["norm"]["mean"] != stats["rgb"]["norm"]["mean"]


def test_split_statistics_keep_the_two_kinds_of_depth_apart():
    system, params, stats = make(split=True)
    batch = rows(2, [1, 1, 0])
    out, new = forward(system, params, stats, batch, KEY, TERMS)
    real, fake = np.asarray(batch["depth"])[:2], np.asarray(batch["image"])[..., :1]
    for values, name in ((real, "depth"), (fake, "depth_translated")):
        np.testing.assert_allclose(new[name]["norm"]["mean"], 0.1 * values.mean(), rtol=1e-4)
    np.testing.assert_allclose(
        out.real[0][:2, ..., :1], normalised(real, real.mean(), real.var()), rtol=1e-3, atol=1e-4
    )
    variables = inference_variables(params, new)
    assert variables["depth_translated"]["params"] is params["depth"]
    image = jnp.zeros((1, SIDE, SIDE, 3), jnp.uint8)
    inputs = {"image": image, "depth": image[..., :1], "has_depth": jnp.ones(1, bool)}
    found = predict(variables, inputs, system=system)
    assert set(found) == {"rgb", "depth", "depth_translated", "fusion", "translated"}


def test_paired_rows_reach_the_depth_parser_on_real_depth_and_the_translator():
    system, params, stats = make()
    first, paired = rows(3, [1, 0, 1, 0]), rows(4, [1, 1])
    out, _ = forward(system, params, stats, first | {"paired": paired}, KEY, TERMS)
    assert len(out.rgb[0]) == len(out.fake[0]) == len(out.peer) == 4
    assert len(out.real[0]) == 2
    # The parsers agree on translated depth alone: the first batch's own depth teaches nothing.
    np.testing.assert_array_equal(out.peer, out.fake[0])
    images = np.asarray(all_rows(first | {"paired": paired})["image"])
    np.testing.assert_allclose(out.translated, images[..., :1], rtol=1e-6)
    assert len(images) == 6


def test_a_frozen_translator_gets_no_gradient_and_keeps_its_statistics():
    for frozen in (False, True):
        system, params, stats = make(frozen=frozen)

        def loss(params, system=system, stats=stats):
            out, _ = forward(system, params, stats, rows(5, [0, 0]), KEY, ("e2e",))
            return jnp.sum(out.translated * jnp.arange(2.0)[:, None, None, None])

        assert bool(jax.grad(loss)(params)["translator"]["gain"] == 0) == frozen


def test_no_pass_runs_that_no_term_needs():
    system, params, stats = make()
    out, new = forward(system, params, stats, rows(6, [1, 1]), KEY, ("rgb",))
    assert out.real is out.fake is out.peer is None
    jax.tree.map(np.testing.assert_array_equal, new["depth"], stats["depth"])


@pytest.mark.parametrize(("first", "second"), [(4, 4), (8, 4), (4, 8), (6, 4), (1, 3)])
def test_rows_beside_each_other_come_apart_again(first, second):
    a, b = jnp.arange(first * 2).reshape(first, 2), -1 - jnp.arange(second * 2).reshape(second, 2)
    joined = beside(a, b)
    assert sorted(map(tuple, joined.tolist())) == sorted(map(tuple, [*a.tolist(), *b.tolist()]))
    again = apart(joined, first)
    np.testing.assert_array_equal(again[0], a)
    np.testing.assert_array_equal(again[1], b)
