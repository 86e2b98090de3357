"""One small run from prepared data to written predictions, and what refuses to start."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from faceparse_jax.checkpoints import store
from faceparse_jax.checkpoints.card import config_hash
from faceparse_jax.checkpoints.run_config import stored
from faceparse_jax.data.order import hashed
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import evaluate
from faceparse_jax.prediction.files import predict_files
from faceparse_jax.prediction.parser import load
from faceparse_jax.training import logs
from faceparse_jax.training.loop import train
from tests.support import dummy_archives, runs
from tests.support.runs import command, numbers
from tfds_builders import build


def tiny_config(data_dir, steps=4):
    """With a second batch of paired rows, and an end-to-end term that fades."""
    config = runs.tiny_config(data_dir, steps)
    config.data.paired_rows = 4
    config.loss.e2e = ((0, 1.0), (steps, 0.5))
    return config


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny_config(data_dir), folder)
    return folder


def test_resume_equals_no_interruption(data_dir, workdir, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    progress = logs.Logs.progress

    def die_at_three(self, step, **values):
        progress(self, step, **values)
        if step == 3:
            raise Killed

    cut = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(logs.Logs, "progress", die_at_three)
        with pytest.raises(Killed):
            train(tiny_config(data_dir), cut)
    assert store.read_meta(cut, "last")["step"] == 2
    train(tiny_config(data_dir), cut)
    assert store.read_meta(cut, "last")["step"] == 4
    assert numbers(cut) == numbers(workdir)
    whole, resumed = (load_last(w) for w in (workdir, cut))
    assert whole.keys() == resumed.keys()
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)


def load_last(workdir):
    import jax

    from faceparse_jax.checkpoints.trained import load_trained

    tree = load_trained(workdir, "last").variables
    return {jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(tree)}


def test_what_was_missing_is_counted_in_the_log(workdir):
    """Rows, batches and classes that taught nothing, since the beginning of the run."""
    logged = numbers(workdir)
    assert logged[4]["seen/rows_without_label"] == 0
    assert logged[4]["seen/classes_never"] <= logged[1]["seen/classes_never"]
    meta = store.read_meta(workdir, "last")["seen"]
    assert meta["pixels"].count(0) == logged[4]["seen/classes_never"]
    assert 0 < sum(meta["pixels"]) <= 4 * (8 + 4) * 64 * 64  # the paired rows count, too


def test_a_finished_run_returns_at_once(data_dir, workdir):
    before = (workdir / "metrics.jsonl").read_bytes()
    assert train(tiny_config(data_dir), workdir) == {}
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_a_fraction_that_leaves_nothing_is_refused(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.data.label_fraction = 1e-6
    with pytest.raises(InputError, match="none of 24 examples keeps its label"):
        train(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_rows_that_cannot_be_drawn_are_refused_before_anything_is_written(data_dir, tmp_path):
    config = tiny_config(data_dir)
    config.data.depth_fraction, config.data.depth_share = 0.0, 0.5
    with pytest.raises(InputError, match=r"depth_share: found 0\.5 and no example with depth"):
        train(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim.rate", 0.5),
        ("train.batch", 4),
        ("model.width", 0.25),
        ("model.depth_statistics", "split"),
        ("data.depth_fraction", 1.0),
        ("data.name", "lapa_d"),
    ],
)
def test_another_config_is_refused(data_dir, workdir, tmp_path, key, value):
    config = tiny_config(data_dir)
    config.update_from_flattened_dict({key: value})
    if key == "data.name":  # another label scheme
        dummy_archives.lapa(tmp_path)
        build.build("lapa_d", tmp_path, None, tmp_path / "data")
        config.data.config, config.data.data_dir = "official", str(tmp_path / "data")
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(InputError, match=f"{key}=.*the same config to resume"):
        train(config, workdir)
    assert (workdir / "config.json").read_bytes() == before


def test_a_run_without_a_key_keeps_what_it_did(data_dir, tmp_path):
    """Runs older than loss.mutual_mean took the mean over pixels, which is not the default."""
    config = tiny_config(data_dir)
    older = json.loads(config.to_json())
    del older["loss"]["mutual_mean"]
    assert config.loss.mutual_mean == "classes"
    assert stored(older, "here", "none").loss.mutual_mean == "pixels"
    (tmp_path / "config.json").write_text(json.dumps(older))
    with pytest.raises(InputError, match=r"loss.mutual_mean='pixels' \(now 'classes'\)"):
        train(config, tmp_path)


def test_a_damaged_config_is_refused(data_dir, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match="expected the config of a run"):
        train(tiny_config(data_dir), tmp_path)


def test_a_run_has_a_model_card_from_its_end_on(workdir):
    card = (workdir / "card.md").read_text()
    meta = store.read_meta(workdir, "best")
    for line in (
        f"| checkpoint | best, by mean F1 {100 * meta['best']['score']:.1f} %",
        f"| steps | {meta['step']} of 4 |",
        f"| SHA-256 in results | inference `{meta['sha256']['inference']}` |",
        f"| SHA-256 of the config | `{config_hash(meta['config'])}` |",
        "Faces are personal data",
        "## Licence",
    ):
        assert line in card
    assert "# whole" in card.splitlines()


def test_evaluation_writes_table_json_and_picture(workdir, capsys):
    assert "None were measured here" in (workdir / "card.md").read_text()
    (scores,) = evaluate.evaluate_run(workdir, "best").values()
    printed = capsys.readouterr().out
    assert "mean F1" in printed
    kept = int(hashed([f"{key:06d}" for key in range(24)], 0.5).sum())
    assert f"trained with depth of {kept} of 24 examples" in printed
    written = json.loads((workdir / "evaluation" / "test_best.json").read_text())
    assert written["routes"].keys() == {"rgb", "depth", "depth_translated", "fusion"}
    record = written["provenance"]
    for key in ("config", "seed", "code_version", "scored_on", "input_resolution"):
        assert key in record
    assert record["scored_on"]["examples"]["all"] > 0
    assert "| mean F1 |" in (workdir / "card.md").read_text()
    assert np.sum(scores["routes"]["rgb"]["confusion"]) <= (
        record["scored_on"]["examples"]["all"] * 64 * 64
    )
    lines = (workdir / "evaluation" / "test_best_rgb.csv").read_text().splitlines()
    counts = np.array([line.split(",")[1:] for line in lines[1:]], int)
    np.testing.assert_array_equal(counts, scores["routes"]["rgb"]["confusion"])
    assert lines[0].split(",")[1:] == list(scores["classes"])
    assert scores["routes"]["rgb"]["boundary_f1/mean"] is not None
    picture = np.asarray(Image.open(workdir / "evaluation" / "test_best.png"))
    assert picture.std() > 10


def test_no_scores_are_lost_to_other_settings_or_to_later_ones(workdir, data_dir, tmp_path):
    folder = tmp_path / "run" / "evaluation"
    shutil.copytree(workdir, folder.parent, ignore=shutil.ignore_patterns("evaluation"))
    folder.mkdir()
    older = {"provenance": {"step": 1}, "routes": {}}  # before there was a file of all scores
    (folder / "test_best.json").write_text(json.dumps(older))
    config = tiny_config(data_dir)
    settings = {
        "test_best": {},
        "test_best_noboundary": {"boundary_tolerance": -1},
        "test_best_flip_size48": {"flip": True, "label_size": 48},
    }
    found = [older]
    for name, values in [*settings.items(), ("test_best", {})]:
        changed = config.copy_and_resolve_references()
        changed.eval.update(values)
        found += evaluate.evaluate_run(folder.parent, "best", changed).values()
        assert json.loads((folder / f"{name}.json").read_text()) == as_json(found[-1])
        assert (folder / f"{name}.png").exists()
        assert (folder / f"{name}_rgb.csv").exists()
        if name == "test_best_noboundary":
            with (folder / "all.jsonl").open("a") as file:
                file.write('{"torn')
    assert {path.stem for path in folder.glob("*.json")} == settings.keys()
    lines = (folder / "all.jsonl").read_text().splitlines()
    assert lines.pop(3) == '{"torn'
    assert [json.loads(line) for line in lines] == as_json(found)


def as_json(value):
    return json.loads(json.dumps(value))


def test_other_datasets_are_scored_by_name(workdir, data_dir, tmp_path, capsys):
    """Every prepared merge order, other schemes at original size, both with the mirror image."""
    dummy_archives.celebamask_hq(tmp_path)
    dummy_archives.lapa(tmp_path)
    dummy_archives.helen_smith(tmp_path)
    orders = ["official", "bisenet"]
    for name, configs in {"celebamask_hq_d": orders, "lapa_d": [None], "helen_d": [None]}.items():
        for config in configs:
            build.build(name, tmp_path, config, tmp_path / "data")
    config = tiny_config(tmp_path / "data")
    config.eval.dataset = "celebamask_hq_d/*, lapa_d/official,helen_d/smith"
    config.eval.flip, config.eval.label_size, config.eval.boundary_tolerance = True, -1, 1
    capsys.readouterr()
    scores = evaluate.evaluate_run(workdir, "last", config)
    printed = capsys.readouterr().out
    assert list(scores) == [
        *(f"celebamask_hq_d/{order}" for order in sorted(orders)),
        "lapa_d/official",
        "helen_d/smith",
    ]
    for order in orders:
        assert f"merge order of the labels: {order}" in printed
    assert printed.count("mirror image") == len(scores)
    for dataset, found in scores.items():
        record = found["provenance"]
        assert (record["scoring_resolution"], record["flip"]) == ("original", True)
        name = f"test_last_{dataset.replace('/', '_')}_flip_original_tolerance1.json"
        path = workdir / "evaluation" / name
        assert json.loads(path.read_text()) == json.loads(json.dumps(found))
        assert path.with_suffix(".png").exists()
        # One photograph in each test split, at the label's own size.
        (height, width), classes = dummy_archives.SHAPES[4], len(found["classes"])
        confusion = np.array(found["routes"]["rgb"]["confusion"])
        assert confusion.shape == (classes, classes)
        assert confusion.sum() == height * width
        assert found["routes"]["depth"]["absent"]  # the last photograph has no depth
    assert "f1/overall" in scores["helen_d/smith"]["routes"]["rgb"]
    assert "boundary F1 hair" in printed
    config.eval.dataset = "lapa_d"
    with pytest.raises(InputError, match="'lapa_d', expected name/config"):
        evaluate.evaluate_run(workdir, "last", config)
    config.eval.dataset = "helen_d/relabelled,lapa_d/official"
    with pytest.raises(InputError, match="no prepared dataset"):
        evaluate.evaluate_run(workdir, "last", config)


def test_prediction_from_files(workdir, tmp_path):
    photo = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(photo)
    out = tmp_path / "parsed"
    predict_files(load(workdir), str(photo), None, str(out))
    label = Image.open(out / "photo_label.png")
    assert label.size == (70, 50)
    assert label.mode == "L"
    assert (out / "photo_overlay.png").exists()
    assert Image.open(out / "photo_depth.png").size == (70, 50)


CONFIG = "--config=configs/synthetic_heads.py"


def test_bad_input_is_one_sentence_of_the_command(tmp_path, monkeypatch):
    """The corpus of bad input forks one process; this is the command as a user gives it."""
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    workdir = tmp_path / "run"
    done = command(f"--workdir={workdir}", CONFIG, "--config.optim.rat=1")
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert "rat" in lines[0]
    assert "next:" in lines[0]
    assert "Traceback" not in done.stderr
    assert not pathlib.Path(workdir).exists()
