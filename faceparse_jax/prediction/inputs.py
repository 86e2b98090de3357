"""The files to parse: photos, depth maps, or folders of them, paired by name."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence

from faceparse_jax.errors import InputError, few
from faceparse_jax.runtime import machine

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
)  # fmt: skip
DEPTH_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".pfm", ".exr")

Place = pathlib.Path | str


@dataclasses.dataclass(frozen=True)
class Input:
    """The files of one prediction; `stem` names what is written."""

    stem: str
    image: pathlib.Path | None
    depth: pathlib.Path | None


def find_inputs(images: Place | Sequence[Place] | None, depths: Place | None) -> list[Input]:
    """Images, a depth map, both, or folders of them, as pairs.

    Two files are a pair whatever their names. In folders, or where there are several images, the
    stem of an image (its name without suffix) is that of its depth map, with or without
    ``_depth``; in one folder for both, depth maps are the files that end in ``_depth``. An image
    may have no depth.

    Args:
        images: files and folders.
        depths: a file or a folder.

    Raises:
        InputError: nothing given, a place without files, two files for one stem, a file beside a
            folder, or depth maps without their image.
    """
    image_places = several(images)
    if not image_places and depths is None:
        raise InputError("input", "nothing", "images, depth maps or both", "name a file or folder")
    image_files = [file for place in image_places for file in _files(place, IMAGE_SUFFIXES)]
    depth_files = _files(depths, DEPTH_SUFFIXES)
    if not image_places or depths is None:
        image, depth = _by_stem(image_files), _by_stem(depth_files, "_depth")
        return [Input(s, image.get(s), depth.get(s)) for s in sorted(image | depth)]

    given = few([str(place) for place in image_places])
    *image_places, depth_place = map(machine.expanded, (*image_places, depths))
    if len(image_places) == 1:
        (image_place,) = image_places
        if image_place.is_dir() != depth_place.is_dir():
            raise InputError(
                f"{given} and {depths}",
                "a file and a folder",
                "two files or two folders",
                "give one file of each kind, or the folders of both",
            )
        if not image_place.is_dir():
            return [Input(image_place.stem, image_place, depth_place)]
    if depth_place.is_dir() and depth_place.resolve() in [
        place.resolve() for place in image_places
    ]:
        image_files = [path for path in image_files if not path.stem.endswith("_depth")]
        depth_files = [path for path in depth_files if path.stem.endswith("_depth")]
    image, depth = _by_stem(image_files), _by_stem(depth_files, "_depth")
    alone = [path.name for stem, path in depth.items() if stem not in image]
    if alone:
        raise InputError(
            str(depths),
            f"{few(alone)} without an image in {given}",
            "an image of the same name for every depth map",
            "add the images, move these depth maps away, or give depth alone",
        )
    return [Input(stem, path, depth.get(stem)) for stem, path in image.items()]


def several(places: Place | Sequence[Place] | None) -> list[Place]:
    """Places as a list, whether none, one or several are given."""
    if places is None:
        return []
    return [places] if isinstance(places, str | os.PathLike) else list(places)


def _files(place: Place | None, suffixes: tuple[str, ...]) -> list[pathlib.Path]:
    if place is None:
        return []
    path = machine.expanded(place)
    try:
        there = path.exists()
    except OSError as error:  # a name that no file can have
        raise InputError(
            str(path), error.strerror, "a file or a folder", "check the path"
        ) from error
    if not there:
        raise InputError(str(path), "nothing", "a file or a folder", "check the path")
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in sorted(path.iterdir())
        if file.suffix.lower() in suffixes and file.is_file() and not file.name.startswith(".")
    ]
    if not found:
        raise InputError(
            str(path), "no such file", f"files that end in {', '.join(suffixes)}", "check the path"
        )
    return found


def _by_stem(files: Iterable[pathlib.Path], ending: str = "") -> dict[str, pathlib.Path]:
    named = {}
    for file in dict.fromkeys(files):  # a folder and a file of it may both be given
        stem = file.stem.removesuffix(ending)
        if stem in named:
            both = (named[stem], file)
            if named[stem].parent == file.parent:
                both = (named[stem].name, file.name)
            raise InputError(
                str(file.parent),
                " and ".join(map(str, both)),
                f"one file for {stem!r}, whose results would overwrite each other",
                "rename one of them, or parse them into different folders",
            )
        named[stem] = file
    return named
