"""CelebAMask-HQ with the depth maps of CelebAMask-HQ-D; one config for each merge order."""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from faceparse_jax import images, labels
from faceparse_jax.errors import InputError
from tfds_builders import examples, files, official

_NAME = "CelebAMask-HQ"
_IMAGES = "CelebA-HQ-img"
_MASKS = "CelebAMask-HQ-mask-anno"
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_AGAIN = f"extract {_NAME}.zip again and run the same command"


@dataclasses.dataclass(eq=False)
class MergeOrder(tfds.core.BuilderConfig):
    """The order in which overlapping part masks are painted: a key of `MERGE_ORDERS`."""


def official_split(celeba_number: int) -> str:
    """The split of CelebA for the number in `orig_file`, as the benchmark uses it."""
    if celeba_number <= 162_770:
        return "train"
    return "validation" if celeba_number <= 182_637 else "test"


def read_mapping(text: str, where: str) -> tuple[dict[str, str], list[InputError]]:
    """Split by image id from `CelebA-HQ-to-CelebA-mapping.txt`.

    Returns:
        Also a fault for each line that is not `idx orig_idx orig_file ...` with the number
        in orig_file one above orig_idx, or whose idx an earlier one has.
    """
    splits, faults = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        columns = line.split()
        if not columns or columns[0] == "idx":
            continue
        file = columns[2].partition(".")[0] if len(columns) > 2 else ""
        good = all(c.isascii() and c.isdecimal() and len(c) < 10 for c in (*columns[:2], file))
        if not good or int(file) != int(columns[1]) + 1 or str(int(columns[0])) in splits:
            faults.append(
                InputError(
                    f"{where}, line {number}",
                    repr(" ".join(columns[:3])[:60]),
                    "idx, orig_idx and the file of number orig_idx + 1, each idx once",
                    _AGAIN,
                )
            )
        else:
            splits[str(int(columns[0]))] = official_split(int(file))
    return splits, faults


def _mask_folder(key: str) -> str:
    """Where the archive has the masks of an image: 2,000 images share a folder."""
    return f"{_MASKS}/{int(key) // 2_000}" if key.isdecimal() else _MASKS


def find(manual_dir: pathlib.Path, order: str) -> official.Source:
    """The files of every photograph by split, from the names alone; see `Benchmark.find`."""
    archive = files.open_archive(manual_dir, _NAME, _IMAGES)
    depth = files.open_depth(manual_dir, f"{_NAME}-D")
    surplus = []

    def fault(name: str, found: str, expected: str) -> None:
        faults.append(InputError(archive.where(name), found, expected, _AGAIN))

    if _MAPPING not in archive.names:
        raise InputError(f"{archive.root}/{_MAPPING}", "no such file", "the mapping file", _AGAIN)
    text = archive.read(_MAPPING).decode("utf-8-sig", "replace")
    splits, faults = read_mapping(text, archive.where(_MAPPING))
    photos, masks = {}, collections.defaultdict(dict)
    for name in archive.names:
        folder = name.partition("/")[0]
        if folder == _IMAGES and name.lower().endswith((".jpg", ".jpeg")):
            faults += official.claim(photos, files.file_id(name), name, archive.where, _AGAIN)
        elif folder == _MASKS and name.lower().endswith(".png"):
            number, _, part = pathlib.PurePosixPath(name).stem.partition("_")
            if part not in labels.MERGE_ORDERS["official"]:
                fault(name, f"a mask of {part!r}", "a part of the official list")
                continue
            named = masks[files.file_id(number)]
            faults += official.claim(named, part, name, archive.where, _AGAIN, "mask of this part")
        elif name != _MAPPING:
            surplus.append(name)
    for key, name in photos.items():
        if key not in splits:
            fault(name, f"an image that {_MAPPING} does not have", "a line for it")
    if not photos:
        files.raise_faults(archive.root, official.swapped(archive, _IMAGES, _MASKS, _AGAIN))
        raise InputError(f"{archive.root}/{_IMAGES}", "no .jpg", "0.jpg to 29999.jpg", _AGAIN)
    first = {key: min(parts.values()) for key, parts in masks.items()}
    keys, wrong = official.pair(
        official.Part(photos, lambda key: _IMAGES),
        {"part masks": official.Part(first, _mask_folder)},
        archive,
        _AGAIN,
    )
    keys = sorted(splits.keys() & set(keys), key=int)
    with_depth, surplus_depth, depth_faults = files.match_depth(depth, {**photos, **masks})
    rows = {split: [] for split in ("train", "validation", "test")}
    for key in keys:
        row = official.Row(key, photos[key], masks[key], with_depth.get(key))
        rows[splits[key]].append(row)
    make = functools.partial(_make, archive, depth, order)
    faults += wrong + depth_faults
    surplus += surplus_depth
    absent = sorted(splits.keys() - photos.keys() - masks.keys(), key=int)
    return official.Source(
        labels.merge_order_scheme(order), archive, depth, rows, faults, surplus, make, absent
    )


def _make(
    archive: files.Archive, depth: files.Archive | None, order: str, row: official.Row
) -> examples.Example:
    label = read_label(archive, row.label, order)
    own = (depth, row.depth) if row.depth else None
    scheme = labels.merge_order_scheme(order)
    name = min(row.label.values())
    return examples.example(archive, row.key, row.image, label, name, scheme, own)


def read_label(archive: files.Archive, masks: Mapping[str, str], order: str) -> np.ndarray:
    """Label u8 [h w] of one photograph, painted from its part masks.

    Raises:
        InputError: an unreadable mask, or masks of different size.
    """
    parts, shape = {}, None
    for part, name in masks.items():
        parts[part] = images.read_mask(archive.read(name), archive.where(name))
        shape = shape or parts[part].shape
        if parts[part].shape != shape:
            found, expected = ("{1}x{0} pixels".format(*s) for s in (parts[part].shape, shape))
            raise InputError(archive.where(name), found, f"{expected} as the other masks", _AGAIN)
    return labels.merge_parts(parts, shape, order)


class Builder(official.Benchmark):
    """CelebAMask-HQ-D; the config is the merge order."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release.", "1.1.0": "16-bit depth stays it."}
    BUILDER_CONFIGS: ClassVar = [
        MergeOrder(name="official", description="order and class ids of the dataset's own list"),
        MergeOrder(name="bisenet", description="order and class ids of face-parsing.PyTorch"),
        MergeOrder(name="farl", description="order of FaRL and SegFace, official class ids"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "official"
    OFFICIAL_COUNTS: ClassVar = {
        config.name: {"train": 24_183, "validation": 2_993, "test": 2_824}
        for config in BUILDER_CONFIGS
    }
    KNOWN_BAD: ClassVar = {
        "404": "its mouth and lips have no masks",
        "2110": "its masks are misaligned",
        "4790": "eleven of its masks are empty",
        "4995": "its skin mask does not fit, and its hair has none",
        "13008": "its hat has no mask",
        **dict.fromkeys(("481", "17586"), "its hair has no mask"),
        **dict.fromkeys(
            ("1499", "2260", "2281", "5130", "5591", "5608", "10184"), "its hair mask is too large"
        ),
        **dict.fromkeys(("2905", "3137", "9895", "15587"), "its hat mask is useless"),
        "9150": "its cloth mask is useless",
    }
    NEAR_DUPLICATES: ClassVar = tuple(
        (str(first), str(first + 1))
        for first in (
            *(234, 3329, 5162, 6770, 7384, 7561, 12444),
            *(12885, 13825, 15506, 19199, 20134, 24646),
        )
    )
    HOMEPAGE = "https://github.com/switchablenorms/CelebAMask-HQ"
    LICENSE = "Non-commercial research and education only; no redistribution."
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""
    1. Fetch CelebAMask-HQ.zip from {HOMEPAGE}, under its terms (research and education, no
       commercial use).
    2. Fetch CelebAMask-HQ-D.zip, the depth maps, from {official.DEPTH_PAGE}. Without it the
       set is built from the photographs alone.
    3. Put both into one folder D, zipped or extracted:
         D/CelebAMask-HQ.zip     or  D/CelebAMask-HQ/CelebA-HQ-img/0.jpg ...
         D/CelebAMask-HQ-D.zip   or  D/CelebAMask-HQ-D/0.png ...
    4. python -m tfds_builders.build --name celebamask_hq_d --manual_dir D
    """

    @classmethod
    def find(cls, manual_dir: pathlib.Path, config: str) -> official.Source:
        return find(manual_dir, config)

    def merge_order(self) -> str:
        return self.builder_config.name
