"""`--mode predict`."""

from faceparse_jax.errors import InputError
from faceparse_jax.models.routes import ROUTES, preferred
from faceparse_jax.prediction.kinds import KINDS
from faceparse_jax.runtime.command_line import Flag, Mode
from faceparse_jax.runtime.places import Place

_INPUT = "--image photo.jpg (or --depth depth.png, or both)"


def _predict(
    workdir: Place | None,
    *,
    image: list[str] | None,
    depth: str | None,
    out: str,
    checkpoint: str,
    crop: str,
    strict: bool,
    **settings,
) -> None:
    if image is None and depth is None:
        raise InputError(
            "--mode predict", "neither --image nor --depth", "an input", f"add {_INPUT}"
        )
    from faceparse_jax.prediction.crop import checked
    from faceparse_jax.prediction.files import Settings, predict_files
    from faceparse_jax.prediction.parser import load

    settings = Settings(crop=checked(crop, "--crop"), **settings)
    parser = load(workdir, checkpoint)
    predict_files(parser, image, depth, out, settings, strict)


PREDICT = Mode(
    "predict",
    "Parses photographs, depth maps or both with trained networks, and writes the label maps.",
    _predict,
    (
        Flag("image", list, None, "Photographs, videos, or folders of photographs."),
        Flag("depth", str, None, "A depth map, or a folder of them."),
        Flag(
            "depth_kind",
            KINDS,
            "benchmark",
            "benchmark: 8 or 16 bits, 0 = none, larger = farther, the head alone; metric: "
            "distances in any unit; inverse: larger = nearer; auto: chosen by each map.",
        ),
        Flag("depth_missing", float, None, "A value, besides 0, that stands for no depth."),
        Flag("out", str, None, "The folder to write to.", needed=f"{_INPUT} --out parsed"),
        Flag("checkpoint", ("best", "last"), "best", "The checkpoint to predict with."),
        Flag(
            "output",
            tuple(preferred(ROUTES)),
            None,
            "The route to the label map; else the first of these that the input allows.",
        ),
        Flag(
            "crop",
            str,
            "auto",
            "auto: faces are looked for in photographs; none: inputs are parsed as a whole; "
            "x0,y0,x1,y1: the box round one face, in pixels.",
        ),
        Flag("probabilities", bool, False, "Also write the probability of each class."),
        Flag("uncertainty", bool, False, "Also write how far the two parsers disagree."),
        Flag(
            "scheme",
            str,
            None,
            "The answer's classes, such as lapa or helen, which the networks' must merge into.",
        ),
        Flag("tta", bool, False, "Average with the mirror image, in twice the time."),
        Flag("strict", bool, False, "Write nothing where any input cannot be parsed."),
    ),
    Flag(
        "workdir",
        str,
        None,
        "The folder of a run, or a packed file; else the networks that ship with the package.",
    ),
    packed=True,
)
