"""The files of one prediction: written whole, and never in place of another's."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from faceparse_jax.errors import InputError, few
from faceparse_jax.images.draw import prediction_picture
from faceparse_jax.prediction import video
from faceparse_jax.prediction.inputs import Input
from faceparse_jax.prediction.parser import Result
from faceparse_jax.prediction.record import JOURNAL, MARK, RECORD, is_record, replace, written

_KINDS = (
    "label.png", "colours.png", "overlay.png", "depth.png", "faces.png", "uncertainty.png",
    "probabilities.npz",
)  # fmt: skip
_MAX_NAME = 255  # bytes of a file's name on nearly every file system


def check_out(out: pathlib.Path, inputs: Sequence[Input], places: Sequence[pathlib.Path]) -> None:
    """Refuses a folder in which something would be lost."""
    try:
        in_the_way = out.exists() and not out.is_dir()
    except OSError as error:  # a name that no folder can have
        raise InputError(
            str(out), error.strerror, "a folder to write to", "choose another --out"
        ) from error
    if in_the_way:
        raise InputError(str(out), "a file", "a folder to write to", "choose another --out")
    here = out.resolve()
    files = [path for item in inputs for path in (item.image, item.depth) if path]
    named = {place.resolve() for place in places}
    # Of files of folders; one that is named itself may lie there.
    read = {folder.resolve() for folder in {path.parent for path in files if path not in places}}
    if here in named or (
        named & {*here.parents} and any(here in (folder, *folder.parents) for folder in read)
    ):
        raise InputError(
            str(out),
            "the folder of the inputs",
            "another folder: results would be taken for inputs the next time",
            f"choose another --out, such as {out / 'parsed'}",
        )
    ending = max(map(len, _KINDS)) + len("_.partial")
    names = [item.stem.rpartition("/")[2] for item in inputs]
    long = [name for name in names if len(os.fsencode(name)) + ending > _MAX_NAME]
    if long:
        raise InputError(
            few(long),
            "a name that is too long for those of the results",
            f"at most {_MAX_NAME - ending} bytes without the suffix",
            "rename the input",
        )
    folders = {parent for item in inputs for parent in _folders(out, item.stem)}
    blocked = sorted(str(folder) for folder in folders if folder.exists() and not folder.is_dir())
    if blocked:
        raise InputError(
            str(out),
            f"{few(blocked)}, which is no folder",
            "room for the folders of the results",
            "choose another --out, or move these files away",
        )
    sources = {path.resolve() for path in files}
    targets = [
        out / f"{item.stem}_{kind}"
        for item in inputs
        for kind in (video.KINDS if item.is_video else _KINDS)
    ]
    # Videos and tables do not tell who wrote them, but the record does.
    own = written(out)
    lost = [
        path.relative_to(out).as_posix()
        for path in (*targets, out / RECORD, out / JOURNAL)
        if path.exists()
        and (
            path.resolve() in sources
            or not (path.relative_to(out).as_posix() in own or _ours(path))
        )
    ]
    if lost:
        raise InputError(
            str(out),
            f"{few(lost)}, not written by a prediction or an input of this one",
            "room for the results",
            "choose another --out, or move these files away",
        )


def _folders(out: pathlib.Path, stem: str) -> list[pathlib.Path]:
    """The folders within that of the results in which those of a stem lie."""
    return [out / parent for parent in pathlib.PurePosixPath(stem).parents[:-1]]


def make_folder(out: pathlib.Path) -> None:
    """Makes a folder for results, where it is not there.

    Raises:
        InputError: it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            str(out), str(error), "a folder that can be made", "choose another --out"
        ) from error


def write(out: pathlib.Path, stem: str, result: Result) -> dict[str, str]:
    """Writes the files of one prediction and removes outdated ones; their names by kind."""
    scheme = result.scheme
    shown = prediction_picture(result.item.picture, result.label, scheme)
    # TensorFlow and OpenCV read a palette as colours, so the ids are grey and have no palette.
    coloured = Image.fromarray(result.label)
    coloured.putpalette(scheme.palette.tobytes())
    pictures = {
        "label.png": Image.fromarray(result.label),
        "colours.png": coloured,
        "overlay.png": Image.fromarray(shown),
    }
    if result.depth is not None:
        pictures["depth.png"] = Image.fromarray(result.depth)
    if len(result.faces) > 1:
        pictures["faces.png"] = Image.fromarray(result.face_map)
    if result.uncertainty is not None:
        grey = np.rint(result.uncertainty * 255).astype(np.uint8)
        pictures["uncertainty.png"] = Image.fromarray(grey)
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK)
    writers: dict[str, Callable[[BinaryIO], Any]] = {
        kind: lambda file, picture=picture: picture.save(file, "PNG", pnginfo=mark)
        for kind, picture in pictures.items()
    }
    if result.probabilities is not None:
        arrays = {"probabilities": result.probabilities, "classes": np.array(scheme.classes)}
        writers["probabilities.npz"] = lambda file: np.savez_compressed(
            file, **arrays, written_by=MARK
        )
    make_folder((out / stem).parent)
    for kind in _KINDS:
        path = out / f"{stem}_{kind}"
        if kind in writers:
            replace(path, writers[kind])
        else:
            path.unlink(missing_ok=True)
    return {kind.split(".")[0]: f"{stem}_{kind}" for kind in writers}


def _ours(path: pathlib.Path) -> bool:
    """Whether a prediction wrote this file."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                return picture.info.get("Software") == MARK
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return str(arrays["written_by"]) == MARK
        return is_record(path)
    except Exception:  # whatever it is that cannot be read, it is not ours
        return False
