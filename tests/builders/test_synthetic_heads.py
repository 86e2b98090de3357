"""The synthetic builder: what it stores is what was rendered, and no head is in two splits."""

import numpy as np
import pytest
from PIL import Image

from faceparse_jax.data import reader
from faceparse_jax.data.synthetic import export, render_head
from tfds_builders import build


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    build.build("synthetic_heads", config="tiny", data_dir=folder)
    return folder


def test_records_are_the_rendered_heads(data_dir):
    opened = reader.open("tfds", "synthetic_heads", "tiny", "test", data_dir, 64)
    assert opened.split.num_examples == 13
    assert opened.split.depth_source == "rendered"
    batch = next(opened.evaluate(13))
    for row, name in enumerate(opened.ids):
        head = render_head(int(name), 64)
        np.testing.assert_array_equal(batch["image"][row], head["image"])
        np.testing.assert_array_equal(batch["depth"][row], head["depth"])
        np.testing.assert_array_equal(batch["label"][row], head["label"][..., 0])


def test_splits_share_no_head(data_dir):
    ids = []
    for name in ("train", "validation", "test"):
        ids += reader.open("tfds", "synthetic_heads", "tiny", name, data_dir, 64).ids
    assert len(set(ids)) == len(ids) == 24 + 12 + 13


def test_a_second_build_reuses_the_first(data_dir, capsys):
    build.build("synthetic_heads", config="tiny", data_dir=data_dir)
    assert "already prepared" in capsys.readouterr().out


def test_export_writes_pairs(tmp_path):
    export.export(tmp_path, count=3, size=64, sheet=True)
    assert Image.open(tmp_path / "sheet.png").size == (128, 128)
    assert Image.open(tmp_path / "images" / "head_0.png").size == (64, 64)
    assert np.asarray(Image.open(tmp_path / "depth" / "head_0_depth.png")).max() > 0
