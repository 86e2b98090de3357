"""Public PyTorch weights: the golden outputs, and that no tensor goes unnoticed."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.errors import InputError
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.resnet import ResNet
from faceparse_jax.models.torch_weights import (
    FACE_PARSING_PYTORCH,
    TORCHVISION,
    YAKHYO,
    from_torch_state,
    torch_names,
)
from faceparse_jax.runtime.forms import forms_for
from tests.support import torch_golden
from tests.support.places import GOLDEN, SHARED
from tests.support.torch_golden import recipe

# Every 5th row and column of the public network's logits; weights and input by recipe.
SLICE = GOLDEN / "bisenet_resnet18_slice.npz"
WHOLE = SHARED / "golden" / "bisenet_resnet18_zllrunning.npz"
HEADS = ("out", "out16", "out32")


@functools.cache
def state():
    golden = np.load(SLICE)
    shapes = [json.loads(str(shape)) for shape in golden["shapes"]]
    names = [str(name) for name in golden["keys"]]
    return {name: recipe(name, shape) for name, shape in zip(names, shapes, strict=True)}


@functools.cache
def logits(form):
    converted = from_torch_state(state())
    variables = {"params": converted.params, "batch_stats": converted.batch_stats}
    x = np.random.default_rng(64 * 1000 + 96).standard_normal((2, 64, 96, 3))
    x = jnp.asarray(x, jnp.float32)
    with forms_for("cpu" if form == "cpu" else "gpu"):
        run = jax.jit(BiSeNet(19).apply)
        return jax.device_get(run(variables, x))


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


@pytest.mark.parametrize("layout", [FACE_PARSING_PYTORCH, YAKHYO], ids=lambda of: of.name)
@pytest.mark.parametrize("backbone", [18, 34, 50])
def test_names_cover_every_parameter_and_statistic(backbone, layout):
    shapes = jax.eval_shape(
        BiSeNet(19, backbone).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    here = {(path[0].key, tuple(part.key for part in path[1:])) for path, _ in leaves}
    assert here == set(torch_names(backbone, layout))


def test_names_are_those_of_the_public_state():
    counters = {name for name in state() if name.endswith("num_batches_tracked")}
    assert set(torch_names(18).values()) == set(state()) - counters
    assert len(counters) == 31


def test_other_numbers_of_classes_and_channels():
    changed = dict(state())
    changed["cp.resnet.conv1.weight"] = changed["cp.resnet.conv1.weight"][:, :1]
    for name in ("conv_out", "conv_out16", "conv_out32"):
        changed[f"{name}.conv_out.weight"] = changed[f"{name}.conv_out.weight"][:11]
    converted = from_torch_state(changed)
    assert (converted.channels, converted.classes) == (1, 11)
    params = converted.params
    assert params["backbone"]["stem"]["conv"]["kernel"].shape == (7, 7, 1, 64)
    assert params["head"]["classify"]["kernel"].shape == (1, 1, 256, 11)


@functools.cache
def converted(case):
    return from_torch_state(torch_golden.state(case))


LAYOUT_OF = {"zllrunning": FACE_PARSING_PYTORCH, "yakhyo": YAKHYO, "torchvision": TORCHVISION}


@pytest.mark.parametrize("case", torch_golden.CASES)
def test_slices_of_every_layout(case):
    layout, backbone = torch_golden.CASES[case]
    found, golden = converted(case), np.load(torch_golden.LAYOUTS)
    assert (found.layout, found.backbone) == (LAYOUT_OF[layout], backbone)
    params, stats = found.params, found.batch_stats
    if layout == "torchvision":
        net = ResNet(backbone)
        params, stats = params["backbone"], stats["backbone"]
    else:
        net = BiSeNet(found.classes, backbone)
    run = jax.jit(functools.partial(net.apply, train=False))
    outputs = run({"params": params, "batch_stats": stats}, torch_golden.photograph())
    for n, got in enumerate(outputs):
        want = golden[f"{case}/{n}"]
        got = got[..., ::17] if layout == "torchvision" else got[:, ::7, ::7]
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), n


@pytest.mark.parametrize("case", torch_golden.CASES)
def test_every_tensor_is_used_or_listed(case):
    layout, backbone = torch_golden.CASES[case]
    found, given = converted(case), torch_golden.state(case)
    used = set(torch_names(backbone, found.layout).values())
    assert used.isdisjoint(found.unused)
    assert used | set(found.unused) == set(given)
    other = [name for name in found.unused if not name.endswith("num_batches_tracked")]
    trunk = found.layout.trunk
    assert other == ([] if layout == "zllrunning" else [f"{trunk}fc.bias", f"{trunk}fc.weight"])
    leaves = jax.tree.leaves((found.params, found.batch_stats))
    assert len(leaves) == len(used)
    assert sum(leaf.size for leaf in leaves) == sum(given[name].size for name in used)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cp.resnet.bn1.running_var": np.full(64, -1.0)}, r"below 0, in cp\.resnet\.bn1"),
        ({"cp.resnet.bn1.bias": np.full(64, np.inf)}, "no numbers"),
        ({"cp.resnet.layer1.2.conv1.weight": np.zeros(1)}, "stages have 3, 2, 2, 2 basic blocks"),
        ({"cp.resnet.layer1.0.conv3.weight": np.zeros(1)}, "2, 2, 2, 2 bottleneck blocks"),
    ],
)
def test_values_and_trunks_that_are_none_of_ours(change, says):
    with pytest.raises(InputError, match=says):
        from_torch_state({**state(), **change})


@pytest.mark.parametrize("given", [{}, {"encoder.weight": np.zeros(3)}])
def test_other_networks_are_told_which_ones_there_are(given):
    with pytest.raises(InputError, match=r"facexlib or yakhyo/face-parsing"):
        from_torch_state(given)
