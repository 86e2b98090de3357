"""Helen-D from dummy archives, both kinds of labels: TFDS's own checks, labels, bad files."""

import numpy as np
import pytest

from faceparse_jax import labels
from tests.support.builder_case import BuilderCase, assert_refused, prepared
from tests.support.dummy_archives import cropped, eleven, encode, helen_relabelled, helen_smith
from tfds_builders.helen_d import helen_d_dataset_builder as helen_module

SMITH = "SmithCVPR2013_dataset_resized"


class HelenDSmithTest(BuilderCase):
    __test__ = True
    DATASET_CLASS = helen_module.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["smith"]  # noqa: RUF012
    SPLITS = {"train": 3, "validation": 1, "test": 1}  # noqa: RUF012
    WRITE = staticmethod(helen_smith)


class HelenDRelabelledTest(BuilderCase):
    __test__ = True
    DATASET_CLASS = helen_module.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["relabelled"]  # noqa: RUF012
    SPLITS = {"train": 4, "validation": 1, "test": 1}  # noqa: RUF012
    WRITE = staticmethod(helen_relabelled)


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


def test_helen_is_read_at_its_original_size_too(tmp_path):
    helen_smith(tmp_path / "manual")
    resized = prepared(helen_module, tmp_path / "manual", "smith")
    root = tmp_path / "manual" / SMITH
    root.rename(root.with_name("SmithCVPR2013_dataset_original"))
    original = prepared(helen_module, tmp_path / "manual", "smith")
    assert original.keys() == resized.keys()
    for key in original.keys() - {"metadata"}:
        np.testing.assert_array_equal(original[key]["label"], resized[key]["label"])


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


def _swapped_helen(manual):
    root = manual / SMITH
    (root / "images").rename(root / "x")
    (root / "labels").rename(root / "images")
    (root / "x").rename(root / "labels")


def _empty_list(manual):
    (manual / SMITH / "tuning.txt").write_text("")


def _two_lists_and_a_map(manual):
    _bad_line(manual)
    _unknown_id(manual)
    (manual / SMITH / "labels/101_1/101_1_lbl05.png").write_bytes(b"")


def _map_of_other_size(manual):
    data = encode(np.zeros((9, 9), np.uint8))
    (manual / SMITH / "labels/101_1/101_1_lbl05.png").write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_missing_map, r"labels/101_1: found soft maps without lbl05"),
        (_unknown_id, r"testing\.txt, 999_9: found an id without files"),
        (_both_lists, r"testing\.txt, 100_1: found an id that exemplars\.txt has too"),
        (_no_list, r"tuning\.txt: found no such file"),
        (_bad_line, r"tuning\.txt, line 1: found '103_1'"),
        (_swapped_helen, "the folders look swapped"),
        (_empty_list, r"split validation: found no photograph"),
        (
            _two_lists_and_a_map,
            r"(?s)tuning\.txt, line 1.*testing\.txt, 999_9: found.*lbl05\.png: found an empty",
        ),
        (_map_of_other_size, r"lbl05\.png: found 9x9 pixels, expected 64x48 pixels"),
    ],
)
def test_bad_files_of_helen_are_named(tmp_path, spoil, message):
    helen_smith(tmp_path / "manual")
    spoil(tmp_path / "manual")
    assert_refused(message, helen_module, tmp_path / "manual", "smith")


def test_the_mini_set_is_found_whole(real_data):
    source = helen_module.Builder.find(real_data / "helen_mini", "smith")
    assert not source.faults
    found = {split: len(rows) for split, rows in source.rows.items()}
    assert found == {"train": 40, "validation": 10, "test": 20}
    rows = [row for of in source.rows.values() for row in of]
    assert all(row.depth is not None for row in rows)
    label = source.make(rows[0]).features["label"]
    assert len(label) > 100
