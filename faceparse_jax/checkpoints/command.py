"""`--mode import`."""

from faceparse_jax.runtime import machine
from faceparse_jax.runtime.command_line import Flag, Mode


def _import(_: None, *, weights: str, out: str) -> None:
    from faceparse_jax.checkpoints.imported import import_weights

    target = machine.expanded(out)
    imported = import_weights(machine.expanded(weights), target)
    of = imported.converted
    kind = "parser" if of.layout.scheme else "backbone"
    print(f"a {kind} with ResNet-{of.backbone} in the layout of {of.layout.name}")
    counters = [name for name in of.unused if name.endswith(".num_batches_tracked")]
    other = [*sorted(set(of.unused) - set(counters)), *imported.unread]
    if counters or other:
        told = [f"{len(counters)} counters num_batches_tracked"] * bool(counters) + other
        print(f"not used: {', '.join(told)}; every other tensor is")
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; its model card is {imported.card}")


IMPORT = Mode(
    "import",
    "Reads public PyTorch weights without running code of their file: a parser of "
    "face-parsing.PyTorch, facexlib or yakhyo/face-parsing becomes a packed file, which stands for "
    "a workdir, and a ResNet of torchvision becomes a backbone for --config.model.init.",
    _import,
    (
        Flag(
            "weights",
            str,
            None,
            "The file of weights: .pth, .pt or .safetensors.",
            needed="--weights 79999_iter.pth",
        ),
        Flag(
            "out",
            str,
            None,
            "The file to write, NAME.safetensors; the card is NAME.md beside it.",
            needed="--out parser.safetensors",
        ),
    ),
    workdir=None,
)
