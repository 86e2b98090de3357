"""Public weights that cannot be imported, and backbones where a parser is wanted."""

import io
import pathlib
import pickle
import zipfile

import numpy as np
import safetensors.numpy

from faceparse_jax.checkpoints import packed
from faceparse_jax.models.torch_weights import TORCHVISION, YAKHYO, torch_names
from tests.support import torch_golden
from tests.support.bad_input import MAIN, Case, nothing
from tests.support.bad_runs import PHOTO
from tests.support.bad_state import flipped, trap
from tests.support.files import half
from tests.support.places import GOLDEN

IMPORT = ("--mode=import", "--weights={folder}/a.pth", "--out={folder}/parser.safetensors")


def content(data: bytes):
    return lambda folder: (folder / "a.pth").write_bytes(data)


def changed(kind: str, how=lambda data: data):
    """What PyTorch wrote, with a change."""
    return content(how((GOLDEN / f"state_{kind}.pth").read_bytes()))


def archive(**entries: bytes) -> bytes:
    """A ZIP archive as `torch.save` writes it; `_` stands for a full stop."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as written:
        for name, data in entries.items():
            written.writestr(f"archive/{name.replace('_', '.')}", data)
    return whole.getvalue()


def traps(kind: str):
    """Weights whose pickle leaves a file when it is loaded."""

    def make(folder: pathlib.Path) -> None:
        harmful = trap(folder)
        before = b"".join(pickle.dumps(of, 2) for of in (0x1950A86A20F9469CFC6C, 1001, {}))
        made = {
            "archive": archive(data_pkl=harmful),
            "legacy": before + harmful,
            "plain": harmful,
        }
        (folder / "a.pth").write_bytes(made[kind])

    return make


def names_alone(backbone=18, layout=YAKHYO, without=(), **more):
    """Public names, with one number for each tensor."""
    names = [name for name in torch_names(backbone, layout).values() if name not in without]
    return content(safetensors.numpy.save(dict.fromkeys(names, np.zeros(1, np.float32)) | more))


def drawn(case="zllrunning18", **of):
    """Whole weights, of which some tensors are others; `__` stands for a full stop."""

    def make(folder: pathlib.Path) -> None:
        state = torch_golden.state(case) | {k.replace("__", "."): v for k, v in of.items()}
        arrays = {name: np.asarray(value, np.float16) for name, value in state.items()}
        (folder / "a.pth").write_bytes(safetensors.numpy.save(arrays))

    return make


def backbone(folder: pathlib.Path) -> None:
    """A packed file that says that it holds a backbone."""
    meta = {"config": {}, "dataset": {}, "step": 0, "seed": 0, "code_version": "0.1.0"}
    meta["source"] = {"holds": "backbone"}
    label = {"meta": meta, "checkpoint": "best", "scores": []}
    path = folder / "backbone.safetensors"
    path.write_bytes(packed.contents(label, {"params": {"backbone": np.zeros(1)}}))
    (folder / "a.png").write_bytes(PHOTO)


def in_the_way(name: str):
    def make(folder: pathlib.Path) -> None:
        changed("zip")(folder)
        (folder / name).write_text("mine")

    return make


def _case(name, says, make=nothing, *words):
    return Case(f"public weights: {name}", "public weights", make, [MAIN, *(words or IMPORT)], says)


def _open(mode, *words):
    command = (f"--mode={mode}", "--workdir={folder}/backbone.safetensors", *words)
    return _case(f"a backbone to {mode} with", "a backbone alone", backbone, *command)


_THREE_CLASSES = {
    f"conv_out{n}__conv_out__weight": np.ones((3, inner, 1, 1))
    for n, inner in (("", 256), ("16", 64), ("32", 64))
}

CASES = [
    _case("without a file", "--weights: found nothing", nothing, *IMPORT[::2]),
    _case("without a place", "--out: found nothing", nothing, *IMPORT[:2]),
    _case("with a workdir", "leave --workdir out", nothing, *IMPORT, "--workdir={folder}/run"),
    _case("that are lost", "No such file"),
    _case("that are a folder", "Is a directory", lambda folder: (folder / "a.pth").mkdir()),
    _case("without a byte", "another kind of file", content(b"")),
    _case("of words", "another kind of file", content(b"words, more than eight of them")),
    _case("that are a picture", "another kind of file", content(PHOTO)),
    _case("with a harmful pickle", "a pickle that asks for", traps("archive")),
    _case("of old with a harmful pickle", "a pickle that asks for", traps("legacy")),
    _case("that are a harmful pickle", "a pickle that asks for", traps("plain")),
    _case("that are another pickle", "torch.save did not write", content(pickle.dumps([1, 2]))),
    _case("cut in half", "damaged weights", changed("zip", half)),
    _case("of old, cut in half", "damaged weights", changed("legacy", half)),
    _case("with flipped bytes", "a.pth", changed("zip", flipped)),
    _case("in another archive", "an archive without a network", content(archive(a_txt=b"a"))),
    _case("that are a program", "a program of TorchScript",
          content(archive(data_pkl=pickle.dumps({}), constants_pkl=b""))),
    _case("of no tensor", "no tensors with names", content(archive(data_pkl=pickle.dumps({}, 2)))),
    _case("that are a list", "no tensors with names",
          content(archive(data_pkl=pickle.dumps([], 2)))),
    _case("of numbers", "the entries lr, which are no tensors",
          content(archive(data_pkl=pickle.dumps({"lr": 0.1}, 2)))),
    _case("of safetensors, cut", "damaged weights", content(
        half(safetensors.numpy.save({"a": np.zeros(99, np.float32)})))),
    _case("of another network", "those of a BiSeNet", changed("zip")),
    _case("without a tensor", "missing tensors ffm.conv1.weight, expected",
          names_alone(without=["ffm.conv1.weight"])),
    _case("with one tensor more", "found unexpected tensors more.bias",
          names_alone(**{"more.bias": np.zeros(1)})),
    _case("of other shapes", "fpn.arm16.conv_block.norm.bias as (1,)", names_alone()),
    _case("of a ResNet of another depth", "3, 2, 2, 2 basic blocks", names_alone(
        layout=TORCHVISION, **{"layer1.2.conv1.weight": np.zeros(1)})),
    _case("of other classes", "3 classes", drawn(**_THREE_CLASSES)),
    _case("for grey pictures", "1 input channels", drawn(
        "torchvision18", conv1__weight=np.ones((64, 1, 7, 7)))),
    _case("that are no numbers", "no numbers, or variances below 0, in cp.resnet.bn1.bias",
          drawn(cp__resnet__bn1__bias=np.full(64, np.nan))),
    _case("to a file of another kind", "ends in .safetensors", changed("zip"),
          *IMPORT[:2], "--out={folder}/parser.pth"),
    _case("where another file is", "parser.safetensors: found another file",
          in_the_way("parser.safetensors")),
    _case("where another card is", "parser.md: found another file", in_the_way("parser.md")),
    _case("into a file", "a place that can be written", drawn("torchvision18"),
          *IMPORT[:2], "--out={folder}/a.pth/parser.safetensors"),
    _open("predict", "--image={folder}/a.png", "--out={folder}/out"),
    _open("evaluate", "--out={folder}/out"),
    _open("export", "--format=safetensors", "--out={folder}/packed.safetensors"),
]  # fmt: skip
