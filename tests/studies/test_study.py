"""Studies: runs that are skipped, refused, failed or scored again; records; a frozen translator."""

import csv
import json
import shutil

import pytest

from faceparse_jax.checkpoints.trained import load_trained
from faceparse_jax.configs.studies import arms
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import provenance
from faceparse_jax.runtime.lock import LOCK
from faceparse_jax.studies import compare, report, study
from faceparse_jax.studies.study import run_study
from faceparse_jax.training.loop import train
from tests.support.locks import process_that_locks
from tests.support.runs import tiny_config
from tests.support.studies import both_alone, edit, tiny_study


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    """A study of three runs, one seed, in which nothing failed."""
    config = tiny_study(data_dir)
    config.arms, config.baselines = (arms.RGB_ALONE, arms.APART, arms.TRANSLATOR), ()
    config.seeds = (0,)
    config.conditions = arms.depth_fractions(0.5)
    folder = tmp_path_factory.mktemp("study")
    run_study(config, folder)
    return config, folder


def test_a_study_writes_scores_tables_plot_and_record(finished):
    _, folder = finished
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert {row["arm"] for row in rows} == {"rgb alone", "translation apart"}
    (value,) = (
        float(row["value"])
        for row in rows
        if (row["arm"], row["route"], row["score"]) == ("rgb alone", "rgb", "accuracy")
    )
    record = json.loads((folder / "record.json").read_text())["runs"]
    assert len(record) == 3
    rgb = record["runs/rgb_alone/50_depth/seed_0"]
    assert rgb["scores"]["rgb"]["accuracy"] == value
    for key in ("config", "seed", "trained_on", "code_version", "libraries", "parameters_sha256"):
        assert rgb[key] is not None
    assert rgb["trained_on"]["fingerprint"]
    assert rgb["libraries"]["device"] == provenance.device()
    assert "| translation apart |" in (folder / "tables.md").read_text()
    assert (folder / "plot.png").stat().st_size > 5_000


def test_a_frozen_translator_stays_as_it_was(finished):
    _, folder = finished
    runs = folder / "runs"
    apart, alone = (
        load_trained(runs / arm / "50_depth" / "seed_0", "last").variables["translator"]
        for arm in ("translation_apart", "translator")
    )
    assert provenance.checksum(apart) == provenance.checksum(alone)
    records = json.loads((folder / "record.json").read_text())["runs"]
    taken = records["runs/translation_apart/50_depth/seed_0"]["translator_from_sha256"]
    assert taken == provenance.checksum(alone)


def test_finished_runs_are_skipped_and_another_config_is_refused(finished, capsys, monkeypatch):
    config, folder = finished
    monkeypatch.setattr(study, "train", None)  # would raise
    run_study(config, folder)
    assert "3 runs, 0 to do" in capsys.readouterr().out
    other = config.copy_and_resolve_references()
    other.base.optim.rate = 0.25
    with pytest.raises(InputError, match=r"a finished run with optim\.rate=0\.\d+ \(now 0\.25\)"):
        run_study(other, folder)


def test_two_processes_do_not_run_a_study_in_one_folder(finished, monkeypatch):
    config, folder = finished
    monkeypatch.setattr(study, "train", None)  # would raise
    with process_that_locks(folder) as other:
        with pytest.raises(InputError, match=f"{folder}: found process {other.pid} on"):
            run_study(config, folder)
        assert (folder / LOCK).exists()
    run_study(config, folder)


def test_a_finished_run_is_not_scored_by_another_checkpoint(finished):
    config, folder = finished
    other = config.copy_and_resolve_references()
    other.checkpoint = "best"
    with pytest.raises(InputError, match=r"checkpoint='last' \(now 'best'\).*to score it again"):
        run_study(other, folder)
    other = config.copy_and_resolve_references()
    other.base.eval.label_size = 24
    with pytest.raises(InputError, match=r"eval\.label_size.*record\.json to score it again"):
        run_study(other, folder)
    other = config.copy_and_resolve_references()
    other.base.log.every = 7  # touches no number
    run_study(other, folder)


@pytest.fixture
def copied(finished, tmp_path):
    """The finished study, to change."""
    config, folder = finished
    shutil.copytree(folder, tmp_path / "study")
    return config, tmp_path / "study"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"scores": {"rgb": 1}}, "scores that are no objects"),
        ({"trained_on": "here"}, "trained_on without"),
        ({"scored_on": {"name": "x"}}, "scored_on without"),
    ],
)
def test_a_record_of_another_form_is_refused(values, says, copied):
    config, folder = copied
    edit(folder / "runs/rgb_alone/50_depth/seed_0/record.json", **values)
    with pytest.raises(InputError, match=says):
        run_study(config, folder)


def test_a_run_that_used_another_translator_is_not_finished(copied, monkeypatch, capsys):
    config, folder = copied
    record = folder / "runs/translator/50_depth/seed_0/record.json"
    edit(record, translator_sha256="another")
    with pytest.raises(InputError, match=r"found a finished run with the translator \w+ \(now ano"):
        run_study(config, folder)
    # Its translator is trained anew: told when that is done.
    record.unlink()
    monkeypatch.setattr(
        study, "_execute", lambda run, _: edit_new(run.record, folder, translator_sha256="another")
    )
    with pytest.raises(InputError, match=r"1 of 3 runs failed: translation apart.*the translator"):
        run_study(config, folder)


def edit_new(path, folder, **values):
    kept = json.loads((folder / "record.json").read_text())["runs"]
    path.write_text(json.dumps(kept[str(path.parent.relative_to(folder))] | values))


def test_other_data_than_those_of_the_finished_runs_are_refused(copied, monkeypatch):
    config, folder = copied
    (folder / "runs/rgb_alone/50_depth/seed_0/record.json").unlink()
    place = folder / "runs/translation_apart/50_depth/seed_0/record.json"
    trained_on = json.loads(place.read_text())["trained_on"]
    edit(place, trained_on=trained_on | {"fingerprint": "other"})
    monkeypatch.setattr(study, "train", None)  # would raise
    with pytest.raises(InputError, match=r"found dataset fingerprint .* expected other, which the"):
        run_study(config, folder)


def test_a_cut_run_of_another_config_is_refused_before_any_run(copied):
    config, folder = copied
    shutil.rmtree(folder / "runs/translator")
    place = folder / "runs/rgb_alone/50_depth/seed_0"
    (place / "record.json").unlink()
    kept = json.loads((place / "config.json").read_text())
    edit(place / "config.json", train=kept["train"] | {"steps": 3})
    with pytest.raises(InputError, match=r"a run with train\.steps=3 \(now 2\)"):
        run_study(config, folder)
    assert not (folder / "runs/translator").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"scores": (("rgb", "f1/meen"),)}, r"config\.scores: found 'f1/meen', expected one of \["),
        ({"scores": (("fusion", "f1/mean"),)}, "the route 'fusion', which no arm's networks have"),
        ({"baselines": (("rgb", "depth alone"),)}, "'depth alone' for the route 'rgb'"),
        ({"eval.split": "tset"}, "tset"),
        ({"eval.dataset": "lapa_d/official"}, "no prepared dataset"),
        ({"eval.dataset": "synthetic_heads/tiny,synthetic_heads/tiny"}, "expected one dataset"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_any_run(values, says, data_dir, tmp_path):
    config = tiny_study(data_dir)
    config.arms = both_alone()
    for key, value in values.items():
        if key in config:
            config[key] = value
        else:
            config.base.update_from_flattened_dict({key: value})
    with pytest.raises(InputError, match=says):
        run_study(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_tables_say_what_they_rest_on(finished, tmp_path):
    config, folder = finished
    text = (folder / "tables.md").read_text()
    record = json.loads((folder / "runs/rgb_alone/50_depth/seed_0/record.json").read_text())
    for value in (
        f"* code version: {record['code_version']}",
        "* checkpoint: last",
        f"* data fingerprint: {record['scored_on']['fingerprint']}",
        "* depth: rendered",
        f"{config.base.data.size} px, width {config.base.model.width:g}, 2 steps",
        f"* scored at: {record['scoring_resolution']}",
    ):
        assert value in text
    records = [record, record | {"code_version": "another", "absent": {"rgb": ["hat"]}}]
    text = report.write(config, [], records, [], tmp_path)
    assert f"* code version: {'; '.join(sorted({record['code_version'], 'another'}))}" in text
    assert "* absent, left out of the means of rgb: " in text
    assert "hat" in text


def test_the_same_study_gives_the_same_checksums(finished, tmp_path, capsys):
    config, folder = finished
    again = config.copy_and_resolve_references()
    again.arms, again.scores = (arms.RGB_ALONE,), (("rgb", "f1/mean"),)
    run_study(again, tmp_path)
    capsys.readouterr()
    place = "runs/rgb_alone/50_depth/seed_0/record.json"
    assert compare.main([str(folder / place), str(tmp_path / place)]) == 0
    assert capsys.readouterr().out == "the same\n"
    assert compare.main([str(folder / "record.json"), str(folder / place)]) == 1


def test_a_failed_run_is_told_and_the_others_go_on(data_dir, tmp_path, monkeypatch, capsys):
    config = tiny_study(data_dir)
    config.arms, config.seeds = (arms.RGB_ALONE, arms.DEPTH_ALONE), (0,)
    config.conditions = arms.depth_fractions(0.5)

    def breaks(run_config, folder):
        if run_config.loss.depth:
            raise RuntimeError("out of memory")
        return train(run_config, folder)

    monkeypatch.setattr(study, "train", breaks)
    with pytest.raises(InputError, match=r"1 of 2 runs failed: depth alone.*out of memory"):
        run_study(config, tmp_path)
    assert "failed: depth alone" in capsys.readouterr().err
    assert (tmp_path / "runs/rgb_alone/50_depth/seed_0/record.json").exists()
    assert "rgb alone" in (tmp_path / "tables.md").read_text()


def test_a_full_disk_stops_the_study_and_keeps_what_is_finished(data_dir, tmp_path, monkeypatch):
    calls = []

    def full(*_):
        calls.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(study, "train", full)
    with pytest.raises(InputError, match="a full disk, expected room"):
        run_study(tiny_study(data_dir), tmp_path)
    assert len(calls) == 1


def test_a_translator_of_another_form_is_refused(finished, data_dir, tmp_path):
    _, folder = finished
    config = tiny_config(data_dir, steps=2)
    config.update_from_flattened_dict(dict(arms.APART[1]))
    config.train.translator_from = str(folder / "runs/rgb_alone/50_depth/seed_0")
    with pytest.raises(InputError, match="no translator"):
        train(config, tmp_path / "a")
    config.train.translator_from = str(folder / "runs/translator/50_depth/seed_0")
    config.model.translator_features = 4
    with pytest.raises(InputError, match="a translator of another form"):
        train(config, tmp_path / "b")
    config.loss.translation = 1.0
    with pytest.raises(InputError, match=r"loss\.translation=1"):
        train(config, tmp_path / "c")
