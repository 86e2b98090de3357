"""A user's own photographs and labels, with depth where there is any."""

import collections
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from faceparse_jax import labels
from faceparse_jax.errors import InputError, few
from tfds_builders import examples, files, official
from tfds_builders.folder import classes

_KINDS = {
    "images": (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    "labels": (".png",),
    "depth": (".png", ".npy"),
}
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_LAYOUT = "images/, labels/ and classes.txt, as tfds_builders/folder/README.md shows"
_AGAIN = "mend the file and run the same command"
VALIDATION_SHARE, TEST_SHARE = 0.1, 0.1


def hash_split(key: str) -> str:
    """The split of an id where neither folders nor lists name it.

    It is a function of the id alone, so that more photographs change the split of none: the
    smallest tenth of the hashes is the test split, the next tenth the validation split. The hash
    is another one than that which takes depth or labels away from a share of the examples.
    """
    digest = hashlib.sha256(f"split/{key}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


def find(manual_dir: pathlib.Path, config: str) -> official.Source:
    """The files of every photograph by split, from the names alone; see `Benchmark.find`."""
    for needed in ("images", "labels", classes.FILE):
        if not (manual_dir / needed).exists():
            raise InputError(
                str(manual_dir), f"no {needed}", _LAYOUT, f"add {needed}, or mend --manual_dir"
            )
    archive = files.Folder(manual_dir)
    text = archive.read(classes.FILE).decode("utf-8-sig", "replace")
    read = classes.parse(text, archive.where(classes.FILE), f"folder/{config}")
    named = {kind: {} for kind in _KINDS}
    lists, surplus, faults = {}, [], []
    for name in archive.names:
        kind, _, rest = name.partition("/")
        path = pathlib.PurePosixPath(rest)
        if kind in _KINDS and path.suffix.lower() in _KINDS[kind]:
            key = str(path.with_suffix(""))
            key = key.removesuffix("_depth") if kind == "depth" else key
            again = "remove or rename one of them and run the same command"
            what = "file of this name"
            faults += official.claim(named[kind], key, name, archive.where, again, what)
        elif name.removesuffix(".txt") in _SPLITS and name.endswith(".txt"):
            lists[name] = archive.read(name).decode("utf-8-sig", "replace")
        elif name != classes.FILE:
            surplus.append(name)
    photos, depth = named["images"], named["depth"]
    if not photos:
        files.raise_faults(archive.root, official.swapped(archive, "images", "labels", _AGAIN))
        expected = f"photographs ({', '.join(_KINDS['images'])})"
        raise InputError(archive.where("images"), "none", expected, "put them there")
    split_of, how, wrong = _splits(archive, photos, lists)
    faults += wrong
    parts = {
        kind: official.Part(
            # Lists choose among the files, and what they leave out may lack a part.
            {key: name for key, name in named[kind].items() if key in split_of or not lists},
            lambda key, kind=kind: str(pathlib.PurePosixPath(kind, key).parent),
        )
        for kind in ("images", "labels")
    }
    again = "add the missing file, or take this one away, and run the same command"
    keys, wrong = official.pair(parts["images"], {"a label": parts["labels"]}, archive, again)
    faults += wrong
    if depth and not depth.keys() & photos.keys():
        shown = few(sorted(depth.values()), 3)
        faults.append(
            InputError(
                archive.where("depth"),
                f"{len(depth):,} depth maps, none with the name of a photograph ({shown})",
                "files such as anna.png or anna_depth.npy for images/anna.jpg",
                "rename them, or move the folder away to build without depth",
            )
        )
    others = photos.keys() | named["labels"].keys()
    surplus += [name for key, name in depth.items() if key not in others]
    rows = collections.defaultdict(list)
    for key in keys:
        split, own = split_of[key]
        row = official.Row(own, photos[key], {"label": named["labels"][key]}, depth.get(key))
        rows[split].append(row)
    for split in ("train", "validation") if keys and not faults else ():
        if not rows[split]:
            told = ", ".join(f"{name} {len(of):,}" for name, of in rows.items() if of) or "none"
            faults.append(
                InputError(
                    f"{archive.root}, split {split}",
                    f"no photograph {how} ({told})",
                    "at least one, since a run trains on one split and is chosen by the other",
                    "choose the splits with lists train.txt, validation.txt and test.txt",
                )
            )
    notes = _notes(read.scheme, how, rows, photos, split_of)
    if not depth:
        files.note(f"no depth map in {archive.root}: every example is without depth")
    make = functools.partial(_make, archive, read)
    ordered = {split: rows[split] for split in ("train", "validation", "test") if rows[split]}
    return official.Source(
        read.scheme, archive, archive if depth else None, ordered, faults, surplus, make,
        notes=notes,
    )  # fmt: skip


def _splits(
    archive: files.Archive, photos: Mapping[str, str], lists: Mapping[str, str]
) -> tuple[dict[str, tuple[str, str]], str, list[InputError]]:
    """Split and id of each photograph by its path without suffix.

    Args:
        photos: the photographs' files.
        lists: texts of the files that list photographs, by name.

    Returns:
        Also how they were split, in words, and what is wrong. Photographs that no list has are
        left out.

    Raises:
        InputError: some photographs in folders of splits, and others or lists beside them, or two
            folders of one split.
    """
    top = {key: key.partition("/") for key in photos}
    in_folders = {
        key: (_SPLITS[first], rest)
        for key, (first, _, rest) in top.items()
        if first in _SPLITS and rest
    }
    if in_folders:
        beside = [photos[key] for key in photos if key not in in_folders]
        if beside or lists:
            raise InputError(
                archive.where("images"),
                f"folders of splits, and {few([*lists, *beside], 3)} beside them",
                "folders of splits, lists, or neither",
                "move the photographs into the folders, or remove folders or lists",
            )
        first = {}
        for folder in sorted({key.partition("/")[0] for key in in_folders}):
            if (other := first.setdefault(_SPLITS[folder], folder)) != folder:
                raise InputError(
                    archive.where(f"images/{folder}"),
                    f"a second folder of this split beside {other}",
                    "one folder for each split",
                    f"move its files to {other}",
                )
        return in_folders, "by its folder", []
    if not lists:
        return {key: (hash_split(key), key) for key in photos}, "by the hash of its name", []
    found, faults = {}, []
    for name, text in lists.items():
        for number, line in enumerate(text.splitlines(), 1):
            entry = line.strip().removeprefix("images/")
            if not entry or entry.startswith("#"):
                continue
            path = pathlib.PurePosixPath(entry)
            key = entry if entry in photos else str(path.with_suffix(""))
            if key not in photos or path.suffix.lower() not in ("", *_KINDS["images"]):
                wrong = "no photograph of this name in images"
            elif key in found:
                wrong = "a photograph that is listed already"
            else:
                found[key] = (_SPLITS[name.removesuffix(".txt")], key)
                continue
            where = f"{archive.where(name)}, line {number}"
            expected = "names of photographs, each once in one list"
            faults.append(InputError(where, f"{entry[:60]!r}, {wrong}", expected, _AGAIN))
    return found, "by the lists", faults


def _notes(
    scheme: labels.Scheme,
    how: str,
    rows: Mapping[str, Sequence[official.Row]],
    photos: Mapping[str, str],
    split_of: Mapping[str, object],
) -> list[str]:
    """What a user should look at once: splits, sides, and photographs that are left out."""
    names = [(scheme.classes[a], scheme.classes[b]) for a, b in scheme.swap_pairs]
    pairs = ", ".join(f"{left} and {right}" for left, right in names)
    sides = (
        f"{pairs} change places in mirror images; left is the {scheme.left_of}'s"
        if pairs
        else "no classes change places in mirror images"
    )
    notes = [
        f"each photograph has its split {how}",
        sides,
    ]
    if not rows.get("test"):
        notes.append("no test split: evaluate with --config.eval.split=validation")
    if out := [name for key, name in photos.items() if key not in split_of]:
        notes.append(f"{len(out):,} photographs that no list has are left out: {few(out, 3)}")
    return notes


def _make(archive: files.Archive, read: classes.Classes, row: official.Row) -> examples.Example:
    name = row.label["label"]
    label = classes.read_label(archive.read(name), archive.where(name), read)
    depth = (archive, row.depth) if row.depth else None
    made = examples.example(
        archive, row.key, row.image, label, name, read.scheme, depth, files.read_any_photo, _AGAIN
    )
    if made.shape != label.shape:
        raise InputError(
            archive.where(row.image),
            "{1}x{0} pixels".format(*made.shape),
            "{1}x{0} as its label has".format(*label.shape),
            "scale one of them to the size of the other (labels without smoothing)",
        )
    return made


class Builder(official.Benchmark):
    """A user's own photographs; the config is the name that the user gives them."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="own", description="your photographs, or any other name"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "own"
    NEAR_DUPLICATES = None
    DEPTH_SOURCE = "given"
    HOMEPAGE = ""
    LICENSE = "That of the photographs, which their owner knows."
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    1. Put photographs, labels and depth maps (which may lack) into one folder MYDATA:
         MYDATA/images/*.jpg, MYDATA/labels/*.png, MYDATA/depth/*.png, MYDATA/classes.txt
    2. python -m tfds_builders.build --name folder --manual_dir MYDATA
    """

    @classmethod
    def find(cls, manual_dir: pathlib.Path, config: str) -> official.Source:
        return find(manual_dir, config)
