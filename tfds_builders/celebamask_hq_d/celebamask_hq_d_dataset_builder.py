"""CelebAMask-HQ with the depth maps of CelebAMask-HQ-D; one config for each merge order."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from faceparse_jax import images, labels
from faceparse_jax.errors import InputError
from tfds_builders import examples, files

_NAME = "CelebAMask-HQ"
_IMAGES = "CelebA-HQ-img"
_MASKS = "CelebAMask-HQ-mask-anno"
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_AGAIN = f"extract {_NAME}.zip again and run the same command"

OFFICIAL_COUNTS = {"train": 24_183, "validation": 2_993, "test": 2_824}


@dataclasses.dataclass(eq=False)
class MergeOrder(tfds.core.BuilderConfig):
    """The order in which overlapping part masks are painted: a key of `MERGE_ORDERS`."""


@dataclasses.dataclass(frozen=True)
class Row:
    """The files of one photograph: names in their archives, masks by part."""

    key: str
    image: str
    masks: Mapping[str, str]
    depth: str | None


def official_split(celeba_number: int) -> str:
    """The split of CelebA for the number in `orig_file`, as the benchmark uses it."""
    if celeba_number <= 162_770:
        return "train"
    return "validation" if celeba_number <= 182_637 else "test"


def read_mapping(text: str, where: str) -> dict[str, str]:
    """Split by image id from `CelebA-HQ-to-CelebA-mapping.txt`.

    Raises:
        InputError: lines that are not `idx orig_idx orig_file ...` with the number in
            orig_file one above orig_idx, or an idx given twice.
    """
    splits, faults = {}, []
    for number, line in enumerate(text.splitlines(), 1):
        columns = line.split()
        if not columns or columns[0] == "idx":
            continue
        file = columns[2].partition(".")[0] if len(columns) > 2 else ""
        good = all(c.isascii() and c.isdecimal() for c in (*columns[:2], file))
        if not good or int(file) != int(columns[1]) + 1 or str(int(columns[0])) in splits:
            faults.append(
                InputError(
                    f"{where}, line {number}",
                    repr(" ".join(columns[:3])),
                    "idx, orig_idx and the file of number orig_idx + 1, each idx once",
                    _AGAIN,
                )
            )
        else:
            splits[str(int(columns[0]))] = official_split(int(file))
    files.raise_faults(where, faults)
    return splits


def find_rows(archive: files.Archive, depth: files.Archive | None) -> dict[str, list[Row]]:
    """The files of every photograph by split, from the names alone.

    Raises:
        InputError: an image without masks, masks without image, an image that the mapping
            does not have, a part that does not exist, two files for one purpose.
    """
    faults = []

    def fault(name: str, found: str, expected: str) -> None:
        faults.append(InputError(archive.where(name), found, expected, _AGAIN))

    if _MAPPING not in archive.names:
        raise InputError(f"{archive.root}/{_MAPPING}", "no such file", "the mapping file", _AGAIN)
    splits = read_mapping(
        archive.read(_MAPPING).decode("utf-8", "replace"), archive.where(_MAPPING)
    )
    photos, masks = {}, collections.defaultdict(dict)
    for name in archive.names:
        folder = name.partition("/")[0]
        if folder == _IMAGES and name.endswith(".jpg"):
            first = photos.setdefault(files.file_id(name), name)
            if first != name:
                fault(name, "a second image of this id", f"only {archive.where(first)}")
        elif folder == _MASKS and name.endswith(".png"):
            number, _, part = pathlib.PurePosixPath(name).stem.partition("_")
            if part not in labels.MERGE_ORDERS["official"]:
                fault(name, f"a mask of {part!r}", "a part of the official list")
                continue
            first = masks[files.file_id(number)].setdefault(part, name)
            if first != name:
                fault(name, "a second mask of this part", f"only {archive.where(first)}")
    for key, name in photos.items():
        if key not in masks:
            fault(name, "an image without part masks", f"masks below {_MASKS}")
        if key not in splits:
            fault(name, f"an image that {_MAPPING} does not have", "a line for it")
    for key in sorted(masks.keys() - photos.keys()):
        name = min(masks[key].values())
        fault(name, "part masks without image", f"{_IMAGES}/{key}.jpg")
    files.raise_faults(archive.root, faults)
    if not photos:
        raise InputError(f"{archive.root}/{_IMAGES}", "no .jpg", "0.jpg to 29999.jpg", _AGAIN)
    with_depth = files.depth_by_id(depth, photos) if depth else {}
    rows = {split: [] for split in OFFICIAL_COUNTS}
    for key in sorted(photos, key=int):
        rows[splits[key]].append(Row(key, photos[key], masks[key], with_depth.get(key)))
    return rows


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


class Builder(tfds.core.GeneratorBasedBuilder):
    """CelebAMask-HQ-D; the config is the merge order."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        MergeOrder(name="official", description="order and class ids of the dataset's own list"),
        MergeOrder(name="bisenet", description="order and class ids of face-parsing.PyTorch"),
        MergeOrder(name="farl", description="order of FaRL and SegFace, official class ids"),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "official"
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    1. Fetch CelebAMask-HQ.zip from https://github.com/switchablenorms/CelebAMask-HQ, under its
       terms (research and education, no commercial use).
    2. Fetch CelebAMask-HQ-D.zip, the depth maps, from
       https://github.com/jyunlee/CelebAMask-HQ-D_LaPa-D_Helen-D. Without it the set is built
       from the photographs alone.
    3. Put both into one folder D, zipped or extracted:
         D/CelebAMask-HQ.zip     or  D/CelebAMask-HQ/CelebA-HQ-img/0.jpg ...
         D/CelebAMask-HQ-D.zip   or  D/CelebAMask-HQ-D/0.png ...
    4. python -m tfds_builders.build --name celebamask_hq_d --manual_dir D
    """

    def _info(self) -> tfds.core.DatasetInfo:
        order = self.builder_config.name
        scheme = labels.merge_order_scheme(order)
        return self.dataset_info_from_configs(
            features=examples.features(),
            supervised_keys=("image", "label"),
            homepage="https://github.com/switchablenorms/CelebAMask-HQ",
            redistribution_info={
                "license": "Non-commercial research and education only; no redistribution."
            },
            metadata=tfds.core.MetadataDict(
                scheme=scheme.name,
                classes=list(scheme.classes),
                merge_order=order,
                depth_source="estimated",
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        manual_dir = pathlib.Path(dl_manager.manual_dir)
        archive = files.open_archive(manual_dir, _NAME, _IMAGES)
        depth = files.open_depth(manual_dir, f"{_NAME}-D")
        rows = find_rows(archive, depth)
        for split, expected in OFFICIAL_COUNTS.items():
            if len(rows[split]) != expected:
                files.note(
                    f"{split}: {len(rows[split]):,} images, a subset of the official {expected:,}"
                )
        order = self.builder_config.name
        scheme = labels.merge_order_scheme(order)

        def make(row: Row) -> examples.Example:
            label = read_label(archive, row.masks, order)
            own = (depth, row.depth) if row.depth else None
            return examples.example(archive, row.key, row.image, label, scheme, own)

        splits = examples.Splits(archive.root, {k: v for k, v in rows.items() if v}, make)
        if depth is None:
            self.info.metadata["depth_source"] = "none"
        self.info.metadata["with_depth"] = splits.with_depth
        return {split: self._generate_examples(splits, split) for split in splits.with_depth}

    def _generate_examples(self, splits: examples.Splits, split: str):
        return splits.generate(split)
