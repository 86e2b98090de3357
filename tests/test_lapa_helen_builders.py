"""LaPa-D and Helen-D from dummy archives: TFDS's own checks, labels, depth, bad files."""

import pathlib
import shutil
import tempfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from faceparse_jax import labels
from faceparse_jax.data import pipeline
from faceparse_jax.errors import InputError
from tests.dummy_archives import (
    SHAPES,
    cropped,
    eleven,
    encode,
    head,
    helen_relabelled,
    helen_smith,
    lapa,
)
from tfds_builders.helen_d import helen_d_dataset_builder as helen_module
from tfds_builders.lapa_d import lapa_d_dataset_builder as lapa_module


class _Case(tfds.testing.DatasetBuilderTestCase):
    __test__ = False

    @classmethod
    def setUpClass(cls):
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        cls.WRITE(pathlib.Path(cls.EXAMPLE_DIR))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


class LaPaDTest(_Case):
    __test__ = True
    DATASET_CLASS = lapa_module.Builder
    SPLITS = {"train": 3, "validation": 1, "test": 1}  # noqa: RUF012
    WRITE = staticmethod(lapa)


class HelenDSmithTest(_Case):
    __test__ = True
    DATASET_CLASS = helen_module.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["smith"]  # noqa: RUF012
    SPLITS = {"train": 3, "validation": 1, "test": 1}  # noqa: RUF012
    WRITE = staticmethod(helen_smith)


def prepared(module, manual_dir: pathlib.Path, config: str) -> dict[str, dict]:
    """Examples by id, and the metadata as `metadata`."""
    data_dir = manual_dir.parent / "data"
    shutil.rmtree(data_dir, ignore_errors=True)
    builder = module.Builder(config=config, data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    )
    found = {"metadata": builder.info.metadata}
    for split in builder.info.splits:
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            found[example["id"].decode()] = {**example, "split": split}
    return found


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
    split = pipeline.open_split("lapa_d", "official", "train", tmp_path / "data")
    assert split.depth_bits == 16
    assert split.label_size is None
    batch = next(pipeline.eval_batches(split, batch_size=4, size=64))
    assert batch["depth"].dtype == np.uint16
    row = pipeline.split_ids(split, range(3)).index("1000_0")
    depth = head(0)["depth"].astype(np.uint16)
    np.testing.assert_array_equal(batch["depth"][row], depth * 256 + 3 * (depth > 0))
    assert not batch["depth"][3].any()  # padding


@pytest.mark.parametrize(
    ("config", "write"), [("smith", helen_smith), ("relabelled", helen_relabelled)]
)
def test_helen_configs_give_the_same_labels(tmp_path, config, write):
    write(tmp_path / "manual")
    found = prepared(helen_module, tmp_path / "manual", config)
    assert found["metadata"]["scheme"] == "helen"
    for key in range(5):
        example = found[f"{100 + key}_1"]
        expected = cropped(eleven(key, labels.HELEN), key)
        np.testing.assert_array_equal(example["label"][..., 0], expected)
    assert found["104_1"]["split"] == "test"
    if config == "relabelled":
        assert found["106_1"]["split"] == "validation"


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
    with pytest.raises(InputError, match=message) as caught:
        prepared(lapa_module, tmp_path / "manual", "official")
    assert "; next: " in str(caught.value)
    assert not list((tmp_path / "data").rglob("dataset_info.json"))


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


SMITH = "SmithCVPR2013_dataset_resized"


def _missing_map(manual):
    (manual / SMITH / "labels/101_1/101_1_lbl05.png").unlink()


def _unknown_id(manual):
    (manual / SMITH / "testing.txt").write_text("1 , 999_9\n")


def _both_lists(manual):
    (manual / SMITH / "testing.txt").write_text("5 , 104_1\n6 , 100_1\n")


def _no_list(manual):
    (manual / SMITH / "tuning.txt").unlink()


def _bad_line(manual):
    (manual / SMITH / "tuning.txt").write_text("103_1\n")


def _map_of_other_size(manual):
    data = encode(np.zeros((9, 9), np.uint8))
    (manual / SMITH / "labels/101_1/101_1_lbl05.png").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_missing_map, r"labels/101_1: found soft maps without lbl05"),
        (_unknown_id, r"testing\.txt: found 999_9, without image"),
        (_both_lists, r"testing\.txt: found 100_1, also listed in exemplars\.txt"),
        (_no_list, r"tuning\.txt: found no such file"),
        (_bad_line, r"tuning\.txt, line 1: found '103_1'"),
        (_map_of_other_size, r"lbl05\.png: found 9x9 pixels, expected 64x48 pixels"),
    ],
)
def test_bad_files_of_helen_are_named(tmp_path, spoil, message):
    helen_smith(tmp_path / "manual")
    spoil(tmp_path / "manual")
    with pytest.raises(InputError, match=message) as caught:
        prepared(helen_module, tmp_path / "manual", "smith")
    assert "; next: " in str(caught.value)


def test_the_mini_sets_are_found_whole(real_data):
    for module, folder, config, counts, without in (
        (lapa_module, "lapa_mini", "official", (120, 20, 40), 0),
        (helen_module, "helen_mini", "smith", (40, 10, 20), 0),
    ):
        source = module.Builder.find(real_data / folder, config)
        assert not source.faults
        assert tuple(len(rows) for rows in source.rows.values()) == counts
        rows = [row for of in source.rows.values() for row in of]
        assert sum(row.depth is None for row in rows) >= without
        label = source.make(rows[0]).features["label"]
        assert len(label) > 100
