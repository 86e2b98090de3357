"""The files to parse: photos, depth maps, videos, or folders with folders, paired by name."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Iterable, Sequence

from faceparse_jax.errors import InputError, few
from faceparse_jax.images.read import PHONES, lacks_reader, to_install
from faceparse_jax.prediction.record import holds_results
from faceparse_jax.runtime import machine

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", *PHONES,
)  # fmt: skip
DEPTH_SUFFIXES = (*IMAGE_SUFFIXES, ".npy", ".pfm", ".exr")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv")

Place = pathlib.Path | str


@dataclasses.dataclass(frozen=True)
class Input:
    """The files of one prediction.

    Attributes:
        stem: names what is written: the name of the image, or of the depth map without one,
            without its suffix. It begins with the folders, below the one that was named, in which
            the file lies, with ``/`` between them.
    """

    stem: str
    image: pathlib.Path | None
    depth: pathlib.Path | None

    @property
    def is_video(self) -> bool:
        """Whether the image is a video, by its suffix."""
        return self.image is not None and _is_video(self.image)


@dataclasses.dataclass(frozen=True)
class Found:
    """What there is to parse.

    Attributes:
        unreadable: an error for each photograph of a folder whose format cannot be read here.
        notes: what else was left out, in sentences.
    """

    inputs: list[Input]
    unreadable: list[InputError]
    notes: list[str]


def find_inputs(images: Place | Sequence[Place] | None, depths: Place | None) -> Found:
    """Images, a depth map, both, or folders of them, as pairs.

    Two files are a pair whatever their names. In folders, or where there are several images, the
    stem of an image is that of its depth map, with or without ``_depth``; in one folder for both,
    depth maps are the files that end in ``_depth``. An image may have no depth.

    An image that is named itself may be a video, which has no depth.

    Folders are read with all that lies below them, but for hidden files and folders, links to
    folders, folders that a prediction wrote to, and, within the folder of the images, that of the
    depth maps, or the other way round.

    Args:
        images: files and folders.
        depths: a file or a folder.

    Raises:
        InputError: nothing given, a place without files, a folder that cannot be read, two files
            for one stem, a file beside a folder, depth maps without their image, or depth beside
            a video.
    """
    image_places = several(images)
    if not image_places and depths is None:
        raise InputError("input", "nothing", "images, depth maps or both", "name a file or folder")
    image_places, depth_places = (
        [machine.expanded(place) for place in places] for places in (image_places, several(depths))
    )
    clips = [str(place) for place in image_places if _is_video(place) and not place.is_dir()]
    if clips and depth_places:
        raise InputError(
            str(depths),
            f"depth beside a video ({few(clips)})",
            "photographs, to which depth maps belong",
            "leave --depth out, or give the video by itself",
        )
    found = _Search({place.resolve() for place in (*image_places, *depth_places)})
    image_files = found.files(image_places, IMAGE_SUFFIXES)
    depth_files = found.files(depth_places, DEPTH_SUFFIXES)
    if not image_places or not depth_places:
        image, depth = _by_stem(image_files), _by_stem(depth_files, "_depth")
        return found.told([Input(s, image.get(s), depth.get(s)) for s in sorted(image | depth)])

    given, (depth_place,) = few(list(map(str, image_places))), depth_places
    if len(image_places) == 1:
        (image_place,) = image_places
        if image_place.is_dir() != depth_place.is_dir():
            raise InputError(
                f"{given} and {depth_place}",
                "a file and a folder",
                "two files or two folders",
                "give one file of each kind, or the folders of both",
            )
        if not image_place.is_dir():
            return found.told([Input(image_place.stem, image_place, depth_place)])
    if depth_place.is_dir() and depth_place.resolve() in [
        place.resolve() for place in image_places
    ]:
        image_files = {p: stem for p, stem in image_files.items() if not stem.endswith("_depth")}
        depth_files = {p: stem for p, stem in depth_files.items() if stem.endswith("_depth")}
    image, depth = _by_stem(image_files), _by_stem(depth_files, "_depth")
    alone = [path.name for stem, path in depth.items() if stem not in image]
    if alone:
        raise InputError(
            str(depths),
            f"{few(alone)} without an image in {given}",
            "an image of the same name for every depth map",
            "add the images, move these depth maps away, or give depth alone",
        )
    return found.told([Input(stem, path, depth.get(stem)) for stem, path in image.items()])


def several(places: Place | Sequence[Place] | None) -> list[Place]:
    """Places as a list, whether none, one or several are given."""
    if places is None:
        return []
    return [places] if isinstance(places, str | os.PathLike) else list(places)


class _Search:
    """Looks for files, and keeps in mind what it leaves out.

    Args:
        named: the places that the user named, resolved.
    """

    def __init__(self, named: Collection[pathlib.Path]):
        self._named = named
        self._taken: set[pathlib.Path] = set()
        self._lacking: dict[pathlib.Path, InputError] = {}
        self._others: dict[pathlib.Path, None] = {}
        self._links: dict[pathlib.Path, None] = {}
        self._results: dict[pathlib.Path, None] = {}

    def files(
        self, places: Iterable[pathlib.Path], suffixes: tuple[str, ...]
    ) -> dict[pathlib.Path, str]:
        """The files of places, each with its stem, as `Input` has it.

        Raises:
            InputError: a place without such files, or one that cannot be read.
        """
        found: dict[pathlib.Path, str] = {}
        for place in places:
            try:
                there = place.exists()
            except OSError as error:  # a name that no file can have
                raise InputError(
                    str(place), error.strerror, "a file or a folder", "check the path"
                ) from error
            if not there:
                raise InputError(str(place), "nothing", "a file or a folder", "check the path")
            # A folder and a file of it may both be named: the first stem counts.
            if not place.is_dir():
                found.setdefault(place, place.stem)
                continue
            below = {
                path: path.relative_to(place).with_suffix("").as_posix()
                for path in self._below(place, suffixes)
            }
            if not below:
                for path, error in self._lacking.items():
                    if place in path.parents:
                        raise error
                clips = any(_is_video(path) for path in self._others if place in path.parents)
                raise InputError(
                    str(place),
                    "no such file" + ", but videos, which --image must name one by one" * clips,
                    f"files that end in {', '.join(suffixes)}",
                    "check the path",
                )
            found |= {path: stem for path, stem in below.items() if path not in found}
        self._taken |= found.keys()
        return found

    def told(self, inputs: list[Input]) -> Found:
        """The inputs, and what was left out besides."""
        others = [path for path in self._others if path not in self._taken]
        clips = [path for path in others if _is_video(path)]
        others = [path for path in others if path not in clips]
        notes = [
            f"{told} ({len(paths)}): {few(list(map(str, paths)))}"
            for told, paths in (
                ("what is no image is left out", others),
                ("videos are parsed where --image names each, and are left out", clips),
                ("links to folders are not followed", [*self._links]),
                ("folders with results of a prediction are not read", [*self._results]),
            )
            if paths
        ]
        return Found(inputs, list(self._lacking.values()), notes)

    def _below(self, place: pathlib.Path, suffixes: tuple[str, ...]) -> list[pathlib.Path]:
        """The files of a folder and of those below it, sorted by their paths."""

        def refuse(error: OSError):
            raise InputError(
                str(error.filename),
                (error.strerror or str(error)).lower(),
                "a folder that can be read",
                "check its permissions, or name other folders",
            ) from error

        found = []
        for folder, folders, names in os.walk(place, onerror=refuse):
            here = pathlib.Path(folder)
            folders[:] = [name for name in sorted(folders) if self._enters(here / name)]
            for path in (here / name for name in sorted(names) if not name.startswith(".")):
                suffix = path.suffix.lower()
                if suffix not in suffixes:
                    self._others[path] = None
                elif suffix in PHONES and (install := to_install(PHONES[suffix])):
                    self._lacking[path] = lacks_reader(str(path), PHONES[suffix], install)
                else:
                    found.append(path)
        return sorted(found)

    def _enters(self, folder: pathlib.Path) -> bool:
        if folder.name.startswith("."):
            return False
        if folder.is_symlink():
            self._links[folder] = None
            return False
        if holds_results(folder):
            self._results[folder] = None
            return False
        return folder.resolve() not in self._named  # it is read for itself


def _is_video(path: pathlib.Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _by_stem(files: dict[pathlib.Path, str], ending: str = "") -> dict[str, pathlib.Path]:
    named: dict[str, pathlib.Path] = {}
    for file, whole in files.items():
        stem = whole.removesuffix(ending)
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
