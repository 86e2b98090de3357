"""`--mode export`."""

from faceparse_jax.errors import InputError
from faceparse_jax.models.routes import ROUTES, preferred
from faceparse_jax.runtime import machine
from faceparse_jax.runtime.command_line import Flag, Mode
from faceparse_jax.runtime.places import Place

_PACKED = "safetensors"


def _export(
    workdir: Place | None,
    *,
    format: str,
    checkpoint: str,
    scores: str | None,
    out: str,
    **program,
) -> None:
    target = machine.expanded(out)
    files = [machine.expanded(name.strip()) for name in scores.split(",")] if scores else []
    if format != _PACKED:
        from faceparse_jax.export.export import export

        export(workdir, checkpoint, format, target, scores=files, **program)
        return
    if given := [name for name, value in program.items() if value]:
        raise InputError(
            f"--{given[0]}",
            f"it with --format {format}",
            "a format that holds one route as a program",
            f"leave --{given[0]} out",
        )
    from faceparse_jax.checkpoints.pack import pack
    from faceparse_jax.checkpoints.packed import shipped

    card = pack(workdir or shipped(), checkpoint, files, target)
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB; its model card is {card}")


EXPORT = Mode(
    "export",
    "Writes trained networks as one file with a model card: a packed file, which stands for the "
    "workdir in predict, evaluate and load(), or a program that runs without this package.",
    _export,
    (
        Flag(
            "format",
            (_PACKED, "stablehlo", "onnx", "tflite"),
            None,
            "safetensors: all networks, packed; stablehlo: a program for JAX, of inputs of any "
            "size; onnx, tflite: a program of inputs that fill the networks' square.",
            needed="--format stablehlo",
        ),
        Flag("checkpoint", ("best", "last"), "best", "The checkpoint to export."),
        Flag(
            "scores",
            str,
            None,
            "JSON files of an evaluation, for the model card; several with commas.",
        ),
        Flag(
            "input",
            ("image", "depth", "both"),
            None,
            "What the program takes; a photograph where the networks take one.",
        ),
        Flag(
            "output",
            tuple(preferred(ROUTES)),
            None,
            "The route to the label map; else the first of these that the input allows.",
        ),
        Flag(
            "phone",
            bool,
            False,
            "Leave out what the GPUs of phones refuse; onnx and tflite, of one parser.",
        ),
        Flag(
            "out",
            str,
            None,
            "The file to write, NAME.FORMAT; the card is NAME.md beside a packed file, else "
            "NAME.FORMAT.md.",
            needed="--out networks.safetensors",
        ),
    ),
    Flag(
        "workdir",
        str,
        None,
        "The folder of a run, or a packed file; else the networks that ship with the package.",
    ),
    packed=True,
)
