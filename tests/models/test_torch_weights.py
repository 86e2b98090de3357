"""Public PyTorch weights: the golden outputs, and that no tensor goes unnoticed."""

import functools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.errors import InputError
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.torch_weights import from_torch_state, torch_names
from faceparse_jax.runtime.forms import forms_for
from tests.support.places import GOLDEN, SHARED

# Every 5th row and column of the public network's logits; weights and input by recipe.
SLICE = GOLDEN / "bisenet_resnet18_slice.npz"
WHOLE = SHARED / "golden" / "bisenet_resnet18_zllrunning.npz"
HEADS = ("out", "out16", "out32")


def recipe(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.int64(1)
    if len(shape) == 4:
        value = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith(("running_var", ".weight")):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.standard_normal(shape) * 0.1
    return value.astype(np.float32)


@functools.cache
def state():
    golden = np.load(SLICE)
    shapes = [json.loads(str(shape)) for shape in golden["shapes"]]
    names = [str(name) for name in golden["keys"]]
    return {name: recipe(name, shape) for name, shape in zip(names, shapes, strict=True)}


@functools.cache
def logits(form):
    params, batch_stats = from_torch_state(state())
    x = np.random.default_rng(64 * 1000 + 96).standard_normal((2, 64, 96, 3))
    x = jnp.asarray(x, jnp.float32)
    with forms_for("cpu" if form == "cpu" else "gpu"):
        run = jax.jit(BiSeNet(19).apply)
        return jax.device_get(run({"params": params, "batch_stats": batch_stats}, x))


@pytest.mark.parametrize("form", ["cpu", "plain"])
def test_slice_of_the_public_network(form):
    golden = np.load(SLICE)
    for name, got in zip(HEADS, logits(form), strict=True):
        want = golden[name]
        assert np.abs(got[:, 3::5, 2::5] - want).max() <= 1e-4 * np.abs(want).max(), name


def test_whole_output_of_the_public_network():
    if not WHOLE.exists():
        pytest.skip(f"no golden file at {WHOLE}; FACEPARSE_SHARED names the folder above")
    golden = np.load(WHOLE)
    for name, got in zip(HEADS, logits("cpu"), strict=True):
        want = golden[f"{name}_64x96"]
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), name


def test_wrong_names_and_shapes_are_all_listed():
    changed = dict(state())
    del changed["ffm.conv1.weight"], changed["cp.arm16.conv.bn.running_var"]
    changed["extra.weight"] = np.zeros(3)
    with pytest.raises(InputError) as error:
        from_torch_state(changed)
    for name in ("ffm.conv1.weight", "cp.arm16.conv.bn.running_var", "extra.weight"):
        assert name in str(error.value)

    changed = dict(state())
    changed["ffm.conv1.weight"] = np.zeros((64, 128, 1, 1))
    changed["cp.resnet.bn1.bias"] = np.zeros(65)
    with pytest.raises(InputError) as error:
        from_torch_state(changed)
    assert "ffm.conv1.weight" in str(error.value)
    assert "cp.resnet.bn1.bias" in str(error.value)
    with pytest.raises(InputError, match=r"cp\.resnet\.layer1\.2"):
        from_torch_state(state(), backbone=34)


@pytest.mark.parametrize("backbone", [18, 34, 50])
def test_names_cover_every_parameter_and_statistic(backbone):
    shapes = jax.eval_shape(
        BiSeNet(19, backbone).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    here = {(path[0].key, tuple(part.key for part in path[1:])) for path, _ in leaves}
    assert here == set(torch_names(backbone))


def test_names_are_those_of_the_public_state():
    counters = {name for name in state() if name.endswith("num_batches_tracked")}
    assert set(torch_names(18).values()) == set(state()) - counters
    assert len(counters) == 31


def test_other_numbers_of_classes_and_channels():
    changed = dict(state())
    changed["cp.resnet.conv1.weight"] = changed["cp.resnet.conv1.weight"][:, :1]
    for name in ("conv_out", "conv_out16", "conv_out32"):
        changed[f"{name}.conv_out.weight"] = changed[f"{name}.conv_out.weight"][:11]
    params, _ = from_torch_state(changed)
    assert params["backbone"]["stem"]["conv"]["kernel"].shape == (7, 7, 1, 64)
    assert params["head"]["classify"]["kernel"].shape == (1, 1, 256, 11)
