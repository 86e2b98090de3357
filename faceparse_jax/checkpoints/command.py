"""`--mode pack`."""

from faceparse_jax.runtime import machine
from faceparse_jax.runtime.command_line import Flag, Mode
from faceparse_jax.runtime.places import Place


def _pack(workdir: Place, *, checkpoint: str, scores: str | None, out: str) -> None:
    from faceparse_jax.checkpoints.pack import pack

    target = machine.expanded(out)
    files = [machine.expanded(name.strip()) for name in scores.split(",")] if scores else []
    card = pack(workdir, checkpoint, files, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; its model card is {card}")


PACK = Mode(
    "pack",
    "Packs a run's networks into one file with a model card; the file stands for the workdir in "
    "predict, evaluate and load().",
    _pack,
    (
        Flag("checkpoint", ("best", "last"), "best", "The checkpoint to pack."),
        Flag(
            "scores",
            str,
            None,
            "JSON files of an evaluation, for the model card; several with commas.",
        ),
        Flag(
            "out",
            str,
            None,
            "The file to write, NAME.safetensors; the card is NAME.md beside it.",
            needed="--out networks.safetensors",
        ),
    ),
    packed=True,
)
