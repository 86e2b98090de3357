"""Flags to one mode; `--help` lists the modes, each with its flags.

    python -m faceparse_jax.main --config configs/celebamask_hq_d.py --workdir runs/full
    python -m faceparse_jax.main --workdir runs/full --mode evaluate
    python -m faceparse_jax.main --workdir runs/full --mode predict --image photo.jpg --out parsed
    python -m faceparse_jax.main --workdir studies/one --mode study --config configs/studies/X.py
    python -m faceparse_jax.main --workdir runs/full --mode replay
    python -m faceparse_jax.main --workdir runs/full --mode export --format onnx --out full.onnx
    python -m faceparse_jax.main --mode import --weights 79999_iter.pth --out parser.safetensors

Any key of the config can be overridden behind it: --config.optim.rate=0.005. With --mode M,
--help tells of that mode alone.

Exit status: 0; 2 for bad input; 3 where the loss was not finite; 4 where a prediction left some
inputs out that cannot be parsed; 128 + N where signal N (Ctrl-C is 2) stopped it. A training run
saves its state then; a second signal does not wait.
"""

import sys

from faceparse_jax.checkpoints.command import IMPORT
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation.command import EVALUATE
from faceparse_jax.export.command import EXPORT
from faceparse_jax.prediction.command import PREDICT
from faceparse_jax.runtime import command_line, interrupts, machine, places
from faceparse_jax.runtime.command_line import Mode
from faceparse_jax.runtime.places import Place
from faceparse_jax.studies.command import STUDY
from faceparse_jax.training.command import REPLAY, TRAIN

MODES = (TRAIN, EVALUATE, PREDICT, STUDY, REPLAY, EXPORT, IMPORT)


def main() -> None:
    machine.set_environment()  # before JAX and TensorFlow are imported, which the modes do late
    try:
        mode, values = command_line.parse(sys.argv[1:], MODES, __doc__)
        workdir = values.pop("workdir", None)
        if workdir is not None:
            writes = mode not in (PREDICT, EXPORT)
            workdir = places.place(workdir, "--workdir", writes=writes)
            _check_workdir(workdir, mode)
        mode.run(workdir, **values)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)


def _check_workdir(workdir: Place, mode: Mode) -> None:
    if places.on_bucket(workdir):
        return  # where an object is in no folder's way
    try:
        there = next(p for p in (workdir, *workdir.absolute().parents) if p.exists())
    except OSError as error:  # a name that no folder can have
        raise InputError(
            f"--workdir {workdir}", error.strerror, "a folder", "choose another --workdir"
        ) from error
    if there == workdir and mode.packed and places.is_packed(workdir):
        return
    if not there.is_dir():
        raise InputError(
            f"--workdir {workdir}",
            f"a file, {there}" if there != workdir else "a file",
            "a folder, or nothing yet" + ", or a packed file" * mode.packed,
            "choose another --workdir",
        )


def command() -> None:
    """`faceparse`, the script."""
    interrupts.install()
    interrupts.run(main)


if __name__ == "__main__":
    interrupts.run(main)
