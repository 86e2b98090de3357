"""Official archives as files by id, for every benchmark builder.

Archives are folders or zips; zips are streamed, never extracted. What is wrong is gathered
and raised as one error. Memory holds the names of the files, never their contents.
"""

import collections
import io
import lzma
import os
import pathlib
import re
import sys
import zipfile
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from faceparse_jax import images
from faceparse_jax.errors import InputError, few
from faceparse_jax.images.read import load

MAX_MEMBER = 64 * 2**20
"""Bytes that one file of a zip may inflate to."""

MAX_MEMBERS = 2_000_000
"""Files of a zip; the largest benchmark has some 400,000."""

SHOWN_FAULTS = 20

BULK = 10
"""So many faults of one cause may be told as one; see `gathered`."""


class Faults(InputError):
    """Several faults of one set of files, told at once: the first 20 and the count."""

    def __init__(self, where: object, faults: Sequence[InputError]):
        super().__init__(
            str(where), f"{len(faults):,} faults", "none", "mend them and run the same command"
        )
        lines = [f"{where}: {len(faults):,} faults"]
        lines += [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
        if len(faults) > SHOWN_FAULTS:
            lines.append(f"  and {len(faults) - SHOWN_FAULTS:,} more")
        self.args = ("\n".join(lines),)


class Missing(InputError):
    """A file that has to be beside another one is not there.

    Attributes:
        folder: where it should lie.
    """

    def __init__(self, what: str, found: str, expected: str, next_step: str, folder: str):
        super().__init__(what, found, expected, next_step)
        self.folder = folder


class Bulk(InputError):
    """Many faults of one cause, told as one."""


def gathered(faults: Sequence[InputError], photographs: int) -> list[InputError]:
    """The same faults, but those that one cause repeats in bulk are one `Bulk`.

    Faults have one cause where they differ in the file alone. They come in bulk where there are
    at least `BULK` of them, and more than a tenth of the photographs or `SHOWN_FAULTS` are hit.

    Args:
        faults: what was found wrong, file by file.
        photographs: how many photographs were looked at.
    """
    causes = collections.defaultdict(list)
    for fault in faults:
        causes[fault.found, fault.expected, fault.next_step].append(fault)
    told = []
    for (found, expected, next_step), same in causes.items():
        if len(same) < BULK or len(same) <= min(photographs / 10, SHOWN_FAULTS):
            told += same
            continue
        places = [getattr(fault, "folder", fault.what) for fault in same]
        names = few([pathlib.PurePosixPath(fault.what).name for fault in same], 3)
        told.append(
            Bulk(
                os.path.commonpath(places),
                f"{found}, {len(same):,} times ({names})",
                expected,
                f"{next_step}; so many at once may mean that an extraction stopped half-way",
            )
        )
    return told


def raise_faults(where: object, faults: Sequence[InputError]) -> None:
    """Raises what was found wrong, as itself or as `Faults`; returns where nothing was."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise Faults(where, faults)


def note(text: str) -> None:
    """Tells the user something that does not stop the build."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


class Folder:
    """An extracted archive: `names` are paths below `root`, with forward slashes.

    Raises:
        InputError: a folder below `root` that cannot be read.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        found, seen = [], set()
        for folder, folders, files in os.walk(root, followlinks=True, onerror=self._refuse):
            if (real := os.path.realpath(folder)) in seen:  # links may lead in circles
                folders.clear()
                continue
            seen.add(real)
            below = pathlib.Path(folder).relative_to(root)
            found += [(below / file).as_posix() for file in files]
        self.names = sorted(name for name in found if not _hidden(name))

    @staticmethod
    def _refuse(error: OSError) -> None:
        raise InputError(
            error.filename, error.strerror, "a folder that can be read", "check its permissions"
        ) from error

    def where(self, name: str) -> str:
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        return images.contents(self.root / name)[0]


# What Python's readers of compressed members raise, whatever the method.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
)


class Zip:
    """A zipped archive: `names` are its members without a leading folder `inside`.

    Raises:
        InputError: no zip, more than `MAX_MEMBERS`, names that lead out of the archive, or a
            member that is above `MAX_MEMBER` when inflated.
    """

    def __init__(self, root: pathlib.Path, inside: str = ""):
        self.root = root
        try:
            self._zip = zipfile.ZipFile(root)
        # A RuntimeError tells of an archive of a version that zipfile cannot read.
        except (zipfile.BadZipFile, OSError, RuntimeError, ValueError) as error:
            raise InputError(
                str(root), str(error), "a zip archive", "fetch the file again"
            ) from error
        if len(self._zip.infolist()) > MAX_MEMBERS:
            found = f"{len(self._zip.infolist()):,} members"
            raise InputError(str(root), found, f"at most {MAX_MEMBERS:,}", "fetch the file again")
        faults, self._members = [], {}
        for member in self._zip.infolist():
            name = member.filename.replace("\\", "/")
            if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
                found, expected = "a name that leads out of the archive", "names inside it"
            elif member.file_size > MAX_MEMBER:
                found = f"a member of {member.file_size:,} bytes"
                expected = f"at most {MAX_MEMBER:,}"
            elif member.is_dir() or _hidden(name):
                continue
            elif self._members.setdefault(name.removeprefix(f"{inside}/"), member) is not member:
                found, expected = "a second member of this name", "each name once"
            else:
                continue
            faults.append(InputError(f"{root}/{name}", found, expected, "fetch the archive again"))
        raise_faults(root, faults)
        self.names = sorted(self._members)

    def where(self, name: str) -> str:
        return f"{self.root}/{self._members[name].filename}"

    def read(self, name: str) -> bytes:
        try:
            with self._zip.open(self._members[name]) as file:
                return file.read(MAX_MEMBER)
        except _DAMAGED as error:
            raise InputError(
                self.where(name),
                "a damaged or encrypted member",
                "one that can be inflated",
                "fetch the archive again",
            ) from error


Archive = Folder | Zip


def open_archive(manual_dir: pathlib.Path, name: str, marker: str) -> Archive:
    """The archive `name`, as the folder or as the zip in `manual_dir`.

    Args:
        manual_dir: where the user put it.
        name: the archive's folder, and its zip without `.zip`.
        marker: a folder that the archive has at its top.

    Raises:
        InputError: nothing there, or the archive at another folder level.
    """
    folder, packed = manual_dir / name, manual_dir / f"{name}.zip"
    if (folder / marker).is_dir():
        return Folder(folder)
    expected = f"{name}/{marker} or {name}.zip in the folder given as --manual_dir"
    if packed.is_file() and not folder.exists():
        archive = Zip(packed, inside=name)
        if any(member.startswith(f"{marker}/") for member in archive.names):
            return archive
        raise InputError(
            str(packed), f"no {name}/{marker} in it", f"the official {name}.zip", "fetch it again"
        )
    if (manual_dir / marker).is_dir():
        move = (
            f"run again with --manual_dir {manual_dir.resolve().parent}"
            if manual_dir.resolve().name == name
            else f"move the files of {manual_dir} into {folder} and run again"
        )
        raise InputError(
            str(manual_dir), f"{marker} in it, which is one level too deep", expected, move
        )
    for parent in [folder, *sorted(p for p in manual_dir.glob("*") if p.is_dir())]:
        if (parent / name / marker).is_dir() or (parent / f"{name}.zip").is_file():
            raise InputError(
                str(manual_dir),
                f"the archive one level deeper, in {parent}",
                expected,
                f"run again with --manual_dir {parent}",
            )
    found = f"{name} without {marker}" if folder.exists() else f"neither {name} nor {name}.zip"
    raise InputError(
        str(manual_dir), found, expected, "fetch the archive as the builder's README.md says"
    )


def open_any(manual_dir: pathlib.Path, names: Sequence[str], marker: str) -> Archive:
    """The archive under the first of several names that is there; see `open_archive`."""
    there = (n for n in names if (manual_dir / n).exists() or (manual_dir / f"{n}.zip").exists())
    return open_archive(manual_dir, next(there, names[0]), marker)


def open_depth(manual_dir: pathlib.Path, name: str) -> Archive | None:
    """The archive of depth maps, zip before folder; None where there is neither."""
    if (manual_dir / f"{name}.zip").exists():
        return Zip(manual_dir / f"{name}.zip")
    if (manual_dir / name).is_dir():
        return Folder(manual_dir / name)
    note(f"no {name}.zip and no folder {name} in {manual_dir}: every example is without depth")
    return None


def file_id(name: str) -> str:
    """The id in a file's name: the stem without `_depth` and without leading zeros."""
    stem = pathlib.PurePosixPath(name).stem.removesuffix("_depth")
    return str(int(stem)) if stem.isascii() and stem.isdecimal() else stem


def match_depth(
    archive: Archive | None, ids: Iterable[str]
) -> tuple[dict[str, str], list[str], list[InputError]]:
    """Depth maps for ids, by file name at any folder level.

    Args:
        archive: None where the user has no depth maps.
        ids: of every photograph, as `file_id` gives them; also of those that lack other files,
            so that what is missing there is not told a second time as depth without image.

    Returns:
        File name by id, for the ids that have depth; the files that belong to no image; and a
        fault for every second map of an id, or one where no map has the id of an image.
    """
    if archive is None:
        return {}, [], []
    named, others, faults = {}, [], []
    for name in archive.names:
        if not name.lower().endswith((".png", ".jpg", ".jpeg", ".npy")):
            others.append(name)
            continue
        first = named.setdefault(file_id(name), name)
        if first != name:
            faults.append(
                InputError(
                    archive.where(first),
                    f"a second depth map of this id, {archive.where(name)}",
                    "one file for each id",
                    "remove the wrong one and run the same command",
                )
            )
    wanted = {key: named[key] for key in ids if key in named}
    if not wanted:
        shown = few(sorted(pathlib.PurePosixPath(name).name for name in named.values()), 3)
        fault = InputError(
            str(archive.root),
            f"{len(named):,} depth maps, none with the id of an image ({shown})"
            if named
            else "no depth map in it",
            "files such as 123.png or 00123_depth.npy",
            "fetch the archive again, look whether it belongs to another benchmark, or move it "
            "away to build without depth",
        )
        faults.append(fault)
    return wanted, sorted(set(named.values()) - set(wanted.values())) + others, faults


Photo = tuple[bytes, tuple[int, int], bool]
"""See `read_photo`."""


def read_photo(archive: Archive, name: str) -> Photo:
    """An image's bytes as they are, found to decode, and its height and width in pixels.

    Returns:
        Also whether EXIF asks viewers to turn it; the bytes and the size are not turned.
    """
    data = archive.read(name)
    height, width, _ = images.read_image(data, archive.where(name), upright=False).shape
    if not data.startswith(b"\xff\xd8"):
        raise InputError(
            archive.where(name), "no JPEG", "the archive's JPEG file", "extract the archive again"
        )
    return data, (height, width), images.turn_of(data) is not None


def encode_png(values: np.ndarray) -> bytes:
    """The bytes of a PNG of an array [h w] or [h w 3]."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def read_any_photo(archive: Archive, name: str) -> Photo:
    """As `read_photo`, of every form that can be read: what is no JPEG of grey or RGB becomes PNG.

    Its pixels are those that `images.read_image` gives.
    """
    data, where = archive.read(name), archive.where(name)
    if data.startswith(b"\xff\xd8") and load(data, where).mode in ("L", "RGB"):
        return read_photo(archive, name)
    picture = images.read_image(data, where, upright=False)
    return encode_png(picture), picture.shape[:2], images.turn_of(data) is not None


def read_depth(archive: Archive, name: str) -> np.ndarray:
    """Depth [h w] of one file, u8 or u16 as stored; see `images.check_depth_range`."""
    where = archive.where(name)
    depth = images.read_depth(archive.read(name), where)
    images.check_depth_range(depth, where)
    return depth
