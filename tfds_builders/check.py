"""A dry run: reads every official file, writes nothing, and tells what a build would meet."""

import collections
import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import tables
from tfds_builders import examples, files, official

SHOWN = 20

ALIKE = 0.95
"""Two photographs are nearly the same where their thumbnails correlate more than this. Among
1,200 photographs of CelebAMask-HQ one pair does, which shows one photograph twice, and no other
pair is above 0.945. A second JPEG, another size and brightness, and a crop by 2 % stay above it
as a rule; mirror images and crops by 5 % do not."""
_THUMB = 16  # pixels
_BLOCK = 4096  # photographs that are compared at once


@dataclasses.dataclass
class Findings:
    """What one split holds."""

    images: int = 0
    with_depth: int = 0
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    classes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    oddities: dict[str, list[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Report:
    """What a check found.

    Attributes:
        counts: photographs of the official set, by split.
        splits: what is readable, by split.
        faults: what stops a build.
        surplus: files that belong to no photograph.
        known_bad: ``split/id`` and reason of examples that users of the benchmark have reported.
        near_duplicates: pairs of ``split/id`` that are nearly the same: those that users have
            reported, or those of different splits that `look_alike` finds.
        compared: whether `look_alike` found them.
        duplicates: pairs of ``split/id`` whose image files are byte for byte the same.
        absent: ids that the archive's own list names and of which there is no file.
        notes: what else a user should know of the photographs.
    """

    scheme: labels.Scheme
    counts: Mapping[str, int]
    splits: dict[str, Findings]
    faults: list[InputError]
    surplus: list[str]
    known_bad: dict[str, str]
    near_duplicates: list[tuple[str, str]]
    compared: bool
    duplicates: list[tuple[str, str]]
    absent: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def usable(self) -> bool:
        """Whether a build of these files succeeds."""
        return not self.faults


def check(cls: type[official.Benchmark], manual_dir: pathlib.Path, config: str) -> Report:
    """Reads every file of a benchmark.

    Raises:
        InputError: no archive at all, or one at another folder level.
    """
    source = cls.find(manual_dir, config)
    counts = cls.OFFICIAL_COUNTS.get(config, {})
    faults = official.faults_of_names(source, counts)
    owners: dict[bytes, str] = {}
    splits, duplicates, thumbs = {}, [], {}
    for split, rows in source.rows.items():
        found = splits[split] = Findings()
        wrong = []
        for row, made in examples.attempts(split, rows, source.make):
            if isinstance(made, InputError):
                wrong.append(made)
                continue
            found.images += 1
            found.with_depth += made.features["has_depth"]
            found.sizes["{1}x{0}".format(*made.shape)] += 1
            found.classes.update(made.classes)
            for what in made.oddities:
                found.oddities.setdefault(what, []).append(row.key)
            digest = hashlib.sha256(made.features["image"]).digest()
            place = f"{split}/{row.key}"
            first = owners.setdefault(digest, place)
            if first != place:
                duplicates.append((first, place))
            elif cls.NEAR_DUPLICATES is None:
                thumbs[place] = thumbnail(made.features["image"])
        faults += files.gathered(wrong, len(rows))
    places = {row.key: f"{split}/{row.key}" for split, rows in source.rows.items() for row in rows}
    near = look_alike(thumbs)
    near += [
        (places[a], places[b]) for a, b in cls.NEAR_DUPLICATES or () if {a, b} <= places.keys()
    ]
    return Report(
        scheme=source.scheme,
        counts=counts,
        splits=splits,
        faults=faults,
        surplus=list(source.surplus),
        known_bad={places[key]: why for key, why in cls.KNOWN_BAD.items() if key in places},
        near_duplicates=near,
        compared=cls.NEAR_DUPLICATES is None,
        duplicates=duplicates,
        absent=source.absent,
        notes=source.notes,
    )


def thumbnail(image: bytes) -> Float[np.ndarray, " pixels"]:
    """A small grey picture of a photograph's bytes, of mean 0 and length 1, so that the product
    of two is their correlation; all 0 where every pixel is alike."""
    grey = Image.open(io.BytesIO(image))
    grey.draft("L", (8 * _THUMB, 8 * _THUMB))  # a JPEG is decoded no larger than needed
    small = grey.convert("L").resize((_THUMB, _THUMB), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)


def look_alike(thumbs: Mapping[str, Float[np.ndarray, " pixels"]]) -> list[tuple[str, str]]:
    """Pairs of ``split/id`` of different splits whose thumbnails correlate more than `ALIKE`."""
    places = list(thumbs)
    values = np.array(list(thumbs.values()), np.float32).reshape(len(places), _THUMB**2)
    found = []
    for first in range(0, len(places), _BLOCK):
        for second in range(first, len(places), _BLOCK):
            products = values[first : first + _BLOCK] @ values[second : second + _BLOCK].T
            for i, j in np.argwhere(products > ALIKE).tolist():
                if first + i < second + j:
                    found.append((places[first + i], places[second + j]))
    return _across(found)


def _across(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of ``split/id`` whose splits differ."""
    return [(a, b) for a, b in pairs if a.split("/")[0] != b.split("/")[0]]


def _shown(items: list[str]) -> list[str]:
    more = [f"  and {len(items) - SHOWN:,} more"] if len(items) > SHOWN else []
    return [f"  {item}" for item in items[:SHOWN]] + more


def text(report: Report) -> str:
    """The report as a table and lists, the worst last."""
    rows = [("split", "images", "official", "with depth", "sizes")]
    for split, found in report.splits.items():
        common = ", ".join(f"{size} ({n:,})" for size, n in found.sizes.most_common(2))
        more = f", {len(found.sizes) - 2:,} others" if len(found.sizes) > 2 else ""
        official = f"{report.counts[split]:,}" if split in report.counts else "-"
        rows.append((split, f"{found.images:,}", official, f"{found.with_depth:,}", common + more))
    lines = tables.aligned(rows)
    lines.append("images that have each class:")
    rows = [("id", "class", *report.splits)]
    for value in (*range(report.scheme.num_classes), labels.IGNORE):
        counts = [found.classes[value] for found in report.splits.values()]
        if value != labels.IGNORE or any(counts):
            name = "ignored" if value == labels.IGNORE else report.scheme.classes[value]
            rows.append((str(value), name, *(f"{n:,}" for n in counts)))
    lines += tables.aligned(rows, numbers_from=2)
    short = {
        split: (found.images, report.counts[split])
        for split, found in report.splits.items()
        if split in report.counts and found.images != report.counts[split]
    }
    if short:
        parts = (f"{split} {found:,} of {official:,}" for split, (found, official) in short.items())
        lines.append(f"note: not the official counts: {', '.join(parts)}")
    if report.absent:
        lines.append(f"note: {official.absent(report.absent)}")
    lines += [f"note: {text}" for text in report.notes]
    for split, found in report.splits.items():
        if found.images and (unseen := examples.unseen(found.classes, report.scheme.classes)):
            lines.append(f"warning: {split}: {unseen}")
        told = examples.told_oddities(found.oddities, found.images)
        lines += [f"warning: {split}: {text}" for text in told]
    if report.surplus:
        lines.append(f"note: {len(report.surplus):,} files that belong to no photograph:")
        lines += _shown(report.surplus)
    if report.known_bad:
        lines.append(f"note: examples that are known to be bad ({len(report.known_bad)}):")
        lines += _shown([f"{key}: {why}" for key, why in report.known_bad.items()])
    if report.near_duplicates:
        across = _across(report.near_duplicates)
        inside = [pair for pair in report.near_duplicates if pair not in across]
        known = "that look like" if report.compared else "that are known to show nearly"
        lines.append(
            f"{'warning' if report.compared else 'note'}: pairs {known} the same photograph "
            f"({len(report.near_duplicates)}, {len(across)} across splits):"
        )
        lines += _shown(
            [f"across splits: {a} and {b}" for a, b in across]
            + [f"inside one split: {a} and {b}" for a, b in inside]
        )
    if report.duplicates:
        across = _across(report.duplicates)
        lines.append(
            f"warning: {len(report.duplicates):,} exact duplicates, {len(across):,} across splits:"
        )
        lines += _shown([f"{a} = {b}" for a, b in across or report.duplicates])
    if report.faults:
        lines.append(f"{len(report.faults):,} fault{'s' if len(report.faults) > 1 else ''}:")
        lines += _shown([str(fault) for fault in report.faults])
        lines.append("not usable: mend the faults and check again")
    else:
        lines.append("usable: run the same command without --check")
    return "\n".join(lines)
