"""`--mode predict`."""

import pathlib

from faceparse_jax.errors import InputError
from faceparse_jax.models.routes import ROUTES, preferred
from faceparse_jax.runtime.command_line import Flag, Mode

_INPUT = "--image photo.jpg (or --depth depth.png, or both)"


def _predict(
    workdir: pathlib.Path, *, image: str | None, depth: str | None, checkpoint: str, **how
) -> None:
    if image is None and depth is None:
        raise InputError(
            "--mode predict", "neither --image nor --depth", "an input", f"add {_INPUT}"
        )
    from faceparse_jax.prediction.files import predict_files
    from faceparse_jax.prediction.parser import load

    predict_files(load(workdir, checkpoint), image, depth, **how)


PREDICT = Mode(
    "predict",
    "Parses photographs, depth maps or both with a run's networks, and writes the label maps.",
    _predict,
    (
        Flag("image", str, None, "A photograph, or a folder of photographs."),
        Flag("depth", str, None, "A depth map, or a folder of them."),
        Flag("out", str, None, "The folder to write to.", needed=f"{_INPUT} --out parsed"),
        Flag("checkpoint", ("best", "last"), "best", "The checkpoint to predict with."),
        Flag(
            "output",
            tuple(preferred(ROUTES)),
            None,
            "The route to the label map; else the first of these that the input allows.",
        ),
        Flag("probabilities", bool, False, "Also write the probability of each class."),
    ),
)
