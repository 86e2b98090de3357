"""Kinds of depth, and what is wrong with a map, on heads that are rendered."""

import numpy as np
import pytest

from faceparse_jax.data.synthetic.render import render_head
from faceparse_jax.errors import InputError
from faceparse_jax.images.depth import doubts, fault, levels_of, to_benchmark


@pytest.fixture(scope="module")
def heads():
    return [render_head(key, 64)["depth"][..., 0] for key in range(30)]


def deep(depth):
    return depth.astype(np.uint16) * 257


def millimetres(depth):
    return np.where(depth > 0, 600 + depth.astype(np.uint16), 0).astype(np.uint16)


def with_wall(depth):
    """Millimetres before a wall that is not quite straight."""
    wall = 1600 + np.add.outer(np.arange(len(depth)), np.arange(len(depth))) % 90
    return np.where(depth > 0, millimetres(depth), wall).astype(np.uint16)


def one_stray(depth):
    depth = millimetres(depth)
    depth[0, 0] = 5000
    return depth


def test_heads_in_the_benchmarks_form_are_not_doubted(heads):
    for depth in heads:
        for same in (depth, deep(depth)):
            assert fault(same) is None
            assert doubts(same) == []


@pytest.mark.parametrize(
    ("spoil", "option"),
    [
        (lambda d: np.where(d > 0, deep(d), 65535).astype(np.uint16), "--depth_missing=65535"),
        (lambda d: np.where(d > 0, d // 2 + 90, 1).astype(np.uint8), "--depth_missing=1 "),
        (lambda d: np.where(d > 0, d // 2, 255).astype(np.uint8), "--depth_missing=255"),
        (lambda d: np.where(d > 0, d, 255).astype(np.uint8), "--depth_missing=255"),
        (millimetres, "--depth_kind=metric"),
        (with_wall, "--depth_kind=metric"),
        (one_stray, "--depth_kind=metric"),
        (lambda d: d.astype(np.uint16), "--depth_kind=metric"),
        (lambda d: np.where(d > 0, 137, 0).astype(np.uint8), "another map"),
        (lambda d: np.full(d.shape, 90, np.uint8), "another map"),
    ],
)
def test_maps_that_cannot_be_in_that_form_name_what_mends_them(heads, spoil, option):
    told = [fault(spoil(depth)) for depth in heads]
    assert all(told)
    assert all(option in next_step for _, _, next_step in told)


def test_a_head_before_a_wall_in_8_bits_is_a_fault(heads):
    for depth in heads:
        rows, columns = np.indices(depth.shape)
        wall = 200 + (3 * rows + 5 * columns) % 50
        found, _, next_step = fault(np.where(depth > 0, depth // 4, wall).astype(np.uint8))
        assert "a head and a wall" in found
        assert "--depth_kind=metric" in next_step


def test_a_full_frame_and_an_inverted_head_are_doubted(heads):
    for depth in heads:
        inverted = np.where(depth > 0, 256 - depth.astype(int), 0).astype(np.uint8)
        assert fault(inverted) is None
    told = [
        doubts(np.where(depth > 0, 256 - depth.astype(int), 0).astype(np.uint8)) for depth in heads
    ]
    assert sum("--depth_kind=inverse" in " ".join(of) for of in told) >= 0.9 * len(heads)
    rows = np.indices((64, 64))[0]
    (doubt,) = doubts((80 + 2 * np.abs(rows - 32)).astype(np.uint8))
    assert "every pixel of the frame" in doubt


def test_doubts_never_name_the_option_that_was_given(heads):
    frame = 0.5 + 0.1 * np.hypot(*np.mgrid[-1:1:64j, -1:1:64j])
    for kind, values in (("metric", frame), ("inverse", 1 / frame)):
        (doubt,) = doubts(to_benchmark(values, kind)[0], kind)
        assert "every pixel of the frame" in doubt
        assert "--depth_kind" not in doubt
    made = [to_benchmark(depth.astype(float), "inverse")[0] for depth in heads]
    told = ["".join(doubts(depth, "inverse")) for depth in made]
    assert not any("--depth_kind=inverse" in doubt for doubt in told)
    assert sum("--depth_kind=metric" in doubt for doubt in told) >= 0.9 * len(heads)


@pytest.mark.parametrize("kind", ["metric", "inverse"])
def test_values_that_differ_in_their_last_bits_alone_are_compared(kind):
    values = 1e16 + 2 * np.add.outer(np.arange(16), np.arange(16))
    assert np.unique(to_benchmark(values, kind)[0]).size > 16


def test_metric_depth_keeps_the_head_and_loses_the_wall(heads):
    for depth in heads:
        made, kind = to_benchmark(with_wall(depth), "metric")
        assert kind == "metric"
        assert made.dtype == np.uint16
        assert ((made > 0) == (depth > 0)).mean() > 0.99
        there = (made > 0) & (depth > 0)
        assert np.corrcoef(made[there], depth[there])[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["metric", "inverse"])
def test_stray_pixels_before_the_face_change_little(heads, kind):
    """As sensors have them: 3 % of the pixels, anywhere, at 0.2 to 0.5 m."""
    rng = np.random.default_rng(0)
    for depth in heads:
        clean = with_wall(depth).astype(np.float32)
        stray = rng.random(depth.shape) < 0.03
        noisy = np.where(stray, rng.uniform(200, 500, depth.shape), clean).astype(np.float32)
        if kind == "inverse":
            clean, noisy = 1 / clean, 1 / noisy
        expected, made = (to_benchmark(values, kind)[0].astype(int) for values in (clean, noisy))
        assert ((made > 0) == (expected > 0)).mean() > 0.95
        both = (made > 0) & (expected > 0)
        assert np.abs(made - expected)[both].mean() < 0.03 * 65535


def test_the_head_gets_the_levels_that_are_asked_for(heads):
    levels = levels_of(heads)
    assert 0 < levels[0] < levels[1] < 1
    converted = [to_benchmark(millimetres(d), "metric", levels=levels)[0] for d in heads]
    np.testing.assert_allclose(levels_of(converted), levels, atol=0.01)
    assert levels_of([np.zeros((4, 4), np.uint8)]) is None


def test_a_unit_changes_nothing(heads):
    expected = to_benchmark(with_wall(heads[0]), "metric")[0]
    for factor in (1e-3, 0.1, 10, 3.3e-7):
        made = to_benchmark(with_wall(heads[0]) * factor, "metric")[0]
        np.testing.assert_allclose(made.astype(int), expected.astype(int), atol=1)


def test_no_depth_stays_no_depth():
    nothing = [np.nan, np.inf, -np.inf, -1, 0, 9]
    values = np.array([[*nothing, *np.linspace(0.5, 0.7, 50)]])
    made, _ = to_benchmark(values, "metric", missing=9)
    np.testing.assert_array_equal(made > 0, [[False] * 6 + [True] * 50])
    assert not to_benchmark(np.zeros((3, 3), np.float32), "auto")[0].any()
    with pytest.raises(InputError, match=r"the value 2\.5 .*some relief"):
        to_benchmark(np.full((3, 3), 2.5), "metric")
