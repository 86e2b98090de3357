"""Runs on rendered heads, and runs whose best checkpoint another dataset chooses."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.checkpoints import store
from faceparse_jax.data import rendered_reader
from faceparse_jax.data.synthetic import heads
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import evaluate
from faceparse_jax.runtime import forms
from faceparse_jax.training import loop
from faceparse_jax.training.setup import accept
from tests.support.dummy_archives import lapa
from tests.support.heads import blocks
from tests.support.runs import numbers, small_config
from tfds_builders import build

OTHER = "lapa_d/official"


@pytest.fixture(scope="module", autouse=True)
def painted():
    """The reader and the run are the point here, not what a head looks like."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "rendered", blocks)
        rendered_reader._held_out.cache_clear()
        yield
    rendered_reader._held_out.cache_clear()  # which would keep the blocks


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    lapa(folder / "manual")
    build.build("lapa_d", folder / "manual", data_dir=folder)
    return folder


def config_for(data_dir, **data):
    config = small_config(data_dir)
    config.data.update(source="rendered", config="rendered", depth_fraction=1.0, **data)
    config.eval.every, config.eval.validation = 2, OTHER
    return config


@pytest.fixture(scope="module")
def whole(faces, tmp_path_factory):
    """A run of four steps on a pool that renews itself, validated on LaPa."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    loop.train(config_for(faces, heads=10, reuse=2), folder)
    return folder


def test_a_run_that_goes_on_ends_with_the_same_bits(faces, whole, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    for step in ("3", "4"):
        shutil.rmtree(folder / "checkpoints" / "last" / step)
    loop.train(config_for(faces, heads=10, reuse=2), folder)
    assert numbers(folder) == numbers(whole)
    left, right = (store.read_meta(run, "last")["sha256"] for run in (folder, whole))
    assert left == right


def test_a_run_with_other_heads_is_another_run(faces, whole, monkeypatch):
    for other, says in (
        ({"heads": 0, "reuse": 0}, r"data\.heads=10 \(now 0\)"),
        ({"heads": 10, "reuse": 1}, r"data\.reuse=2 \(now 1\)"),
    ):
        with pytest.raises(InputError, match=says):
            loop.train(config_for(faces, **other), whole)
    monkeypatch.setattr(heads, "VERSION", "9.0.0")
    with (
        store.Checkpoints(whole, 3, read_only=True) as saved,
        pytest.raises(InputError, match=r"heads/rendered/9\.0\.0: .*go on with the code version"),
    ):
        accept(config_for(faces, heads=10, reuse=2)).begin(saved)


def test_another_dataset_chooses_the_best_checkpoint(faces, whole):
    """By the scores that `--mode evaluate` gives, in the scheme that both have."""
    best = store.read_meta(whole, "best")["best"]
    scores = {
        step: values["validation/rgb/f1/mean"]
        for step, values in numbers(whole).items()
        if "validation/rgb/f1/mean" in values
    }
    assert scores.keys() == {2, 4}
    assert best == {
        "step": max(scores, key=scores.get),
        "score": max(scores.values()),
        "route": "rgb",
        "label_size": 0,
        "dataset": OTHER,
    }
    meta = store.read_meta(whole, "last")["dataset"]
    assert (meta["name"], meta["config"], meta["version"]) == (
        "synthetic_heads",
        "rendered",
        heads.VERSION,
    )
    config = config_for(faces, heads=10, reuse=2)
    config.eval.dataset, config.eval.split = OTHER, "validation"
    config.eval.boundary_tolerance = -1
    (found,) = evaluate.evaluate_run(whole, "best", config).values()
    assert found["routes"]["rgb"]["f1/mean"] == pytest.approx(best["score"], rel=1e-6)
    assert found["provenance"]["scored_in_scheme"] == "lapa"
    config.eval.dataset, config.eval.split = "", "test"
    (own,) = evaluate.evaluate_run(whole, "last", config).values()
    assert own["provenance"]["scored_on"]["examples"] == {"all": 200, "with_depth": 200}
    assert np.sum(own["routes"]["rgb"]["confusion"]) == 200 * 64 * 64


def test_a_change_of_the_dataset_chooses_anew(faces, whole, capsys):
    config = config_for(faces, heads=10, reuse=2)
    config.eval.validation = ""
    loop.check_workdir(whole, json.loads(config.to_json()))
    with store.Checkpoints(whole, 3, read_only=True) as saved:
        assert accept(config).begin(saved)[1]["best"] is None
        told = capsys.readouterr().err
        assert "chosen anew, by route rgb, label_size 0, dataset synthetic_heads/rendered" in told
        config.eval.validation = OTHER
        assert accept(config).begin(saved)[1]["best"]["dataset"] == OTHER
    assert not capsys.readouterr().err


def test_depth_levels_are_those_of_the_own_heads(faces):
    config = config_for(faces)
    other = accept(config)
    config.eval.validation = ""
    levels = accept(config).depth_levels()
    assert other.validation.name == OTHER
    assert other.depth_levels() == levels is not None


def test_a_step_takes_the_heads_that_the_devices_render(faces, monkeypatch):
    def paint(head, size):
        one = (head["yaw"] > -9).astype(jnp.uint8)
        return jnp.full((size, size, 3), one), *2 * [jnp.full((size, size), one)]

    monkeypatch.setattr(heads, "render", paint)
    config = config_for(faces)
    config.data.size, config.devices = 76, 2  # a size for which nothing else is compiled
    job = accept(config)
    rows, inputs = next(job.train_inputs(3))
    with forms.forms_for("gpu"):
        same_rows, made = next(job.train_inputs(3))
    np.testing.assert_array_equal(rows, same_rows)
    assert made["label"].all()
    for a, b in ((x, made[key]) for key, x in inputs.items()):
        assert (a.shape, a.dtype, a.sharding) == (b.shape, b.dtype, b.sharding)
    assert made.keys() == inputs.keys()


def test_networks_of_files_are_scored_on_rendered_heads(data_dir):
    config = small_config(data_dir)
    config.eval.validation = "synthetic_heads/rendered"
    job = accept(config)
    assert job.data.split.config == "tiny"
    assert (job.validation.split.depth_source, len(job.validation.ids())) == ("rendered", 200)
    assert next(job.validation.batches())["image"].shape == (8, 64, 64, 3)
