"""A folder of one's own with classes that no code knows: built, trained on, scored, packed."""

import shutil

import numpy as np
import pytest

from faceparse_jax import labels
from faceparse_jax.checkpoints import pack
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import evaluate
from faceparse_jax.prediction.parser import load
from faceparse_jax.training.loop import train
from tests.support import dummy_archives, runs
from tfds_builders import build

CLASSES = "background #000000\nleft_half #ff0000\nright_half #00ff00\nhair #0000ff\n"


def three_classes(folder):
    """Labels of a left half, a right half and hair, in colours."""
    dummy_archives.own(folder)
    folder.joinpath("classes.txt").write_text(CLASSES)
    palette = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    for split, keys in dummy_archives.OWN_SPLITS.items():
        for key in keys:
            eleven = dummy_archives.eleven(key, labels.LAPA)
            half = 1 + (np.arange(eleven.shape[1]) >= eleven.shape[1] // 2)
            label = np.where(eleven == 10, 3, (eleven > 0) * half)
            data = dummy_archives.encode(palette[dummy_archives.cropped(label, key)])
            (folder / "labels" / split / f"face{key}.png").write_bytes(data)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    three_classes(folder / "manual")
    build.build("folder", folder / "manual", "halves", folder / "data")
    shutil.rmtree(folder / "manual")  # nothing reads it again
    return folder / "data"


def config_of(data_dir):
    config = runs.small_config(data_dir, steps=2)
    config.data.name, config.data.config = "folder", "halves"
    config.data.depth_fraction = 1.0
    config.train.batch = config.eval.batch = 2
    return config


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    train(config_of(data_dir), folder)
    return folder


def test_classes_go_from_the_folder_to_the_packed_file(data_dir, workdir, tmp_path):
    scores = evaluate.evaluate_run(workdir, "best")["folder/halves"]
    assert scores["classes"] == ["background", "left_half", "right_half", "hair"]
    assert scores["provenance"]["scored_in_scheme"] == "folder/halves"
    shutil.move(data_dir, tmp_path / "aside")  # networks need no data
    try:
        file = tmp_path / "mine.safetensors"
        scored = workdir / "evaluation" / "test_best.json"
        card = pack.pack(workdir, "best", [scored], file).read_text()
        assert "which are background, left_half, right_half and hair." in " ".join(card.split())
        parsers = [load(workdir), load(file)]
    finally:
        shutil.move(tmp_path / "aside", data_dir)
    photo = dummy_archives.head(0)["image"]
    for parser in parsers:
        assert parser.scheme.colours == ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
        assert parser.scheme.mirror == (0, 2, 1, 3)
        result = parser(photo)
        assert result.label.max() < 4
        assert result.overlay().shape[2] == 3
    assert parsers[0].scheme == parsers[1].scheme


def test_a_run_begins_with_networks_of_its_own_classes(data_dir, workdir, tmp_path):
    config = config_of(data_dir)
    config.model.init = str(workdir)
    train(config, tmp_path / "next")
    assert load(tmp_path / "next").scheme == load(workdir).scheme


def test_own_classes_are_not_scored_on_those_of_a_benchmark(data_dir, workdir, tmp_path):
    dummy_archives.lapa(tmp_path / "lapa")
    build.build("lapa_d", tmp_path / "lapa", None, data_dir)
    config = config_of(data_dir)
    config.eval.dataset = "lapa_d/official"
    with pytest.raises(InputError, match="schemes folder/halves and lapa: found no conversion"):
        evaluate.evaluate_run(workdir, "best", config)
