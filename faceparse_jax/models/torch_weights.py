"""Public PyTorch weights -> (params, batch_stats), every tensor used or listed."""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from faceparse_jax.errors import InputError, few
from faceparse_jax.models.bisenet import BiSeNet
from faceparse_jax.models.resnet import BLOCKS

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a public network names its tensors, and what is known of its weights.

    Attributes:
        name: the project of the network.
        also: other projects with the same names; their files cannot be told apart.
        trunk: what the names of the ResNet's tensors begin with.
        path: what those of the context path begin with; empty where there is a ResNet alone.
        norm: the BatchNorm of a convolution, whose own name is ``conv``.
        block: a convolution with its BatchNorm within attention and heads.
        gate: convolution and BatchNorm of an attention's gate.
        fusion: the first convolution of the feature fusion.
        classify: the last convolution of a head.
        scheme: the label scheme of the logits; empty without any.
        trained_on: the data of the public weights as name/config, as far as the public code tells:
            what `data.overlap.WHOLE_CELEBAMASK_HQ` names, or ImageNet.
        code_licence: of the public code.
        licence: what is known of the terms of the weights, in sentences.
        mean, std: of the normalisation of sRGB in 0..1.
        size: side of the square photographs in pixels.
    """

    name: str
    trunk: str
    code_licence: str
    licence: str
    trained_on: str
    size: int
    also: str = ""
    path: str = ""
    norm: str = ""
    block: str = ""
    gate: tuple[str, str] = ("", "")
    fusion: str = ""
    classify: str = ""
    scheme: str = ""
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


_CELEBAMASK_HQ = (
    "The authors of CelebAMask-HQ, from which the public weights learned, allow non-commercial "
    "research and education only, and this project takes that to hold for networks that learned "
    "from it too."
)
FACE_PARSING_PYTORCH = Layout(
    name="zllrunning/face-parsing.PyTorch",
    also="facexlib",
    trunk="cp.resnet.",
    path="cp.",
    norm="bn",
    block="conv",
    gate=("conv_atten", "bn_atten"),
    fusion="convblk",
    classify="conv_out",
    scheme="celebamask_hq_bisenet",
    trained_on="celebamask_hq/all",
    code_licence="MIT",
    licence=_CELEBAMASK_HQ,
    size=512,
)
YAKHYO = Layout(
    name="yakhyo/face-parsing",
    trunk="fpn.backbone.",
    path="fpn.",
    norm="norm",
    block="conv_block",
    gate=("attention.0", "attention.1"),
    fusion="conv_block",
    classify="conv",
    scheme="celebamask_hq_bisenet",
    trained_on="celebamask_hq/all",
    code_licence="MIT",
    licence=_CELEBAMASK_HQ,
    size=512,
)
TORCHVISION = Layout(
    name="torchvision",
    trunk="",
    trained_on="imagenet/ilsvrc2012",
    code_licence="BSD 3-Clause",
    licence=(
        "The public weights learned from ImageNet, whose terms allow non-commercial research and "
        "education only. torchvision says that its weights may have terms of their own that "
        "follow from the data, and that users must find out whether they may use them."
    ),
    size=224,
)
LAYOUTS = (FACE_PARSING_PYTORCH, YAKHYO, TORCHVISION)  # the one without a prefix comes last


@dataclasses.dataclass(frozen=True)
class Converted:
    """Weights in the form of our modules.

    Attributes:
        layout: whose names they had.
        backbone: 18, 34 or 50.
        params, batch_stats: those of a `BiSeNet`, float32; of torchvision's ResNet the entry
            ``backbone`` alone.
        unused: names of tensors that nothing reads: the counters ``num_batches_tracked`` and the
            classifier of a ResNet.
    """

    layout: Layout
    backbone: int
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    unused: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.params["backbone"]["stem"]["conv"]["kernel"].shape[2]

    @property
    def classes(self) -> int:
        """Number of logits of a pixel; 0 without a head."""
        if "head" not in self.params:
            return 0
        return self.params["head"]["classify"]["kernel"].shape[-1]


def _blocks(layout: Layout, backbone: int) -> Iterator[tuple[str, str, str | None]]:
    """(path here, torch name of the convolution, torch name of its norm if it has one)."""
    trunk, path = layout.trunk, layout.path
    yield "backbone/stem", f"{trunk}conv1", f"{trunk}bn1"
    for stage, blocks in enumerate(BLOCKS[backbone], 1):
        for i in range(blocks):
            here, torch = f"backbone/stage{stage}_{i}", f"{trunk}layer{stage}.{i}"
            for n in range(1, 4 if backbone == 50 else 3):
                yield f"{here}/conv{n}", f"{torch}.conv{n}", f"{torch}.bn{n}"
            if i == 0 and (stage > 1 or backbone == 50):
                yield f"{here}/shortcut", f"{torch}.downsample.0", f"{torch}.downsample.1"
    if not path:
        return

    def unit(name):
        return f"{name}.conv", f"{name}.{layout.norm}"

    for n in (16, 32):
        arm = f"{path}arm{n}"
        yield f"context/arm{n}/conv", *unit(f"{arm}.{layout.block}")
        yield f"context/arm{n}/gate", *(f"{arm}.{part}" for part in layout.gate)
        yield f"context/refine{n}", *unit(f"{path}conv_head{n}")
    yield "context/average", *unit(f"{path}conv_avg")
    yield "fusion/mix", *unit(f"ffm.{layout.fusion}")
    yield "fusion/squeeze", "ffm.conv1", None
    yield "fusion/excite", "ffm.conv2", None
    for n in ("", "16", "32"):
        yield f"head{n}/mix", *unit(f"conv_out{n}.{layout.block}")
        yield f"head{n}/classify", f"conv_out{n}.{layout.classify}", None


def torch_names(
    backbone: int = 18, layout: Layout = FACE_PARSING_PYTORCH
) -> dict[tuple[str, Path], str]:
    """(collection, path) of each of our tensors -> name in the public state dict."""
    names = {}
    for here, conv, norm in _blocks(layout, backbone):
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


def _refuse(where: str, found: str, expected: str):
    raise InputError(
        where, found, expected, "name the file of one of these networks, as it was published"
    )


def _recognised(where: str, names: Collection[str]) -> tuple[Layout, int]:
    """The layout that tensors of these names have, and the depth of its ResNet."""
    for layout in LAYOUTS:
        if any(name.startswith(f"{layout.trunk}layer1.") for name in names):
            break
    else:
        _refuse(
            where,
            f"the tensors {few(sorted(names), 3)}" if names else "no tensors",
            f"those of a BiSeNet of {FACE_PARSING_PYTORCH.name}, {FACE_PARSING_PYTORCH.also} or "
            f"{YAKHYO.name}, or of a ResNet of {TORCHVISION.name}",
        )
    place = re.compile(re.escape(layout.trunk) + r"layer(\d)\.(\d+)\.")
    found = {tuple(map(int, match.groups())) for match in map(place.match, names) if match}
    blocks = tuple(sum(stage == n for stage, _ in found) for n in (1, 2, 3, 4))
    bottleneck = f"{layout.trunk}layer1.0.conv3.weight" in names
    for backbone, wanted in BLOCKS.items():
        if blocks == wanted and bottleneck == (backbone == 50):
            return layout, backbone
    kind = "bottleneck" if bottleneck else "basic"
    _refuse(
        where,
        f"a ResNet whose stages have {', '.join(map(str, blocks))} {kind} blocks",
        "a ResNet-18, 34 or 50",
    )


def from_torch_state(state: Mapping[str, np.ndarray], where: str = "PyTorch weights") -> Converted:
    """Parameters and batch statistics of ``BiSeNet``, or of its ResNet alone.

    The names tell the layout and the ResNet. The number of classes and of input channels
    follow the weights.

    Args:
        state: torch name -> array in torch's layout [out in h w], e.g. an opened .npz.
        where: what errors call it.

    Raises:
        InputError: no known layout, names that are missing, unexpected or of another shape, all
            listed, or values that no network has.
    """
    layout, backbone = _recognised(where, state.keys())
    names = torch_names(backbone, layout)
    ignored = {f"{layout.trunk}fc.weight", f"{layout.trunk}fc.bias"}
    unused = {name for name in state if name.endswith(".num_batches_tracked") or name in ignored}
    given = state.keys() - unused
    missing, unexpected = sorted(set(names.values()) - given), sorted(given - set(names.values()))
    whole = f"{'BiSeNet-' * bool(layout.path)}ResNet{backbone} of {layout.name}"
    if missing or unexpected:
        _refuse(
            where,
            " and ".join(
                f"{what} tensors {', '.join(names)}"
                for what, names in (("missing", missing), ("unexpected", unexpected))
                if names
            ),
            f"exactly the {len(names)} tensors of {whole}",
        )
    arrays = {key: np.asarray(state[name]) for key, name in names.items()}
    classes = 1
    if layout.path:
        classes = (*np.shape(state[f"conv_out.{layout.classify}.weight"]), 1)[0]
    channels = (*np.shape(state[f"{layout.trunk}conv1.weight"]), 1, 1)[1]
    net = BiSeNet(classes, backbone)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))

    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    wrong, broken = [], []
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
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(array).all() or (path[-1] == "var" and (array < 0).any()):
            broken.append(names[collection, path])
        node[path[-1]] = array
    if wrong:
        _refuse(where, "; ".join(wrong), f"kernels [h w in out] and vectors as in {whole}")
    if broken:
        _refuse(
            where,
            f"values that are no numbers, or variances below 0, in {few(broken)}",
            "finite values",
        )
    return Converted(layout, backbone, tree["params"], tree["batch_stats"], tuple(sorted(unused)))
