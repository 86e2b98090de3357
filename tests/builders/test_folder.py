"""A user's own photographs: classes, colours, sides, splits, and the same check."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data import decode, reader
from faceparse_jax.errors import InputError
from tests.support.builder_case import BuilderCase, prepared
from tests.support.dummy_archives import (
    OWN_CLASSES,
    SHAPES,
    cropped,
    eleven,
    encode,
    head,
    own,
    own_by_hash,
)
from tfds_builders import build, check
from tfds_builders.folder import classes
from tfds_builders.folder import folder_dataset_builder as folder


class FolderTest(BuilderCase):
    __test__ = True
    DATASET_CLASS = folder.Builder
    SPLITS = {"train": 3, "validation": 1, "test": 1}  # noqa: RUF012
    WRITE = staticmethod(own)


@pytest.fixture
def mydata(tmp_path):
    own(tmp_path / "manual")
    return tmp_path / "manual"


def test_ids_and_colours_become_labels_of_a_scheme_that_goes_with_the_data(mydata, tmp_path):
    found = prepared(folder, mydata, "own")
    scheme = labels.from_data(found["metadata"])
    assert scheme.name == "folder/own"
    for field in ("classes", "colours", "swap_pairs", "left_of", "mirror"):
        assert getattr(scheme, field) == getattr(labels.LAPA, field)
    assert found["metadata"]["with_depth"] == {"train": 3, "validation": 1, "test": 0}
    for key, split in enumerate(("train", "train", "train", "validation", "test")):
        example = found[f"face{key}"]
        assert example["split"] == split
        label = cropped(eleven(key, labels.LAPA), key)
        np.testing.assert_array_equal(example["label"][..., 0], label)
        depth = cropped(head(key)["depth"], key)
        np.testing.assert_array_equal(example["depth"], 257 * np.uint16(depth) * (key != 4))
    words = ["--name", "folder", "--config", "own", "--size", "64"]
    assert decode.main([*words, "--data_dir", str(tmp_path / "data")]) == 0
    for source in ("tfds", "arrays"):
        opened = reader.open(source, "folder", "own", "train", tmp_path / "data", 64)
        assert opened.split.scheme == scheme
        assert labels.from_data(opened.split.record()) == scheme


def test_photographs_that_are_no_jpeg_keep_their_pixels(mydata):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (*SHAPES[0], 3), np.uint8)
    path = mydata / "images/train/face0.jpg"
    path.unlink()
    Image.fromarray(colour).save(path.with_suffix(".tif"))
    ink = Image.fromarray(colour[: SHAPES[1][0], : SHAPES[1][1]]).convert("CMYK")
    ink.save(mydata / "images/train/face1.jpg")
    found = prepared(folder, mydata, "own")
    np.testing.assert_array_equal(found["face0"]["image"], colour)
    again = Image.open(mydata / "images/train/face1.jpg").convert("RGB")
    np.testing.assert_array_equal(found["face1"]["image"], np.array(again))


def test_depth_of_another_size_and_name_comes_to_the_grid_of_the_label(mydata):
    path = mydata / "depth/train/face0.png"
    np.save(path.with_name("face0_depth.npy"), head(0)["depth"][::2, ::2, 0])
    path.unlink()
    example = prepared(folder, mydata, "own")["face0"]
    assert example["depth"].shape == (*SHAPES[0], 1)
    assert example["has_depth"]


def splits_of(manual_dir):
    source = folder.find(manual_dir, "own")
    assert not source.faults
    return {split: [row.key for row in rows] for split, rows in source.rows.items()}, source


def test_lists_choose_the_splits_and_leave_the_rest_out(tmp_path):
    own_by_hash(tmp_path, 8)
    tmp_path.joinpath("train.txt").write_text("images/000.png\n# a comment\n\n001\n002.png\n")
    tmp_path.joinpath("val.txt").write_text("003\n")
    (tmp_path / "labels/007.png").unlink()
    found, source = splits_of(tmp_path)
    assert found == {"train": ["000", "001", "002"], "validation": ["003"]}
    assert any("4 photographs that no list has" in note for note in source.notes)
    assert any("--config.eval.split=validation" in note for note in source.notes)


def test_the_split_by_hash_goes_by_the_name_alone(tmp_path):
    own_by_hash(tmp_path)
    (before, _), names = splits_of(tmp_path), [f"{number:03d}" for number in range(30)]
    assert sorted(key for of in before.values() for key in of) == names
    for number in range(0, 30, 2):
        for kind in ("images", "labels"):
            (tmp_path / kind / f"{number:03d}.png").unlink()
    after, _ = splits_of(tmp_path)
    for split, keys in after.items():
        assert set(keys) <= set(before[split])
    # What was split once must be split so for ever.
    assert [key for key in names if folder.hash_split(key) == "test"] == TEST
    assert [key for key in names if folder.hash_split(key) == "validation"] == VALIDATION
    many = [folder.hash_split(f"photo{number}") for number in range(10_000)]
    for split, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        assert abs(many.count(split) / 10_000 - share) < 0.015


TEST, VALIDATION = ["026"], ["001", "004", "027"]


def test_names_below_folders_of_persons_are_ids(tmp_path):
    own_by_hash(tmp_path)
    for kind in ("images", "labels"):
        path = tmp_path / kind
        path.rename(tmp_path / "aside")
        path.mkdir()
        (tmp_path / "aside").rename(path / "anna")
    found, _ = splits_of(tmp_path)
    assert all(key.startswith("anna/") for of in found.values() for key in of)


def parsed(text):
    return classes.parse(text, "classes.txt", "folder/own")


@pytest.mark.parametrize(
    ("lines", "pairs", "left_of"),
    [
        ("left_x right_x left_y right_y", {("left_x", "right_x"), ("left_y", "right_y")}, "viewer"),
        ("r_x l_x", {("l_x", "r_x")}, "subject"),
        ("u_lip l_lip", set(), "viewer"),
        ("brow_a brow_b brow_a<->brow_b", {("brow_a", "brow_b")}, "viewer"),
        ("l_x r_x a r_x<->a", {("r_x", "a")}, "viewer"),
        ("left_x left_x<->left_x", set(), "viewer"),
        ("left_x right_x left=subject", {("left_x", "right_x")}, "subject"),
    ],
)
def test_sides_come_from_names_or_from_the_file(lines, pairs, left_of):
    scheme = parsed("\n".join(["background", *lines.split()])).scheme
    assert {(scheme.classes[a], scheme.classes[b]) for a, b in scheme.swap_pairs} == pairs
    assert scheme.left_of == left_of


def test_colours_are_those_of_the_file_or_drawn_apart():
    given = parsed("background\nhair #5A4628\nskin #e8bea0\nignore = #ffffff\n")
    assert given.scheme.colours == ((0, 0, 0), (0x5A, 0x46, 0x28), (0xE8, 0xBE, 0xA0))
    assert given.by_colour == {0: 0, 0x5A4628: 1, 0xE8BEA0: 2, 0xFFFFFF: labels.IGNORE}
    many = parsed("background\n" + "\n".join(f"part{number}" for number in range(60)))
    assert len(set(many.scheme.colours)) == 61
    assert not many.by_colour


def test_a_known_scheme_is_named_in_one_line():
    found = parsed("scheme = celebamask_hq\n")
    assert found.scheme is labels.CELEBAMASK_HQ
    label = np.arange(19, dtype=np.uint8).reshape(1, 19)
    coloured = encode(labels.CELEBAMASK_HQ.palette[label])
    np.testing.assert_array_equal(classes.read_label(coloured, "a.png", found), label)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 classes"),
        ("hair\nskin\n", "the first class 'hair'"),
        ("background\nhair\nhair\n", "line 3: found 'hair' a second time"),
        ("background\nhair and skin\n", "line 2: found 'hair and skin'"),
        ("background\nhair #12345\n", "line 2"),
        ("background\nhair/skin\n", "the class name 'hair/skin'"),
        ("background\nmean\n", "the class name 'mean'"),
        ("background\nhair #111111\nskin\n", "no colour for 'skin'"),
        ("background\nhair #111111\nskin #111111\n", "#111111 for two classes"),
        ("background\nleft_x\n", "'left_x' without its other side"),
        ("background\na\na <-> b\n", "a pair with 'b'"),
        ("background\na\nb\nc\na <-> b\nb <-> c\n", "mirror pairs"),
        ("background\na\nleft = mine\n", "left of the 'mine'"),
        ("background\na\nleft = viewer\nleft = viewer\n", "line 4"),
        ("background\na\nignore = #ffffff\n", "ignore = #ffffff"),
        ("background\na #ffffff\nignore = #ffffff\n", "for a class and for what is ignored"),
        ("background\na #123456\nignore = white\n", "ignore = white"),
        ("scheme = ffhq\n", "one of celebamask_hq"),
        ("scheme = lapa\nbackground\n", "beside a scheme"),
        ("background\n" + "\n".join(f"c{i}" for i in range(255)), "256 classes"),
    ],
)
def test_a_list_of_classes_that_makes_no_sense_is_one_sentence(text, says):
    with pytest.raises(InputError) as caught:
        parsed(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def indexed(label, palette):
    picture = Image.fromarray(label)
    picture.putpalette(palette.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_palette_holds_ids_and_must_not_contradict_the_colours():
    found, label = parsed(OWN_CLASSES), eleven(0, labels.LAPA)
    palette = labels.LAPA.palette.copy()
    np.testing.assert_array_equal(
        classes.read_label(indexed(label, palette), "a.png", found), label
    )
    foreign = np.random.default_rng(0).integers(200, 255, (256, 3), np.uint8)
    np.testing.assert_array_equal(
        classes.read_label(indexed(label, foreign), "a.png", found), label
    )
    palette[[0, 1]] = palette[[1, 0]]
    with pytest.raises(InputError, match="palette in which 0 has the colour of class 1"):
        classes.read_label(indexed(label, palette), "a.png", found)


def test_the_check_finds_the_same_photograph_in_two_splits(mydata, capfd):
    photo = Image.open(mydata / "images/train/face0.jpg")
    shutil.copy(mydata / "labels/train/face0.png", mydata / "labels/test/again.png")
    photo.save(mydata / "images/test/again.jpg", quality=50)
    report = check.check(folder.Builder, mydata, "own")
    assert report.usable
    assert report.near_duplicates == [("train/face0", "test/again")]
    assert not report.duplicates
    words = ["--name", "folder", "--manual_dir", str(mydata), "--check"]
    assert build.main(words) == 0
    out = capfd.readouterr().out
    assert "warning: pairs that look like the same photograph (1, 1 across splits):" in out
    assert "note: left_eyebrow and right_eyebrow, left_eye and right_eye change places" in out
    assert not (mydata.parent / "data").exists()


def test_plain_photographs_are_no_duplicates():
    flat = check.thumbnail(encode(np.full((64, 64, 3), 9, np.uint8)))
    assert check.look_alike({"train/a": flat, "test/b": flat}) == []


def test_the_check_tells_all_faults_at_once(mydata):
    (mydata / "labels/train/face0.png").unlink()
    (mydata / "labels/train/face1.png").write_bytes(encode(np.full((*SHAPES[1], 3), 7, np.uint8)))
    (mydata / "images/train/face2.jpg").write_bytes(b"no photograph")
    wide = Image.open(mydata / "images/val/face3.jpg")
    wide.resize((2 * wide.width, 2 * wide.height)).save(mydata / "images/val/face3.jpg")
    (mydata / "labels/test/face4.png").write_bytes(encode(np.full(SHAPES[4], 11, np.uint8)))
    report = check.check(folder.Builder, mydata, "own")
    told = "\n".join(map(str, report.faults))
    for says in (
        "face0.jpg: found an image without a label",
        "face1.png: found the colour #070707 in 3,072 pixels",
        "face2.jpg: found a truncated, damaged or foreign file",
        "face3.jpg: found 120x112 pixels, expected 60x56 as its label has",
        "face4.png: found the label value 11, expected 0 to 10 of the scheme folder/own, or 255",
    ):
        assert says in told
    assert len(report.faults) == 5


def test_a_build_without_depth_ends_with_a_command_that_needs_none(mydata, tmp_path, capfd):
    shutil.rmtree(mydata / "depth")
    words = ["--name", "folder", "--config", "faces", "--manual_dir", str(mydata)]
    assert build.main([*words, "--data_dir", str(tmp_path / "d")]) == 0
    out, err = capfd.readouterr()
    assert (tmp_path / "d/folder/faces/1.0.0/metadata.json").exists()
    assert "--config.data.config=faces --config.loss.depth=0" in out
    assert "Using custom data configuration" not in err
