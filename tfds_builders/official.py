"""What the builders of files share: official or own ones, found, paired and streamed."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from tfds_builders import examples, files

DEPTH_PAGE = "https://github.com/jyunlee/CelebAMask-HQ-D_LaPa-D_Helen-D"


@dataclasses.dataclass(frozen=True)
class Row:
    """The files of one photograph, by their names in the archives.

    Attributes:
        key: the example's id.
        image: the photograph.
        label: the files of the label, by part where there are several.
        depth: the depth map, None where there is none.
        landmarks: the file of landmarks, where the benchmark has them.
    """

    key: str
    image: str
    label: Mapping[str, str]
    depth: str | None = None
    landmarks: str | None = None


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a dataset.

    Attributes:
        scheme: of the labels.
        archive: photographs and labels.
        depth: depth maps, None where the user has none.
        rows: photographs that are complete, by split.
        faults: what is wrong with the names; a build raises it, a check prints it.
        surplus: files that belong to no photograph.
        make: a row to an example, with the faults of its contents as `InputError`.
        absent: ids that the archive's own list names and of which there is no file.
        notes: what a user should know of the photographs, and what stops nothing.
    """

    scheme: labels.Scheme
    archive: files.Archive
    depth: files.Archive | None
    rows: Mapping[str, Sequence[Row]]
    faults: Sequence[InputError]
    surplus: Sequence[str]
    make: Callable[[Row], examples.Example]
    absent: Sequence[str] = ()
    notes: Sequence[str] = ()


class Benchmark(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder that reads a `Source`; subclasses say where it is and what it holds."""

    OFFICIAL_COUNTS: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    """Photographs by config and split."""
    KNOWN_BAD: ClassVar[Mapping[str, str]] = {}
    """Id and reason of examples that users of the benchmark have reported as bad."""
    NEAR_DUPLICATES: ClassVar[Sequence[tuple[str, str]] | None] = ()
    """Pairs of ids that users have reported as nearly the same photograph. None where nobody can
    have done so: then a check compares the photographs of different splits."""
    DEPTH_SOURCE: ClassVar[str] = "estimated"
    HOMEPAGE: ClassVar[str]
    LICENSE: ClassVar[str]

    @classmethod
    @abc.abstractmethod
    def find(cls, manual_dir: pathlib.Path, config: str) -> Source:
        """The official files below `manual_dir`, from their names alone.

        Raises:
            InputError: no archive, or one at another folder level.
        """

    def merge_order(self) -> str:
        """The order in which part masks were merged; empty where labels are one map."""
        return ""

    def extra_features(self) -> dict[str, Any]:
        """Features beyond those of every benchmark."""
        return {}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=examples.features(**self.extra_features()),
            supervised_keys=("image", "label"),
            homepage=self.HOMEPAGE,
            redistribution_info={"license": self.LICENSE},
            metadata=tfds.core.MetadataDict(),  # of the files, which a build finds
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        source = self.find(pathlib.Path(dl_manager.manual_dir), self.builder_config.name)
        counts = self.OFFICIAL_COUNTS.get(self.builder_config.name, {})
        faults = faults_of_names(source, counts)
        if faults:
            # The contents too, so that one error lists all that is wrong.
            for split, rows in source.rows.items():
                attempts = examples.attempts(split, rows, source.make)
                wrong = [made for _, made in attempts if isinstance(made, InputError)]
                faults += files.gathered(wrong, len(rows))
        files.raise_faults(source.archive.root, faults)
        for text in source.notes:
            files.note(text)
        if source.absent:
            files.note(absent(source.absent))
        for split, expected in counts.items():
            found = len(source.rows[split])
            if found != expected:
                kind = "a subset of" if found < expected else "more than"
                files.note(f"{split}: {found:,} images, {kind} the official {expected:,}")
        rows = {split: rows for split, rows in source.rows.items() if rows}
        self.info.metadata.update(
            labels.as_data(source.scheme),
            classes=list(source.scheme.classes),
            left_of=source.scheme.left_of,
            merge_order=self.merge_order(),
            depth_source=self.DEPTH_SOURCE if source.depth else "none",
        )
        splits = examples.Splits(source.archive.root, rows, source.make, self.info.metadata)
        return {split: self._generate_examples(splits, split) for split in rows}

    def _generate_examples(self, splits: examples.Splits, split: str):
        return splits.generate(split)


def claim(
    named: dict[str, str],
    key: str,
    name: str,
    where: Callable[[str], str],
    again: str,
    what: str = "file of this id",
) -> list[InputError]:
    """Enters the file of an id into `named`; a fault where the id has another one already."""
    first = named.setdefault(key, name)
    if first == name:
        return []
    return [InputError(where(name), f"a second {what}", f"only {where(first)}", again)]


def absent(ids: Sequence[str]) -> str:
    """That photographs are not there: the first 20 ids and the count."""
    more = f" and {len(ids) - files.SHOWN_FAULTS:,} more" if len(ids) > files.SHOWN_FAULTS else ""
    shown = ", ".join(ids[: files.SHOWN_FAULTS])
    return f"{len(ids):,} photographs of the official list are not there: {shown}{more}"


def swapped(
    archive: files.Archive, photos: str, labels_folder: str, again: str
) -> list[InputError]:
    """A fault where the folder of photographs holds PNG files and that of labels JPEG files."""

    def holds(folder: str, ends: tuple[str, ...]) -> bool:
        return any(n.startswith(f"{folder}/") and n.lower().endswith(ends) for n in archive.names)

    jpeg, png = (".jpg", ".jpeg"), (".png",)
    if not holds(photos, png) or not holds(labels_folder, jpeg):
        return []
    if holds(photos, jpeg) or holds(labels_folder, png):
        return []
    return [
        InputError(
            f"{archive.root}/{photos}",
            "PNG files, as labels are: the folders look swapped",
            f"photographs (.jpg) in {photos}, labels (.png) in {labels_folder}",
            f"swap the two folders' names, or {again}",
        )
    ]


def faults_of_names(source: Source, counts: Mapping[str, int]) -> list[InputError]:
    """What is wrong with the names of the files, and each split without a complete photograph.

    What one cause repeats in bulk is told once. It then explains splits that are empty too.
    """
    faults = files.gathered(source.faults, sum(map(len, source.rows.values())))
    if any(isinstance(fault, files.Bulk) for fault in faults):
        return faults
    return faults + [
        InputError(
            f"{source.archive.root}, split {split}",
            "no photograph with all of its files",
            f"{counts[split]:,} in the official set, at least one in a subset"
            if split in counts
            else "at least one",
            "fetch the rest of the archive, or extract it again",
        )
        for split in {**source.rows, **counts}
        if not source.rows.get(split)
    ]


@dataclasses.dataclass(frozen=True)
class Part:
    """A kind of file of which every photograph has one.

    Attributes:
        named: file name by id.
        folder: an id to the folder, in the archive, where its file should lie.
    """

    named: Mapping[str, str]
    folder: Callable[[str], str]


def pair(
    images: Part, parts: Mapping[str, Part], archive: files.Archive, again: str
) -> tuple[list[str], list[InputError]]:
    """Ids that have an image and one file of every part, and a fault for each file without.

    Args:
        images: the photographs.
        parts: what else an example needs, by what it is.
        archive: where the files are.
        again: the command that mends it.
    """
    faults: list[InputError] = []

    def missing(beside: str, found: str, expected: str, folder: str) -> None:
        place = f"{archive.root}/{folder}"
        faults.append(files.Missing(archive.where(beside), found, expected, again, place))

    for what, part in parts.items():
        for key in sorted(images.named.keys() - part.named.keys()):
            missing(images.named[key], f"an image without {what}", what, part.folder(key))
    others: dict[str, dict[str, str]] = {}
    for what, part in parts.items():
        for key in part.named.keys() - images.named.keys():
            others.setdefault(key, {})[what] = part.named[key]
    for key, there in sorted(others.items()):
        found = f"{' and '.join(there)} without image"
        missing(next(iter(there.values())), found, "an image", images.folder(key))
    everything = (images, *parts.values())
    complete = [key for key in images.named if all(key in part.named for part in everything)]
    return sorted(complete), faults
