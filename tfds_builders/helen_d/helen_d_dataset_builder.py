"""Helen with part labels, and the depth maps of Helen-D; one config for each labelling."""

import functools
import hashlib
import pathlib
import re
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from faceparse_jax import images, labels
from faceparse_jax.errors import InputError
from tfds_builders import examples, files, official

_SMITH = ("SmithCVPR2013_dataset_resized", "SmithCVPR2013_dataset_original")
_RELABELLED = ("helenstar_release", "helenstar")
_RELABELLED_TRAIN = 1_999
_LISTS = {"train": "exemplars.txt", "validation": "tuning.txt", "test": "testing.txt"}
_AGAIN = "extract the archive of part labels again and run the same command"
_PARTS = tuple(f"lbl{i:02d}" for i in range(labels.HELEN.num_classes))


def read_list(text: str, where: str) -> tuple[list[str], list[InputError]]:
    """Ids of a split from lines `<n> , <id>`.

    Returns:
        Also a fault for each line of another form, and for each id given twice.
    """
    ids, faults = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*\d+\s*,\s*(\S+)\s*", line)
        if not match or match[1] in ids:
            found = repr(line.strip()[:40])
            expected = "a number, a comma and an id, each id once"
            faults.append(InputError(f"{where}, line {number}", found, expected, _AGAIN))
        else:
            ids.append(match[1])
    return ids, faults


def read_soft_label(archive: files.Archive, parts: dict[str, str]) -> np.ndarray:
    """Label u8 [h w]: the part whose soft map is largest, the first among equals.

    Raises:
        InputError: a missing or unreadable map, or maps of different size.
    """
    maps = []
    for part in _PARTS:
        name = parts[part]
        maps.append(images.read_depth(archive.read(name), archive.where(name)))
        if maps[-1].shape != maps[0].shape:
            found, expected = ("{1}x{0} pixels".format(*m.shape) for m in (maps[-1], maps[0]))
            raise InputError(archive.where(name), found, f"{expected} as the first map", _AGAIN)
    return np.argmax(np.stack(maps), axis=0).astype(np.uint8)


def held_out(key: str) -> bool:
    """Whether an example of the relabelled training set is kept for validation: one in ten.

    The relabelled set has no validation split; this one is our choice, by a hash of the id.
    """
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10 == 0


def find_smith(manual_dir: pathlib.Path) -> official.Source:
    """The files of Smith et al. 2013: eleven soft maps for each photograph."""
    archive = files.open_any(manual_dir, _SMITH, "images")
    photos, maps, surplus, faults = {}, {}, [], []
    for name in archive.names:
        folder, _, rest = name.partition("/")
        stem = pathlib.PurePosixPath(name).stem
        key, _, part = stem.rpartition("_")
        if folder == "images" and name.lower().endswith((".jpg", ".jpeg")):
            faults += official.claim(photos, stem, name, archive.where, _AGAIN)
        elif folder == "labels" and part in _PARTS and rest == f"{key}/{stem}.png":
            maps.setdefault(key, {})[part] = name
        elif name not in _LISTS.values():
            surplus.append(name)
    if not photos:
        files.raise_faults(archive.root, official.swapped(archive, "images", "labels", _AGAIN))
        raise InputError(f"{archive.root}/images", "no .jpg", "photographs", _AGAIN)
    for key, parts in maps.items():
        missing = [part for part in _PARTS if part not in parts]
        if missing:
            found = f"soft maps without {', '.join(missing)}"
            faults.append(InputError(f"{archive.root}/labels/{key}", found, "all eleven", _AGAIN))
    first = {key: min(parts.values()) for key, parts in maps.items()}
    complete, wrong = official.pair(
        official.Part(photos, lambda key: "images"),
        {"soft maps": official.Part(first, lambda key: "labels")},
        archive,
        _AGAIN,
    )
    complete = [key for key in complete if len(maps[key]) == len(_PARTS)]
    depth = files.open_depth(manual_dir, "Helen-D")
    with_depth, surplus_depth, depth_faults = files.match_depth(depth, {**photos, **maps})
    rows, listed = {}, {}
    for split, file in _LISTS.items():
        if file not in archive.names:
            faults.append(InputError(f"{archive.root}/{file}", "no such file", "a list", _AGAIN))
            continue
        text = archive.read(file).decode("utf-8-sig", "replace")
        ids, wrong_lines = read_list(text, archive.where(file))
        faults += wrong_lines
        for key in ids:
            if listed.setdefault(key, file) != file:
                found = f"an id that {listed[key]} has too"
            elif key not in photos and key not in maps:
                found = "an id without files"
            else:
                continue  # `pair` tells of soft maps without image
            where = f"{archive.where(file)}, {key}"
            faults.append(InputError(where, found, "ids with files, each in one list", _AGAIN))
        chosen = set(complete).intersection(ids)
        rows[split] = [
            official.Row(key, photos[key], maps[key], with_depth.get(key)) for key in sorted(chosen)
        ]
    surplus += [photos[key] for key in sorted(photos.keys() - listed.keys())]

    def label(row: official.Row) -> np.ndarray:
        return read_soft_label(archive, row.label)

    make = functools.partial(_make, archive, depth, label)
    faults += wrong + depth_faults
    return official.Source(
        labels.HELEN, archive, depth, rows, faults, surplus + surplus_depth, make
    )


def find_relabelled(manual_dir: pathlib.Path) -> official.Source:
    """The files of Lin et al. 2019: `{id}_image.jpg` and `{id}_label.png` in train and test."""
    archive = files.open_any(manual_dir, _RELABELLED, "train")
    found = {(split, kind): {} for split in ("train", "test") for kind in ("image", "label")}
    surplus, faults = [], []
    for name in archive.names:
        split, _, file = name.partition("/")
        stem, _, end = file.rpartition(".")
        key, _, kind = stem.rpartition("_")
        if (split, kind) in found and end.lower() == {"image": "jpg", "label": "png"}[kind]:
            faults += official.claim(found[split, kind], key, name, archive.where, _AGAIN)
        elif split != "test_resize":
            surplus.append(name)
    if not found["train", "image"]:
        expected = "photographs named ID_image.jpg"
        raise InputError(f"{archive.root}/train", "none", expected, _AGAIN)
    # Of which `held_out` takes its share, so that no count of one split is official.
    if len(found["train", "image"]) != _RELABELLED_TRAIN:
        count = f"{len(found['train', 'image']):,} images for training and validation"
        files.note(f"{count}, not the official {_RELABELLED_TRAIN:,}")
    rows, everything = {"train": [], "validation": [], "test": []}, []
    for split in ("train", "test"):
        image, label = (
            official.Part(found[split, kind], lambda key, split=split: split)
            for kind in ("image", "label")
        )
        keys, wrong = official.pair(image, {"a label map": label}, archive, _AGAIN)
        faults += wrong
        everything += [(split, key) for key in keys]
    for key in sorted(found["train", "image"].keys() & found["test", "image"].keys()):
        where = archive.where(found["test", "image"][key])
        faults.append(InputError(where, "an id that train has too", "each id in one split", _AGAIN))
    depth = files.open_depth(manual_dir, "Helen-D")
    ids = {key for named in found.values() for key in named}
    with_depth, surplus_depth, wrong = files.match_depth(depth, ids)
    for split, key in everything:
        to = "validation" if split == "train" and held_out(key) else split
        label = {"label": found[split, "label"][key]}
        row = official.Row(key, found[split, "image"][key], label, with_depth.get(key))
        rows[to].append(row)

    def label(row: official.Row) -> np.ndarray:
        name = row.label["label"]
        return images.read_label(archive.read(name), archive.where(name))

    make = functools.partial(_make, archive, depth, label)
    return official.Source(
        labels.HELEN, archive, depth, rows, faults + wrong, surplus + surplus_depth, make
    )


def _make(archive, depth, label, row: official.Row) -> examples.Example:
    own = (depth, row.depth) if row.depth else None
    name = next(iter(row.label.values()))
    return examples.example(archive, row.key, row.image, label(row), name, labels.HELEN, own)


class Builder(official.Benchmark):
    """Helen-D; the config is the labelling."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="smith", description="soft maps of Smith et al. 2013"),
        tfds.core.BuilderConfig(name="relabelled", description="label maps of Lin et al. 2019"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "smith"
    OFFICIAL_COUNTS: ClassVar = {
        "smith": {"train": 2_000, "validation": 230, "test": 100},
        "relabelled": {"test": 100},
    }
    HOMEPAGE = "https://pages.cs.wisc.edu/~lizhang/projects/face-parsing/"
    LICENSE = "Research only; no redistribution of the photographs."
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    1. For --config smith fetch the part labels of Smith et al. from {HOMEPAGE}; for --config
       relabelled fetch helenstar_release.zip of Lin et al. 2019 ("Face Parsing With RoI Tanh-
       Warping").
    2. Fetch Helen-D.zip, the depth maps, from {official.DEPTH_PAGE}. Without it the set is
       built from the photographs alone.
    3. Put all into one folder D, zipped or extracted:
         D/SmithCVPR2013_dataset_resized/ (or _original) with images/, labels/, exemplars.txt ...
         D/helenstar_release/ with train/ID_image.jpg, train/ID_label.png and test/
         D/Helen-D.zip or D/Helen-D/
    4. python -m tfds_builders.build --name helen_d --manual_dir D [--config relabelled]
    """

    @classmethod
    def find(cls, manual_dir: pathlib.Path, config: str) -> official.Source:
        return find_smith(manual_dir) if config == "smith" else find_relabelled(manual_dir)
