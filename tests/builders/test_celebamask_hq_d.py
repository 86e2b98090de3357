"""CelebAMask-HQ-D from dummy archives: TFDS's own checks, splits, merge orders, bad files."""

import shutil

import numpy as np
import pytest
from PIL import Image

from faceparse_jax import labels
from tests.support.builder_case import BuilderCase, assert_refused, prepared
from tests.support.dummy_archives import IDS, SIZE, SPLITS, celebamask_hq, encode, head, masks, pack
from tfds_builders import files
from tfds_builders.celebamask_hq_d import celebamask_hq_d_dataset_builder as module

ROOT = "CelebAMask-HQ"
PHOTOS = f"{ROOT}/CelebA-HQ-img"
MASKS = f"{ROOT}/CelebAMask-HQ-mask-anno"
DEPTH = "CelebAMask-HQ-D"


class CelebAMaskHQDTest(BuilderCase):
    __test__ = True
    DATASET_CLASS = module.Builder
    SPLITS = SPLITS
    WRITE = staticmethod(celebamask_hq)


@pytest.fixture
def manual_dir(tmp_path):
    celebamask_hq(tmp_path / "manual")
    return tmp_path / "manual"


def test_examples_are_the_official_files(manual_dir):
    found = prepared(module, manual_dir)
    assert found["metadata"]["scheme"] == "celebamask_hq"
    assert found["metadata"]["classes"] == list(labels.CELEBAMASK_HQ.classes)
    assert found["metadata"]["merge_order"] == "official"
    assert found["metadata"]["depth_source"] == "estimated"
    assert found["metadata"]["with_depth"] == {"train": 2, "validation": 2, "test": 0}
    assert {key: found[str(key)]["split"] for key in IDS} == {
        0: "train",
        1: "train",
        2: "validation",
        2001: "validation",
        2002: "test",
    }
    for key in IDS:
        example, made = found[str(key)], head(key)
        assert example["image"].shape == (2 * SIZE, 2 * SIZE, 3)
        np.testing.assert_array_equal(example["label"], made["label"])
        if key == max(IDS):
            assert not example["has_depth"]
            assert not example["depth"].any()
        else:
            assert example["has_depth"]
            # TFDS decodes 8-bit depth to 16 bits.
            np.testing.assert_array_equal(example["depth"], made["depth"].astype(np.uint16) * 257)


def test_the_image_keeps_its_bytes(manual_dir):
    archive = files.Folder(manual_dir / ROOT)
    row = module.find(manual_dir, "official").rows["train"][0]
    data = (manual_dir / PHOTOS / "0.jpg").read_bytes()
    assert files.read_photo(archive, row.image)[0] == data


@pytest.mark.parametrize("order", ["official", "bisenet", "farl"])
def test_merge_orders_against_a_pixel_by_pixel_count(tmp_path, order):
    rng = np.random.default_rng(0)
    parts = {part: rng.random((6, 6)) < 0.2 for part in labels.MERGE_ORDERS["official"]}
    for part, mask in parts.items():
        Image.fromarray(mask).save(tmp_path / f"00000_{part}.png")
    names = {part: f"00000_{part}.png" for part in parts}
    label = module.read_label(files.Folder(tmp_path), names, order)
    paint = labels.MERGE_ORDERS[order]
    classes = labels.merge_order_scheme(order).classes
    for y, x in np.ndindex(6, 6):
        covering = [part for part in paint if parts[part][y, x]]
        assert classes[label[y, x]] == (covering[-1] if covering else "background")


def test_each_config_writes_its_scheme_and_its_ids(manual_dir):
    bisenet = prepared(module, manual_dir, "bisenet")
    assert bisenet["metadata"]["scheme"] == "celebamask_hq_bisenet"
    table = np.zeros(19, np.uint8)
    for value, name in enumerate(labels.CELEBAMASK_HQ.classes):
        table[value] = labels.CELEBAMASK_HQ_BISENET.classes.index(name)
    assert bisenet["metadata"]["merge_order"] == "bisenet"
    label = bisenet["0"]["label"]
    # No masks overlap but those on skin, which is painted first under this order too.
    np.testing.assert_array_equal(label, table[head(0)["label"]])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_masks_of_every_mode_give_the_same_label(tmp_path, mode):
    label = head(3)["label"][..., 0]
    names = {}
    for part, mask in masks(label).items():
        names[part] = f"00003_{part}.png"
        Image.fromarray(mask).convert(mode).save(tmp_path / names[part])
    merged = module.read_label(files.Folder(tmp_path), names, "official")
    np.testing.assert_array_equal(merged, label)


def test_zips_give_what_folders_give(manual_dir):
    folders = prepared(module, manual_dir)
    for name in (ROOT, DEPTH):
        pack(manual_dir / name)
        shutil.rmtree(manual_dir / name)
    zips = prepared(module, manual_dir)
    assert not (manual_dir / ROOT).exists()
    for key in map(str, IDS):
        for feature in ("image", "label", "depth", "has_depth"):
            np.testing.assert_array_equal(zips[key][feature], folders[key][feature])


def test_without_depth_every_example_is_rgb_only_and_it_says_so(manual_dir, capfd):
    shutil.rmtree(manual_dir / DEPTH)
    found = prepared(module, manual_dir)
    assert "every example is without depth" in capfd.readouterr().err
    assert found["metadata"]["depth_source"] == "none"
    assert not any(found[str(key)]["has_depth"] for key in IDS)
    assert not any(found[str(key)]["depth"].any() for key in IDS)


def test_depth_layouts_give_the_same_depth(manual_dir):
    root = manual_dir / DEPTH
    depth = {key: head(key)["depth"][..., 0] for key in IDS}
    shutil.rmtree(root)
    (root / "deep" / "er").mkdir(parents=True)
    np.save(root / "deep" / "00000_depth.npy", depth[0])
    wide = np.repeat(depth[1][..., None], 3, -1)
    (root / "deep" / "er" / "00001.png").write_bytes(encode(wide))
    (root / "2_depth.png").write_bytes(encode(depth[2].astype(np.uint16) * 257))
    found = prepared(module, manual_dir)
    for key in (0, 1, 2):
        wide = depth[key].astype(np.uint16) * 257
        np.testing.assert_array_equal(found[str(key)]["depth"][..., 0], wide)
    assert found["metadata"]["depth_bits"] == 16


def test_a_subset_is_reported_and_built(manual_dir, capfd):
    prepared(module, manual_dir)
    assert "train: 2 images, a subset of the official 24,183" in capfd.readouterr().err


def _spoil_photo(manual):
    path = manual / PHOTOS / "1.jpg"
    path.write_bytes(path.read_bytes()[:200])


def _spoil_mask(manual):
    (manual / MASKS / "0" / "00001_skin.png").write_bytes(b"")


def _other_mask_size(manual):
    (manual / MASKS / "0" / "00001_skin.png").write_bytes(encode(np.ones((9, 9), np.uint8)))


def _other_photo_shape(manual):
    data = encode(np.zeros((40, 64, 3), np.uint8), "JPEG")
    (manual / PHOTOS / "1.jpg").write_bytes(data)


def _unknown_part(manual):
    shutil.copy(manual / MASKS / "0" / "00001_skin.png", manual / MASKS / "0" / "00001_beard.png")


def _second_mask(manual):
    (manual / MASKS / "1").mkdir(exist_ok=True)
    shutil.copy(manual / MASKS / "0" / "00001_skin.png", manual / MASKS / "1" / "1_skin.png")


def _no_masks(manual):
    for path in (manual / MASKS / "0").glob("00001_*"):
        path.unlink()


def _no_mapping_line(manual):
    path = manual / ROOT / "CelebA-HQ-to-CelebA-mapping.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:2] + lines[3:]))


def _wrong_mapping(manual):
    path = manual / ROOT / "CelebA-HQ-to-CelebA-mapping.txt"
    path.write_text(path.read_text().replace("162770.jpg", "162771.jpg"))


def _swapped(manual):
    (manual / PHOTOS).rename(manual / "x")
    (manual / MASKS).rename(manual / PHOTOS)
    (manual / "x").rename(manual / MASKS)


def _no_test_split(manual):
    for path in [*(manual / PHOTOS).glob("2002.jpg"), *(manual / MASKS).rglob("02002_*")]:
        path.unlink()


def _mapping_and_contents(manual):
    _wrong_mapping(manual)
    (manual / PHOTOS / "2.jpg").write_bytes(b"no photo")


def _png_named_jpg(manual):
    (manual / PHOTOS / "1.jpg").write_bytes(encode(np.zeros((SIZE, SIZE, 3), np.uint8)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_spoil_photo, r"CelebA-HQ-img/1\.jpg: found a truncated"),
        (_spoil_mask, r"00001_skin\.png: found an empty file"),
        (
            _other_mask_size,
            r"00001_\w+\.png: found \d+x\d+ pixels, expected \d+x\d+ pixels as the other",
        ),
        (_other_photo_shape, r"1\.jpg: found 64x40 pixels, expected the proportions"),
        (_unknown_part, r"00001_beard\.png: found a mask of 'beard'"),
        (_second_mask, r"1_skin\.png: found a second mask"),
        (_no_masks, r"1\.jpg: found an image without part masks"),
        (lambda m: (m / PHOTOS / "1.jpg").unlink(), r"found part masks without image"),
        (_no_mapping_line, r"1\.jpg: found an image that CelebA-HQ-to-CelebA-mapping"),
        (_wrong_mapping, r"mapping\.txt, line 3: found '1 162769 162771\.jpg'"),
        (_png_named_jpg, r"1\.jpg: found no JPEG"),
        (_swapped, "the folders look swapped"),
        (_no_test_split, r"split test: found no photograph"),
        (_mapping_and_contents, r"(?s)mapping\.txt, line 3.*2\.jpg: found a truncated"),
        (lambda m: shutil.rmtree(m / ROOT), "neither CelebAMask-HQ nor CelebAMask-HQ.zip"),
    ],
)
def test_bad_files_are_named_and_leave_nothing(manual_dir, spoil, message):
    spoil(manual_dir)
    assert_refused(message, module, manual_dir)


def test_photographs_of_the_mapping_that_are_not_there_are_named(manual_dir, capfd):
    path = manual_dir / ROOT / "CelebA-HQ-to-CelebA-mapping.txt"
    more = "".join(f"{5000 + i} {i} {i + 1:06d}.jpg 0 0\n" for i in range(25))
    path.write_text(path.read_text() + more)
    photo = manual_dir / PHOTOS / "1.jpg"
    photo.rename(photo.with_suffix(".JPG"))
    found = prepared(module, manual_dir)
    assert "1" in found
    told = capfd.readouterr().err
    assert "25 photographs of the official list are not there: 5000, 5001" in told
    assert "5019 and 5 more" in told
    assert "test: no example has" in told


def test_bad_files_of_several_splits_are_one_error(manual_dir):
    for key in IDS:
        (manual_dir / PHOTOS / f"{key}.jpg").write_bytes(b"no photo")
    with pytest.raises(files.Faults, match=r"(?s)5 faults.*/0\.jpg.*/2002\.jpg"):
        prepared(module, manual_dir)


def test_the_mini_set_has_its_counts(real_data):
    root = real_data / "celebamask_hq_mini"
    source = module.find(root, "official")
    archive, rows = source.archive, source.rows
    assert not source.faults
    assert {split: len(of) for split, of in rows.items()} == {
        "train": 900,
        "validation": 100,
        "test": 200,
    }
    assert sum(row.depth is not None for of in rows.values() for row in of) == 1199
    # The subject's left is the right half of the picture.
    label = module.read_label(archive, rows["test"][0].label, "official")
    left, right = (np.nonzero(label == value)[1].mean() for value in (4, 5))
    assert left > right
