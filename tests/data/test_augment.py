"""Augmentation: image, depth and label move together, labels stay in their set."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.data import augment as A
from faceparse_jax.images import normalise as N
from faceparse_jax.labels import CELEBAMASK_HQ, IGNORE
from faceparse_jax.runtime.forms import forms_for

RNG = np.random.default_rng(1)
MIRROR = CELEBAMASK_HQ.mirror
SIZE = 16


@pytest.fixture(autouse=True, params=["cpu", "tpu"])
def form(request):
    """Pixels are gathered, or made by products of matrices."""
    with forms_for(request.param):
        yield request.param


def batch(rows=4, size=SIZE):
    label = RNG.integers(0, 19, (rows, size, size)).astype(np.uint8)
    # Depth and colour repeat the label, so that any disagreement shows.
    depth = np.where(label > 0, 100 + label, 0)[..., None].astype(np.uint8)
    image = np.repeat(label[..., None] * 10, 3, -1)
    has_depth = np.ones(rows, bool)
    return {"image": image, "depth": depth, "label": label, "has_depth": has_depth}


def run(seed, data, **options):
    config = A.Augment(mirror=MIRROR, **options)
    arrays = {name: jnp.asarray(value) for name, value in data.items()}
    augment = jax.jit(functools.partial(A.augment_batch, augment=config))
    return jax.device_get(augment(jax.random.key(seed), arrays))


def test_identity_without_any_change():
    data = batch()
    out = run(0, data, crop=SIZE)
    np.testing.assert_array_equal(out["label"], data["label"])
    image = N.normalise_image(jnp.asarray(data["image"]))
    depth = N.normalise_depth(jnp.asarray(data["depth"]))
    np.testing.assert_allclose(out["image"], image, atol=1e-6)
    np.testing.assert_allclose(out["depth"], depth, atol=1e-6)


def test_16_bit_depth_is_augmented_as_its_8_bit_twin_and_keeps_finer_steps():
    data = batch()
    wide = data | {"depth": data["depth"].astype(np.uint16) * 257}
    options = {"crop": 12, "scales": (0.75, 1.5), "rotate": 10.0, "flip": 0.5}
    narrow, deep = run(1, data, **options), run(1, wide, **options)
    np.testing.assert_allclose(deep["depth"], narrow["depth"], atol=1e-5)
    np.testing.assert_array_equal(deep["label"], narrow["label"])
    finer = data | {"depth": np.where(wide["depth"] > 0, wide["depth"] + 100, 0).astype(np.uint16)}
    step = run(0, finer, crop=SIZE)["depth"] - run(0, wide, crop=SIZE)["depth"]
    expected = np.where(data["depth"] > 0, 100 / 65535 * 2, 0)
    np.testing.assert_allclose(step, expected, atol=1e-6)


def test_flip_is_an_involution_and_swaps_sides():
    data = batch()
    once = run(0, data, crop=SIZE, flip=1.0)
    expected = np.asarray(MIRROR)[data["label"][:, :, ::-1]]
    np.testing.assert_array_equal(once["label"], expected)
    again = {
        "image": data["image"][:, :, ::-1],
        "depth": data["depth"][:, :, ::-1],
        "label": once["label"].astype(np.uint8),
        "has_depth": data["has_depth"],
    }
    twice = run(0, again, crop=SIZE, flip=1.0)
    np.testing.assert_array_equal(twice["label"], data["label"])
    np.testing.assert_allclose(twice["depth"], N.normalise_depth(jnp.asarray(data["depth"])))


def test_crop_is_a_window_of_the_input():
    data = batch(rows=8)
    out = run(3, data, crop=9)
    starts = set()
    for i in range(8):
        windows = np.lib.stride_tricks.sliding_window_view(data["label"][i], (9, 9))
        hits = np.argwhere((windows == out["label"][i]).all((-1, -2)))
        assert len(hits) == 1
        starts.add(tuple(hits[0]))
    assert len(starts) > 1  # rows draw their own crop


@pytest.mark.parametrize("seed", range(4))
def test_everything_moves_together(seed):
    options = {"scales": (0.5, 1.5, 2.0), "flip": 0.5, "rotate": 30.0}
    # Large flat blocks: inside one, interpolation returns the block's value.
    blocks = np.kron(RNG.integers(1, 19, (4, 2, 2)), np.ones((8, 8), int)).astype(np.uint8)
    data = batch()
    data["label"] = blocks
    data["depth"] = (100 + blocks)[..., None]
    data["image"] = np.repeat(blocks[..., None] * 10, 3, -1)
    out = run(seed, data, crop=12, **options)
    inside = out["label"] != IGNORE
    assert set(np.unique(out["label"][inside])) <= set(range(19))
    depth = (out["depth"][..., 0] + 1) * 127.5
    colour = (out["image"] * N.IMAGE_STD + N.IMAGE_MEAN)[..., 0] * 25.5
    # Depth and colour share their weights; undoing the mirror makes labels agree too.
    np.testing.assert_allclose((depth - 100)[inside], colour[inside], atol=1e-2)
    unmirrored = np.asarray(MIRROR)[np.where(inside, out["label"], 0)]
    whole = inside & (np.abs(colour - np.round(colour)) < 1e-3)
    same = (out["label"] == np.round(colour)) | (unmirrored == np.round(colour))
    assert same[whole].mean() > 0.8  # a blend of two blocks may land on an integer


def test_outside_the_frame_is_ignored():
    out = run(0, batch(), crop=2 * SIZE, scales=(1.0,))
    inside = out["label"] != IGNORE
    assert inside.sum() == 4 * SIZE * SIZE
    assert np.all(out["depth"][~inside] == N.NO_DEPTH)
    assert np.all(out["image"][~inside] == 0)


def test_no_depth_never_mixes_into_depth():
    data = batch()
    data["depth"] = np.where(RNG.random((4, SIZE, SIZE, 1)) < 0.5, 0, 200).astype(np.uint8)
    out = run(5, data, crop=12, scales=(0.7, 1.6), rotate=20.0)
    values = (out["depth"] + 1) * 127.5
    assert np.all((np.abs(values) < 1e-3) | (np.abs(values - 200) < 1e-2))


def test_jitter_stays_in_range_and_leaves_label_and_depth():
    data = batch()
    plain, jittered = run(2, data, crop=SIZE), run(2, data, crop=SIZE, jitter=0.5)
    np.testing.assert_array_equal(plain["label"], jittered["label"])
    np.testing.assert_array_equal(plain["depth"], jittered["depth"])
    assert not np.allclose(plain["image"], jittered["image"])
    restored = jittered["image"] * N.IMAGE_STD + N.IMAGE_MEAN
    assert restored.min() > -1e-5
    assert restored.max() < 1 + 1e-5


def test_a_row_does_not_depend_on_the_batch_around_it():
    data = batch(rows=4)
    options = {"crop": 12, "scales": (0.75, 1.5), "flip": 0.5, "rotate": 10.0, "jitter": 0.5}
    full = run(7, data, **options)
    half = run(7, {k: v[:2] for k, v in data.items()}, **options)
    for name in ("image", "depth", "label"):
        np.testing.assert_array_equal(full[name][:2], half[name])


def test_depth_round_trip():
    depth = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(N.depth_to_u8(N.normalise_depth(depth)), depth)
    assert N.normalise_depth(depth)[0, 0, 0, 0] == N.NO_DEPTH


@pytest.mark.parametrize(
    ("size", "crop", "rotate", "scales", "dtype"),
    [
        (96, 80, 10.0, (0.75, 1.0, 2.0), np.uint8),
        (64, 96, 180.0, (0.5, 1.3), np.uint16),
        (50, 33, 0.0, (1.0,), np.uint8),
        (20, 112, 30.0, (0.2, 3.0), np.uint16),
    ],
)
@pytest.mark.parametrize("form", ["tpu"], indirect=True)
def test_products_of_matrices_give_what_gathers_give(size, crop, rotate, scales, dtype, form):
    """Labels, frame and presence of depth are equal, values to the rounding of positions."""
    shape = (3, size, size)
    depth = RNG.integers(0, np.iinfo(dtype).max + 1, (*shape, 1)) * (RNG.random((*shape, 1)) > 0.3)
    data = {
        "image": RNG.integers(0, 256, (*shape, 3), np.uint8),
        "depth": depth.astype(dtype),
        "label": RNG.integers(0, 19, shape, np.uint8),
        "has_depth": np.ones(3, bool),
    }
    options = {"crop": crop, "rotate": rotate, "scales": scales, "flip": 0.5}
    by_products = run(3, data, **options)
    with forms_for("cpu"):
        gathered = run(3, data, **options)
    for name in ("label", "frame"):
        np.testing.assert_array_equal(by_products[name], gathered[name])
    # A position is rounded at 1e-5 of a pixel; neighbours are up to 5 apart once normalised.
    for name in ("image", "depth"):
        np.testing.assert_allclose(by_products[name], gathered[name], atol=5e-4)
