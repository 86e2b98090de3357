"""LaPa-D from dummy archives: TFDS's own checks, labels, depth, bad files."""

import shutil

import numpy as np
import pytest
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data import reader
from faceparse_jax.images.resize import inside
from tests.support.builder_case import BuilderCase, assert_refused, prepared
from tests.support.dummy_archives import (
    SHAPES,
    cropped,
    eleven,
    encode,
    head,
    lapa,
    pack,
    with_helen,
)
from tfds_builders import check
from tfds_builders.lapa_d import lapa_d_dataset_builder as lapa_module


class LaPaDTest(BuilderCase):
    __test__ = True
    DATASET_CLASS = lapa_module.Builder
    SPLITS = {"train": 3, "validation": 1, "test": 1}  # noqa: RUF012
    WRITE = staticmethod(lapa)


def test_lapa_keeps_sizes_landmarks_and_sides(tmp_path):
    lapa(tmp_path / "manual")
    found = prepared(lapa_module, tmp_path / "manual", "official")
    assert found["metadata"]["scheme"] == "lapa"
    assert found["metadata"]["left_of"] == "viewer"
    assert found["metadata"]["with_depth"] == {"train": 3, "validation": 1, "test": 0}
    for key in range(5):
        example = found[f"{1000 + key}_{key}"]
        np.testing.assert_array_equal(
            example["label"][..., 0], cropped(eleven(key, labels.LAPA), key)
        )
        assert example["image"].shape == (*SHAPES[key], 3)
        points = np.random.default_rng(key).uniform(0, 40, (106, 2))
        np.testing.assert_allclose(example["landmarks"], points, atol=1e-5)
        assert example["has_depth"] == (key != 4)


def test_16_bit_depth_stays_16_bits_to_the_batch(tmp_path):
    lapa(tmp_path / "manual", bits=16)
    prepared(lapa_module, tmp_path / "manual", "official")
    opened = reader.open("tfds", "lapa_d", "official", "train", tmp_path / "data", 64)
    assert opened.split.depth_bits == 16
    assert opened.split.label_size is None
    batch = next(opened.evaluate(4))
    assert batch["depth"].dtype == np.uint16
    row = opened.ids.index("1000_0")
    depth = head(0)["depth"].astype(np.uint16)
    np.testing.assert_array_equal(batch["depth"][row], depth * 256 + 3 * (depth > 0))
    assert not batch["depth"][3].any()  # padding


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_label_maps_of_every_one_channel_mode_give_the_same_label(tmp_path, mode):
    lapa(tmp_path / "manual")
    path = tmp_path / "manual/LaPa/train/labels/1000_0.png"
    label = np.asarray(Image.open(path))
    if mode == "1":
        label = (label == 1).astype(np.uint8)
        Image.fromarray(label.astype(bool)).save(path)
    else:
        picture = Image.fromarray(label, "L" if mode == "L" else "P")
        if mode == "P":
            picture.putpalette(np.arange(768) % 251)
        picture.save(path)
    assert Image.open(path).mode == mode
    found = prepared(lapa_module, tmp_path / "manual", "official")
    np.testing.assert_array_equal(found["1000_0"]["label"][..., 0], label)


def test_a_set_of_8_and_16_bit_depth_is_one_of_16(tmp_path):
    lapa(tmp_path / "manual")
    path = tmp_path / "manual/LaPa-D/train/1000_0.png"
    eight = np.asarray(Image.open(path))
    path.write_bytes(encode(eight.astype(np.uint16) * 256 + 3 * (eight > 0).astype(np.uint16)))
    prepared(lapa_module, tmp_path / "manual", "official")
    opened = reader.open("tfds", "lapa_d", "official", "train", tmp_path / "data", 64)
    assert opened.split.depth_bits == 16
    batch = next(opened.evaluate(3))
    row, other = opened.ids.index("1000_0"), opened.ids.index("1001_1")
    wide = eight.astype(np.uint16)
    np.testing.assert_array_equal(batch["depth"][row, ..., 0], wide * 256 + 3 * (wide > 0))
    rows, columns = inside(SHAPES[1], 64)
    stored = cropped(head(1)["depth"][..., 0], 1).astype(np.uint16)
    np.testing.assert_array_equal(batch["depth"][other, rows, columns, 0], stored * 257)


def _landmarks_105(manual):
    path = next((manual / "LaPa/train/landmarks").iterdir())
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))


def _second_photo(manual):
    images = manual / "LaPa/train/images"
    (images / "sub").mkdir()
    shutil.copy(images / "1001_1.jpg", images / "sub" / "1000_0.jpg")


def _other_scheme(manual):
    path = manual / "LaPa/train/labels/1000_0.png"
    Image.fromarray(head(0)["label"][..., 0]).save(path)


def _swapped(manual):
    for split in ("train", "val", "test"):
        root = manual / "LaPa" / split
        (root / "images").rename(root / "x")
        (root / "labels").rename(root / "images")
        (root / "x").rename(root / "labels")


def _two_splits(manual):
    for kind, end in (("images", "jpg"), ("labels", "png"), ("landmarks", "txt")):
        for_test = manual / "LaPa/test" / kind / f"1000_0.{end}"
        shutil.copy(manual / "LaPa/train" / kind / f"1000_0.{end}", for_test)


def _rgba_label(manual):
    label = Image.open(manual / "LaPa/train/labels/1000_0.png")
    label.convert("RGBA").save(manual / "LaPa/train/labels/1000_0.png")


def _truncated_depth(manual):
    path = manual / "LaPa-D/train/1000_0.png"
    path.write_bytes(path.read_bytes()[:100])


def _swapped_validation(manual):
    root = manual / "LaPa" / "val"
    (root / "images").rename(root / "x")
    (root / "labels").rename(root / "images")
    (root / "x").rename(root / "labels")


def _cmyk_label(manual):
    label = Image.open(manual / "LaPa/train/labels/1000_0.png").convert("CMYK")
    label.save(manual / "LaPa/train/labels/1000_0.png", "TIFF")


def _wide_label(manual):
    values = np.full((64, 64), 4000, np.uint16)
    (manual / "LaPa/train/labels/1000_0.png").write_bytes(encode(values))


def _no_landmarks(manual):
    (manual / "LaPa/val/landmarks/1003_3.txt").unlink()


def _truncated_zip(manual):
    packed = pack(manual / "LaPa")
    packed.write_bytes(packed.read_bytes()[:-500])
    shutil.rmtree(manual / "LaPa")


def _names_and_contents(manual):
    _no_landmarks(manual)
    _truncated_depth(manual)


def _millimetres(manual):
    data = encode(np.full((64, 64), 900, np.uint16))
    (manual / "LaPa-D/train/1000_0.png").write_bytes(data)


def _empty_split(manual):
    shutil.rmtree(manual / "LaPa/val")


def _no_png(manual):
    (manual / "LaPa/val/labels/1003_3.png").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_landmarks_105, r"txt: found 105 landmarks"),
        (_second_photo, r"1000_0\.jpg: found a second file of this id"),
        (_other_scheme, r"1000_0\.png: found the label value 1\d, expected 0 to 10"),
        (_swapped, "the folders look swapped"),
        (_swapped_validation, r"(?s)LaPa/val/images: found PNG files, .* the folders look swapped"),
        (_cmyk_label, r"1000_0\.png: found pixels of Pillow mode CMYK"),
        (_wide_label, r"1000_0\.png: found pixels of Pillow mode I;16"),
        (_no_landmarks, r"1003_3\.jpg: found an image without a landmark file"),
        (_truncated_zip, r"LaPa\.zip: found File is not a zip file, expected a zip archive"),
        (_names_and_contents, r"(?s)without a landmark file.*1000_0\.png: found a truncated"),
        (_two_splits, "an id that train has too"),
        (_rgba_label, r"1000_0\.png: found pixels of Pillow mode RGBA"),
        (_truncated_depth, r"LaPa-D/train/1000_0\.png: found a truncated"),
        (_millimetres, "16-bit depth of at most 900"),
        (_empty_split, r"split validation: found no photograph"),
        (_no_png, r"1003_3\.jpg: found an image without a label map"),
    ],
)
def test_bad_files_of_lapa_are_named(tmp_path, spoil, message):
    lapa(tmp_path / "manual")
    spoil(tmp_path / "manual")
    assert_refused(message, lapa_module, tmp_path / "manual")


def test_landmarks_may_start_with_a_byte_order_mark(tmp_path):
    lapa(tmp_path / "manual")
    path = tmp_path / "manual/LaPa/train/landmarks/1000_0.txt"
    expected = lapa_module.read_landmarks(path.read_bytes(), "x")
    found = lapa_module.read_landmarks(b"\xef\xbb\xbf" + path.read_bytes(), "x")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_photographs_are_read_as_colour(tmp_path, mode):
    lapa(tmp_path / "manual")
    path = tmp_path / "manual/LaPa/train/images/1000_0.jpg"
    Image.open(path).convert(mode).save(path, quality=95)
    found = prepared(lapa_module, tmp_path / "manual", "official")
    stored = found["1000_0"]["image"].astype(int)
    assert stored.shape == (64, 64, 3)
    expected = np.asarray(Image.open(path).convert("RGB"), int)
    assert np.abs(stored - expected).mean() < 3


def test_inverted_and_constant_depth_are_counted(tmp_path, capfd):
    lapa(tmp_path / "manual")
    folder = tmp_path / "manual/LaPa-D/train"
    depth = np.asarray(Image.open(folder / "1000_0.png"))
    (folder / "1000_0.png").write_bytes(encode(np.where(depth > 0, 255 - depth, 0)))
    flat = np.asarray(Image.open(folder / "1001_1.png"))
    (folder / "1001_1.png").write_bytes(encode(np.where(flat > 0, 99, 0).astype(np.uint8)))
    prepared(lapa_module, tmp_path / "manual", "official")
    told = capfd.readouterr().err
    assert "train: 1 of 3 examples: inverted depth" in told
    assert "train: 1 of 3 examples: constant depth" in told


@pytest.mark.parametrize(
    ("x", "y", "far"),
    [
        (0, 0, False),
        (-31.9, 0, False),
        (-32.1, 0, True),
        (95.9, 23.9, False),
        (96.1, 0, True),
        (0, -24.1, True),  # the height is 48
        (0, 72.1, True),
        (9e6, 20, True),
    ],
)
def test_landmarks_more_than_half_a_picture_outside_are_far(x, y, far):
    points = np.full((106, 2), 20.0)
    points[7] = x, y
    assert lapa_module.far_outside(points, (48, 64)) == far


def test_far_landmarks_are_counted_with_their_ids_and_built_as_they_are(tmp_path, capfd):
    lapa(tmp_path / "manual")
    for name in ("1000_0", "1002_2"):
        path = tmp_path / f"manual/LaPa/train/landmarks/{name}.txt"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:9], "-900.0 20.0", *lines[10:]]))
    told = "2 of 3 examples: landmarks far outside the picture (1000_0, 1002_2)"
    report = check.check(lapa_module.Builder, tmp_path / "manual", "official")
    assert report.usable
    assert f"warning: train: {told}" in check.text(report)
    found = prepared(lapa_module, tmp_path / "manual", "official")
    assert f"note: train: {told}" in capfd.readouterr().err
    np.testing.assert_array_equal(found["1000_0"]["landmarks"][8], [-900, 20])


def test_photographs_of_helen_are_counted_and_left_out_on_demand(tmp_path, capfd):
    manual = tmp_path / "manual"
    with_helen(manual)
    shutil.copy(manual / "LaPa/test/images/HELEN_104_1_3.jpg", manual / "LaPa/test/images/5.jpg")
    shutil.copy(manual / "LaPa/test/labels/HELEN_104_1_3.png", manual / "LaPa/test/labels/5.png")
    shutil.copy(
        manual / "LaPa/test/landmarks/HELEN_104_1_3.txt", manual / "LaPa/test/landmarks/5.txt"
    )
    told = "warped photographs of Helen (HELEN_*): train 2, validation 0, test 1; "
    report = check.check(lapa_module.Builder, manual, "official")
    assert f"note: {told}networks that train on them" in check.text(report)
    assert prepared(lapa_module, manual, "official").keys() == {
        *("metadata", "HELEN_100_1_0", "HELEN_100_1_7", "1002_2", "1003_3", "HELEN_104_1_3", "5")
    }
    assert f"note: {told}networks that train on them" in capfd.readouterr().err
    report = check.check(lapa_module.Builder, manual, "without_helen")
    assert report.usable
    assert not report.surplus
    assert f"note: {told}they are left out" in check.text(report)
    assert "train 1 of 12,703" in check.text(report)
    found = prepared(lapa_module, manual, "without_helen")
    assert found.keys() == {"metadata", "1002_2", "1003_3", "5"}
    assert found["metadata"]["with_depth"] == {"train": 1, "validation": 1, "test": 0}


def test_the_mini_set_is_found_whole(real_data):
    source = lapa_module.Builder.find(real_data / "lapa_mini", "official")
    assert not source.faults
    found = {split: len(rows) for split, rows in source.rows.items()}
    assert found == {"train": 120, "validation": 20, "test": 40}
    rows = [row for of in source.rows.values() for row in of]
    assert all(row.depth is not None for row in rows)
    label = source.make(rows[0]).features["label"]
    assert len(label) > 100
