"""Public PyTorch BiSeNet weights -> (params, batch_stats), every tensor accounted for."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from faceparse_jax.errors import InputError
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.resnet import BLOCKS

Path = tuple[str, ...]

_CLASSIFIER = "conv_out.conv_out.weight"
_STEM = "cp.resnet.conv1.weight"


def _blocks(backbone: int) -> Iterator[tuple[str, str, str | None]]:
    """(path here, torch name of the convolution, torch name of its norm if it has one)."""
    yield "backbone/stem", "cp.resnet.conv1", "cp.resnet.bn1"
    for stage, blocks in enumerate(BLOCKS[backbone], 1):
        for i in range(blocks):
            here, torch = f"backbone/stage{stage}_{i}", f"cp.resnet.layer{stage}.{i}"
            for n in range(1, 4 if backbone == 50 else 3):
                yield f"{here}/conv{n}", f"{torch}.conv{n}", f"{torch}.bn{n}"
            if i == 0 and (stage > 1 or backbone == 50):
                yield f"{here}/shortcut", f"{torch}.downsample.0", f"{torch}.downsample.1"
    for n in (16, 32):
        arm = f"cp.arm{n}"
        yield f"context/arm{n}/conv", f"{arm}.conv.conv", f"{arm}.conv.bn"
        yield f"context/arm{n}/gate", f"{arm}.conv_atten", f"{arm}.bn_atten"
        yield f"context/refine{n}", f"cp.conv_head{n}.conv", f"cp.conv_head{n}.bn"
    yield "context/average", "cp.conv_avg.conv", "cp.conv_avg.bn"
    yield "fusion/mix", "ffm.convblk.conv", "ffm.convblk.bn"
    yield "fusion/squeeze", "ffm.conv1", None
    yield "fusion/excite", "ffm.conv2", None
    for n in ("", "16", "32"):
        yield f"head{n}/mix", f"conv_out{n}.conv.conv", f"conv_out{n}.conv.bn"
        yield f"head{n}/classify", f"conv_out{n}.conv_out", None


def torch_names(backbone: int = 18) -> dict[tuple[str, Path], str]:
    """(collection, path) of each of our tensors -> name in the public state dict."""
    names = {}
    for here, conv, norm in _blocks(backbone):
        path = tuple(here.split("/"))
        if norm is None:
            names["params", (*path, "kernel")] = f"{conv}.weight"
            continue
        names["params", (*path, "conv", "kernel")] = f"{conv}.weight"
        names["params", (*path, "norm", "scale")] = f"{norm}.weight"
        names["params", (*path, "norm", "bias")] = f"{norm}.bias"
        names["batch_stats", (*path, "norm", "mean")] = f"{norm}.running_mean"
        names["batch_stats", (*path, "norm", "var")] = f"{norm}.running_var"
    return names


def _refuse(found: str, expected: str, backbone: int):
    raise InputError(
        "PyTorch weights",
        found,
        expected,
        f"check that the file is the public BiSeNet-ResNet{backbone} of face-parsing.PyTorch",
    )


def from_torch_state(
    state: Mapping[str, np.ndarray], backbone: int = 18
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and batch statistics of ``BiSeNet(num_classes, backbone)``.

    Every tensor is used, but for the counters ``num_batches_tracked``, which evaluation
    does not read. The number of classes and of input channels follow the weights.

    Args:
        state: torch name -> array in torch's layout [out in h w], e.g. an opened .npz.
        backbone: 18, 34 or 50.

    Returns:
        (params, batch_stats), float32.

    Raises:
        InputError: names that are missing, unexpected or of another shape, all listed.
    """
    names = torch_names(backbone)
    given = {name for name in state if not name.endswith(".num_batches_tracked")}
    missing, unexpected = sorted(set(names.values()) - given), sorted(given - set(names.values()))
    if missing or unexpected:
        _refuse(
            f"missing tensors {missing} and unexpected tensors {unexpected}",
            f"exactly the {len(names)} tensors of BiSeNet-ResNet{backbone}",
            backbone,
        )
    arrays = {key: np.asarray(state[name]) for key, name in names.items()}
    classes = np.shape(state[_CLASSIFIER])[:1] or (1,)
    channels = np.shape(state[_STEM])[1:2] or (1,)
    net = BiSeNet(*classes, backbone)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, *channels)))

    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    wrong = []
    for (collection, path), array in arrays.items():
        shape = shapes[collection]
        node = tree[collection]
        for part in path[:-1]:
            shape, node = shape[part], node.setdefault(part, {})
        shape = shape[path[-1]].shape
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        if array.shape != shape:
            wrong.append(f"{names[collection, path]} as {array.shape} for {shape}")
        node[path[-1]] = jnp.asarray(array, jnp.float32)
    if wrong:
        _refuse("; ".join(wrong), "kernels [h w in out] and vectors of these shapes", backbone)
    return tree["params"], tree["batch_stats"]
