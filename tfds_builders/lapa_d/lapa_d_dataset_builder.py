"""LaPa with the depth maps of LaPa-D."""

import dataclasses
import functools
import pathlib
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from faceparse_jax import images, labels
from faceparse_jax.data import overlap
from faceparse_jax.errors import InputError
from tfds_builders import examples, files, official

_NAME = "LaPa"
_AGAIN = "extract the LaPa archive again and run the same command"
_FOLDERS = {"train": "train", "val": "validation", "test": "test"}
_KINDS = {"images": (".jpg", ".jpeg"), "labels": (".png",), "landmarks": (".txt",)}
NUM_LANDMARKS = 106


def read_landmarks(data: bytes, where: str) -> np.ndarray:
    """Landmarks [106 2] as x, y in pixels, from a line `106` and 106 lines `x y`.

    Raises:
        InputError: another number of lines, or lines that are not two finite numbers.
    """
    lines = data.decode("utf-8-sig", "replace").split("\n")
    lines = [line for line in (line.strip() for line in lines) if line]
    expected = f"a line {NUM_LANDMARKS} and {NUM_LANDMARKS} lines of x and y"
    if not lines or lines[0] != str(NUM_LANDMARKS) or len(lines) != NUM_LANDMARKS + 1:
        first = lines[0][:20] if lines else ""
        found = f"{max(len(lines) - 1, 0)} landmarks after the line {first!r}"
        raise InputError(where, found, expected, _AGAIN)
    try:
        points = np.array([line.split() for line in lines[1:]], np.float32)
    except ValueError:
        points = np.empty(0)
    if points.shape != (NUM_LANDMARKS, 2) or not np.isfinite(points).all():
        raise InputError(where, "lines that are not two numbers", expected, _AGAIN)
    return points


def far_outside(points: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a landmark lies more than half of the picture's size outside of it.

    A landmark of a face at the border may lie outside; one that is so far off is wrong.

    Args:
        points: x and y in pixels, [n 2].
        shape: height and width of the picture in pixels.
    """
    size = np.array(shape[::-1])
    return bool(((points < -size / 2) | (points > 1.5 * size)).any())


def find(manual_dir: pathlib.Path, config: str) -> official.Source:
    """LaPa's files; see `official.Benchmark.find`."""
    archive = files.open_archive(manual_dir, _NAME, "train/images")
    depth = files.open_depth(manual_dir, f"{_NAME}-D")
    found = {(split, kind): {} for split in _FOLDERS for kind in _KINDS}
    surplus, faults = [], []
    for name in archive.names:
        split, _, rest = name.partition("/")
        kind, _, file = rest.partition("/")
        if (split, kind) not in found or not file.lower().endswith(_KINDS[kind]):
            surplus.append(name)
        else:
            named = found[split, kind]
            faults += official.claim(named, files.file_id(file), name, archive.where, _AGAIN)
    for split in _FOLDERS:
        faults += official.swapped(archive, f"{split}/images", f"{split}/labels", _AGAIN)
    if not any(found[split, "images"] for split in _FOLDERS):
        files.raise_faults(archive.root, faults)
        where = f"{archive.root}/train/images"
        raise InputError(where, "no .jpg", "photographs (.jpg)", _AGAIN)
    # All splits as one, so that what one extraction left out is one fault.
    parts = {
        kind: official.Part(
            {
                f"{split}/{key}": name
                for split in _FOLDERS
                for key, name in found[split, kind].items()
            },
            lambda place, kind=kind: f"{place.partition('/')[0]}/{kind}",
        )
        for kind in _KINDS
    }
    needed = {"a label map": parts["labels"], "a landmark file": parts["landmarks"]}
    complete, wrong = official.pair(parts["images"], needed, archive, _AGAIN)
    faults += wrong
    ids = {key for named in found.values() for key in named}
    with_depth, surplus_depth, wrong = files.match_depth(depth, ids)
    faults += wrong
    rows, owner = {split: [] for split in _FOLDERS.values()}, {}
    for split in _FOLDERS:
        for key in (place.partition("/")[2] for place in complete if place.startswith(f"{split}/")):
            image, label, landmarks = (found[split, kind][key] for kind in _KINDS)
            row = official.Row(key, image, {"label": label}, with_depth.get(key), landmarks)
            rows[_FOLDERS[split]].append(row)
            if owner.setdefault(key, split) != split:
                again = f"an id that {owner[key]} has too"
                where = archive.where(image)
                faults.append(InputError(where, again, "each id in one split", _AGAIN))
    counts = {split: sum(overlap.of_helen(row.key) for row in of) for split, of in rows.items()}
    told = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    note = f"warped photographs of Helen (HELEN_*): {told}"
    if config == overlap.WITHOUT_HELEN:
        note += "; they are left out"
        rows = {s: [row for row in of if not overlap.of_helen(row.key)] for s, of in rows.items()}
    elif any(counts.values()):
        note += (
            "; networks that train on them have seen photographs that are scored in Helen "
            f"(--config {overlap.WITHOUT_HELEN} leaves them out)"
        )
    make = functools.partial(_make, archive, depth)
    surplus += surplus_depth
    return official.Source(labels.LAPA, archive, depth, rows, faults, surplus, make, notes=[note])


def _make(
    archive: files.Archive, depth: files.Archive | None, row: official.Row
) -> examples.Example:
    name = row.label["label"]
    label = images.read_label(archive.read(name), archive.where(name))
    own = (depth, row.depth) if row.depth else None
    points = read_landmarks(archive.read(row.landmarks), archive.where(row.landmarks))
    made = examples.example(archive, row.key, row.image, label, name, labels.LAPA, own)
    oddities = made.oddities
    if far_outside(points, made.shape):
        oddities += ("landmarks far outside the picture",)
    features = {**made.features, "landmarks": points}
    return dataclasses.replace(made, features=features, oddities=oddities)


class Builder(official.Benchmark):
    """LaPa-D."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="official", description="the official labels and splits"),
        tfds.core.BuilderConfig(
            name=overlap.WITHOUT_HELEN,
            description="without the warped photographs of Helen, to be scored on Helen",
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "official"
    OFFICIAL_COUNTS: ClassVar = {
        "official": {"train": 18_176, "validation": 2_000, "test": 2_000},
        overlap.WITHOUT_HELEN: {
            "train": 18_176 - overlap.OF_HELEN,
            "validation": 2_000,
            "test": 2_000,
        },
    }
    HOMEPAGE = "https://github.com/jd-opensource/lapa-dataset"
    LICENSE = "Non-commercial research only; no redistribution of the photographs."
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    1. Ask for LaPa on {HOMEPAGE}, under its terms, and unpack it.
    2. Fetch LaPa-D.zip, the depth maps, from {official.DEPTH_PAGE}. Without it the set is
       built from the photographs alone.
    3. Put both into one folder D:
         D/LaPa/train/images/*.jpg, D/LaPa/train/labels/*.png, D/LaPa/train/landmarks/*.txt,
         the same below val and test (or D/LaPa.zip with them), and D/LaPa-D.zip or D/LaPa-D/
    4. python -m tfds_builders.build --name lapa_d --manual_dir D [--config without_helen]
    """

    @classmethod
    def find(cls, manual_dir: pathlib.Path, config: str) -> official.Source:
        return find(manual_dir, config)

    def extra_features(self) -> dict[str, Any]:
        return {"landmarks": tfds.features.Tensor(shape=(NUM_LANDMARKS, 2), dtype=np.float32)}
