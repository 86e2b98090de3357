"""Numbers of PyTorch that the tests of imported weights compare with.

    python tests/support/torch_golden.py

writes `layouts.npz` and the files `state_*.pth` to tests/golden. It needs PyTorch, which the tests
do not.
The networks are written here anew, with the names of the public ones. Their weights are drawn by
`recipe` from each tensor's name, so that nothing but a slice of the answers is kept.
"""

import pathlib
import zlib

import numpy as np

LAYOUTS = pathlib.Path(__file__).parents[1] / "golden" / "layouts.npz"
SIDES = (96, 64)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
CASES = {
    "zllrunning18": ("zllrunning", 18),
    "yakhyo18": ("yakhyo", 18),
    "yakhyo34": ("yakhyo", 34),
    "torchvision18": ("torchvision", 18),
    "torchvision34": ("torchvision", 34),
    "torchvision50": ("torchvision", 50),
}
"""Name in the file -> layout and ResNet."""


def recipe(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensor of that name, with values as networks have them."""
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


def state(case: str) -> dict[str, np.ndarray]:
    """The weights of a case, by PyTorch's names."""
    golden = np.load(LAYOUTS)
    names, shapes = (golden[f"{case}/{what}"].tolist() for what in ("names", "shapes"))
    sides = (tuple(int(side) for side in shape.split(",") if side) for shape in shapes)
    return {name: recipe(name, shape) for name, shape in zip(names, sides, strict=True)}


def photograph() -> np.ndarray:
    """The networks' input, normalised, [2 h w 3]."""
    return np.random.default_rng(7).standard_normal((2, *SIDES, 3)).astype(np.float32)


def small_state() -> dict[str, np.ndarray]:
    """One tensor of each type that networks are saved in."""
    rng = np.random.default_rng(3)
    real = rng.standard_normal((2, 3, 2)).astype(np.float32)
    whole = rng.integers(0, 100, (4,))
    return {
        "float32": real,
        "float64": real.astype(np.float64),
        "float16": real.astype(np.float16),
        # Values that bfloat16 holds exactly.
        "bfloat16": (real.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
        "int64": whole,
        "uint8": whole.astype(np.uint8),
        "bool": whole > 50,
        "scalar": np.int64(5),
        "turned": np.ascontiguousarray(real[:, 1:].transpose(2, 0, 1)),
    }


def _write(folder: pathlib.Path) -> None:
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Unit(nn.Module):
        def __init__(self, into, out, size, names, stride=1):
            super().__init__()
            self.names = names
            self.add_module(names[0], nn.Conv2d(into, out, size, stride, size // 2, bias=False))
            self.add_module(names[1], nn.BatchNorm2d(out))

        def forward(self, x):
            conv, norm = (getattr(self, name) for name in self.names)
            return F.relu(norm(conv(x)))

    class Block(nn.Module):
        def __init__(self, into, features, stride, bottleneck):
            super().__init__()
            out = 4 * features if bottleneck else features
            plan = [(into, features, 3, stride), (features, out, 3, 1)]
            if bottleneck:
                plan = [
                    (into, features, 1, 1),
                    (features, features, 3, stride),
                    (features, out, 1, 1),
                ]
            self.count = len(plan)
            for n, (a, b, size, step) in enumerate(plan, 1):
                self.add_module(f"conv{n}", nn.Conv2d(a, b, size, step, size // 2, bias=False))
                self.add_module(f"bn{n}", nn.BatchNorm2d(b))
            self.downsample = None
            if stride != 1 or into != out:
                conv = nn.Conv2d(into, out, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out))

        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            for n in range(1, self.count + 1):
                x = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(x))
                x = F.relu(x) if n < self.count else x
            return F.relu(x + shortcut)

    class ResNet(nn.Module):
        def __init__(self, depth, classifier):
            super().__init__()
            bottleneck = depth == 50
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
            into = 64
            for stage, blocks in enumerate(BLOCKS[depth]):
                features, made = 64 * 2**stage, []
                for n in range(blocks):
                    made.append(Block(into, features, 2 if stage and not n else 1, bottleneck))
                    into = 4 * features if bottleneck else features
                self.add_module(f"layer{stage + 1}", nn.Sequential(*made))
            if classifier:
                self.fc = nn.Linear(into, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            at8 = self.layer2(self.layer1(x))
            at16 = self.layer3(at8)
            return at8, at16, self.layer4(at16)

    class Attention(nn.Module):
        def __init__(self, into, names):
            super().__init__()
            self.names = names
            self.add_module(names["block"], Unit(into, 128, 3, names["unit"]))
            conv, norm = nn.Conv2d(128, 128, 1, bias=False), nn.BatchNorm2d(128)
            if names["gate"] == "attention":
                self.attention = nn.Sequential(conv, norm)
            else:
                self.conv_atten, self.bn_atten = conv, norm

        def forward(self, x):
            x = getattr(self, self.names["block"])(x)
            pooled = F.avg_pool2d(x, x.shape[2:])
            if self.names["gate"] == "attention":
                return x * torch.sigmoid(self.attention(pooled))
            return x * torch.sigmoid(self.bn_atten(self.conv_atten(pooled)))

    class Context(nn.Module):
        def __init__(self, depth, names):
            super().__init__()
            self.names = names
            self.add_module(names["trunk"], ResNet(depth, names["classifier"]))
            self.arm16, self.arm32 = Attention(256, names), Attention(512, names)
            self.conv_head32 = Unit(128, 128, 3, names["unit"])
            self.conv_head16 = Unit(128, 128, 3, names["unit"])
            self.conv_avg = Unit(512, 128, 1, names["unit"])

        def forward(self, x):
            at8, at16, at32 = getattr(self, self.names["trunk"])(x)
            x = self.arm32(at32) + self.conv_avg(F.avg_pool2d(at32, at32.shape[2:]))
            up16 = self.conv_head32(F.interpolate(x, at16.shape[2:], mode="nearest"))
            x = self.arm16(at16) + up16
            return at8, self.conv_head16(F.interpolate(x, at8.shape[2:], mode="nearest")), up16

    class Fusion(nn.Module):
        def __init__(self, names):
            super().__init__()
            self.names = names
            self.add_module(names["fusion"], Unit(256, 256, 1, names["unit"]))
            self.conv1 = nn.Conv2d(256, 64, 1, bias=False)
            self.conv2 = nn.Conv2d(64, 256, 1, bias=False)

        def forward(self, spatial, context):
            x = getattr(self, self.names["fusion"])(torch.cat([spatial, context], 1))
            gate = self.conv2(F.relu(self.conv1(F.avg_pool2d(x, x.shape[2:]))))
            return x * torch.sigmoid(gate) + x

    class Head(nn.Module):
        def __init__(self, into, inner, names):
            super().__init__()
            self.names = names
            self.add_module(names["block"], Unit(into, inner, 3, names["unit"]))
            self.add_module(names["classify"], nn.Conv2d(inner, 19, 1, bias=False))

        def forward(self, x, shape):
            x = getattr(self, self.names["classify"])(getattr(self, self.names["block"])(x))
            return F.interpolate(x, shape, mode="bilinear", align_corners=True)

    class BiSeNet(nn.Module):
        def __init__(self, depth, names):
            super().__init__()
            self.names = names
            self.add_module(names["path"], Context(depth, names))
            self.ffm = Fusion(names)
            self.conv_out = Head(256, 256, names)
            self.conv_out16, self.conv_out32 = Head(128, 64, names), Head(128, 64, names)

        def forward(self, x):
            at8, up8, up16 = getattr(self, self.names["path"])(x)
            main = self.conv_out(self.ffm(at8, up8), x.shape[2:])
            return main, self.conv_out16(up8, x.shape[2:]), self.conv_out32(up16, x.shape[2:])

    names = {
        "zllrunning": {
            "path": "cp", "trunk": "resnet", "classifier": False, "unit": ("conv", "bn"),
            "block": "conv", "gate": "conv_atten", "fusion": "convblk", "classify": "conv_out",
        },
        "yakhyo": {
            "path": "fpn", "trunk": "backbone", "classifier": True, "unit": ("conv", "norm"),
            "block": "conv_block", "gate": "attention", "fusion": "conv_block", "classify": "conv",
        },
    }  # fmt: skip
    kept: dict[str, np.ndarray] = {}
    for case, (layout, depth) in CASES.items():
        if layout == "torchvision":
            network = ResNet(depth, classifier=True)
        else:
            network = BiSeNet(depth, names[layout])
        shapes = {name: tuple(of.shape) for name, of in network.state_dict().items()}
        state = {
            name: torch.from_numpy(np.asarray(recipe(name, shape)))
            for name, shape in shapes.items()
        }
        network.load_state_dict(state)
        x = torch.from_numpy(photograph().transpose(0, 3, 1, 2))
        with torch.inference_mode():
            outputs = network.eval()(x)
        kept[f"{case}/names"] = np.array(list(shapes))
        kept[f"{case}/shapes"] = np.array([",".join(map(str, shape)) for shape in shapes.values()])
        for n, output in enumerate(outputs):
            output = output.numpy().transpose(0, 2, 3, 1)
            step = 1 if layout == "torchvision" else 7
            chosen = output[:, ::step, ::step]
            kept[f"{case}/{n}"] = chosen if layout != "torchvision" else chosen[..., ::17]
    np.savez_compressed(folder / "layouts.npz", **kept)

    tensors = {name: torch.from_numpy(np.asarray(of)) for name, of in small_state().items()}
    tensors["bfloat16"] = tensors["bfloat16"].bfloat16()
    # A view with steps and an offset into the values of another tensor, and a parameter.
    tensors["turned"] = tensors["float32"][:, 1:].permute(2, 0, 1)
    tensors["float32"] = nn.Parameter(tensors["float32"])
    torch.save(tensors, folder / "state_zip.pth")
    torch.save(tensors, folder / "state_legacy.pth", _use_new_zipfile_serialization=False)
    whole = {"state_dict": {f"module.{k}": v for k, v in tensors.items()}, "epoch": 3}
    torch.save(whole | {"optimizer": {"lr": 0.1}}, folder / "state_within.pth")


if __name__ == "__main__":
    _write(LAYOUTS.parent)
