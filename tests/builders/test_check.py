"""The dry run: what repeats is told once, and what users of a benchmark have reported is found."""

import pathlib

import pytest

from faceparse_jax.errors import InputError
from tests.support.dummy_archives import (
    celebamask_hq,
    emptied,
    many_celebamask_hq,
    many_helen,
    many_lapa,
    many_relabelled,
    removed,
    zeroed,
)
from tfds_builders import build, check, files

CELEBA, SMITH = "CelebAMask-HQ", "SmithCVPR2013_dataset_resized"
MASKS = f"{CELEBA}/CelebAMask-HQ-mask-anno"


def checked(name: str, manual_dir: pathlib.Path, config: str | None = None) -> check.Report:
    builder = build.builder_class(name)
    return check.check(builder, manual_dir, config or builder.BUILDER_CONFIGS[0].name)


LAPA_LABELS = [f"LaPa/{split}/labels" for split in ("train", "val", "test")]


@pytest.mark.parametrize(
    ("name", "config", "write", "damage", "place", "found"),
    [
        ("celebamask_hq_d", None, many_celebamask_hq, removed(MASKS, "7"), f"{MASKS}/7",
         "an image without part masks, 12 times"),
        ("celebamask_hq_d", None, many_celebamask_hq, emptied(f"{MASKS}/7"), f"{MASKS}/7",
         "an image without part masks, 12 times"),
        ("celebamask_hq_d", None, many_celebamask_hq, emptied(MASKS), MASKS,
         "an image without part masks, 17 times"),
        ("celebamask_hq_d", None, many_celebamask_hq, removed(f"{CELEBA}/CelebA-HQ-img", "14*"),
         f"{CELEBA}/CelebA-HQ-img", "part masks without image, 12 times"),
        ("celebamask_hq_d", None, many_celebamask_hq, zeroed(f"{CELEBA}/CelebA-HQ-img", "14*"),
         f"{CELEBA}/CelebA-HQ-img", "an empty file, 12 times"),
        ("celebamask_hq_d", None, many_celebamask_hq, zeroed(f"{MASKS}/7", "*"), f"{MASKS}/7",
         "an empty file, 12 times"),
        ("celebamask_hq_d", None, many_celebamask_hq, zeroed(f"{CELEBA}-D", "14*"), f"{CELEBA}-D",
         "an empty file, 12 times"),
        ("lapa_d", None, many_lapa, emptied(*LAPA_LABELS), "LaPa",
         "an image without a label map, 17 times"),
        ("lapa_d", None, many_lapa, removed("LaPa/train", "labels"), "LaPa/train/labels",
         "an image without a label map, 15 times"),
        ("lapa_d", None, many_lapa, removed("LaPa/train/images", "2*"), "LaPa/train/images",
         "a label map and a landmark file without image, 12 times"),
        ("lapa_d", None, many_lapa, zeroed("LaPa/train/landmarks", "2*"), "LaPa/train/landmarks",
         "0 landmarks after the line '', 12 times"),
        ("helen_d", "smith", many_helen, emptied(f"{SMITH}/labels"), f"{SMITH}/labels",
         "an image without soft maps, 17 times"),
        ("helen_d", "smith", many_helen, removed(f"{SMITH}/images", "3*"), f"{SMITH}/images",
         "soft maps without image, 12 times"),
        ("helen_d", "smith", many_helen, removed(f"{SMITH}/labels", "3*/*lbl10.png"),
         f"{SMITH}/labels", "soft maps without lbl10, 12 times"),
        ("helen_d", "relabelled", many_relabelled,
         removed("helenstar_release/train", "3*_label.png"), "helenstar_release/train",
         "an image without a label map, 12 times"),
    ],
)  # fmt: skip
def test_what_one_cause_repeats_is_one_fault(tmp_path, name, config, write, damage, place, found):
    write(tmp_path)
    assert not checked(name, tmp_path, config).faults
    damage(tmp_path)
    report = checked(name, tmp_path, config)
    (fault,) = report.faults
    assert fault.what == str(tmp_path / place)
    assert fault.found.startswith(f"{found} (")
    assert fault.found.endswith(f" and {int(found.split()[-2]) - 3} more)")
    assert "an extraction stopped half-way" in fault.next_step
    assert not report.surplus  # the depth of a photograph that lacks a file is no stray file
    with pytest.raises(InputError, match=found):
        build.build(name, tmp_path, config, tmp_path / "data")


@pytest.mark.parametrize(
    ("faults", "photographs", "told"),
    [
        (9, 9, 9),  # too few to hide their names
        (10, 9, 1),
        (10, 99, 1),
        (10, 100, 10),  # no more than a tenth
        (20, 30_000, 20),
        (21, 30_000, 1),  # more than an error shows
    ],
)
def test_few_faults_keep_their_names(faults, photographs, told):
    same = [InputError(f"/a/{i}.png", "an empty file", "a map", "mend it") for i in range(faults)]
    other = InputError("/b/7.png", "an empty file", "a photograph", "mend it")
    gathered = files.gathered([*same, other], photographs)
    assert len(gathered) == told + 1
    assert gathered[-1] is other
    if told == faults:
        assert gathered[:-1] == same
    else:
        assert gathered[0].what == "/a"
        assert f"{faults} times (0.png, 1.png, 2.png and {faults - 3} more)" in str(gathered[0])


@pytest.mark.parametrize("depth", ["empty", "of other ids", "cut short"])
def test_depth_that_is_not_that_of_the_photographs_is_one_fault(tmp_path, depth):
    many_lapa(tmp_path)
    if depth == "empty":
        emptied("LaPa-D")(tmp_path)
    for path in sorted((tmp_path / "LaPa-D").rglob("*.png")):
        if depth == "of other ids":
            path.rename(path.with_name(f"9{path.name}"))
        elif path.parent.name == "train":
            path.write_bytes(path.read_bytes()[:60])
    (fault,) = checked("lapa_d", tmp_path).faults
    says = {
        "empty": "found no depth map in it",
        "of other ids": "16 depth maps, none with the id of an image (91000_0.png, 91001_1.png",
        "cut short": "a truncated",
    }
    assert says[depth] in str(fault)


def _renamed(manual: pathlib.Path, ids: dict[int, int]) -> None:
    """The dummy archive with other ids, in the splits that its own ids have."""
    mapping = manual / CELEBA / "CelebA-HQ-to-CelebA-mapping.txt"
    for old, new in ids.items():
        for path in [path for path in manual.rglob("*") if path.stem == str(old)]:
            path.rename(path.with_stem(str(new)))
        for path in manual.rglob(f"{old:05d}_*"):
            path.rename(path.with_name(path.name.replace(f"{old:05d}", f"{new:05d}")))
        mapping.write_text(mapping.read_text().replace(f"\n{old} ", f"\n{new} "))


def test_near_duplicates_across_splits_are_told_apart(tmp_path):
    celebamask_hq(tmp_path)
    # The dummy has 0 and 1 in train, 2 and 2001 in validation, 2002 in test.
    _renamed(tmp_path, {0: 3329, 1: 3330, 2: 234, 2001: 404, 2002: 235})
    report = checked("celebamask_hq_d", tmp_path)
    assert check.text(report).splitlines()[-6:-1] == [
        "note: examples that are known to be bad (1):",
        "  validation/404: its mouth and lips have no masks",
        "note: pairs that are known to show nearly the same photograph (2, 1 across splits):",
        "  across splits: validation/234 and test/235",
        "  inside one split: train/3329 and train/3330",
    ]


def test_a_near_duplicate_whose_twin_is_not_there_is_none(tmp_path):
    celebamask_hq(tmp_path)
    _renamed(tmp_path, {0: 3329})
    assert not checked("celebamask_hq_d", tmp_path).near_duplicates


def test_the_list_of_known_bad_examples_is_whole():
    builder = build.builder_class("celebamask_hq_d")
    assert len(builder.KNOWN_BAD) == 19
    assert len(builder.NEAR_DUPLICATES) == 13
    ids = [*builder.KNOWN_BAD, *(key for pair in builder.NEAR_DUPLICATES for key in pair)]
    assert len(set(ids)) == 19 + 26
    assert all(0 <= int(key) < 30_000 for key in ids)
