"""Studies: plans, statistics, skipping, failures, records; a frozen translator."""

import csv
import dataclasses
import importlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from scipy import stats

from configs.studies import arms
from faceparse_jax import compare, provenance, study, study_report
from faceparse_jax.errors import InputError
from faceparse_jax.study import plan, run_study
from faceparse_jax.study_report import Result
from faceparse_jax.train import train
from faceparse_jax.trained import load_trained
from tests.conftest import ROOT
from tests.test_run import tiny_config


def tiny_study(data_dir=""):
    c = arms.study("Tiny", tiny_config(data_dir, steps=2))
    c.arms = (arms.RGB_ALONE, arms.DEPTH_ALONE, arms.TRANSLATOR, arms.APART)
    c.conditions = arms.depth_fractions(0.5, 1.0)
    c.seeds = (0, 1)
    return c


SHIPPED = sorted(
    path.stem
    for path in (ROOT / "configs" / "studies").glob("*.py")
    if path.stem not in ("__init__", "arms")
)


@pytest.mark.parametrize("shipped", SHIPPED)
def test_every_shipped_study_can_be_planned(shipped, tmp_path):
    config = importlib.import_module(f"configs.studies.{shipped}").get_config()
    runs = plan(config, tmp_path)
    assert len(runs) == len(config.arms) * len(config.conditions) * len(config.seeds)
    # Every arm is a training of its own, but the RGB parser's, which no share of depth changes.
    shared = sum(run.arm == "rgb alone" and run.config["loss"]["depth"] == 0 for run in runs)
    assert len({run.folder for run in runs}) >= len(runs) - shared
    assert not list(tmp_path.iterdir())


def test_a_plan_crosses_arms_conditions_and_seeds(tmp_path):
    runs = plan(tiny_study(), tmp_path)
    assert len(runs) == 4 * 2 * 2
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8
    # Another arm needs it first.
    names = [run.arm for run in runs[:4]]
    assert names == ["rgb alone", "depth alone", "translator", "translation apart"]
    assert runs[3].teacher is runs[2]
    half = next(r for r in runs if r.arm == "depth alone" and r.condition == "50 % depth")
    assert half.config["data"]["depth_fraction"] == 0.5
    assert half.config["loss"]["rgb"] == 0
    assert half.folder == tmp_path / "runs" / "depth_alone" / "50_depth" / "seed_0"
    # Depth does not matter to it, so one run serves both conditions.
    rgb = {run.folder for run in runs if run.arm == "rgb alone"}
    assert len(rgb) == 2


def test_a_seed_can_choose_the_examples_too(tmp_path):
    for keys, choices in ((("seed",), (0, 0)), (("seed", "data.fraction_seed"), (0, 1))):
        runs = plan(changed(seed_keys=keys), tmp_path)
        for seed, choice in zip((0, 1), choices, strict=True):
            mine = [run.config for run in runs if run.seed == seed]
            assert {c["seed"] for c in mine} == {seed}
            assert {c["data"]["fraction_seed"] for c in mine} == {choice}


def changed(**values):
    c = tiny_study()
    with c.unlocked():
        c.update(values)
    return c


def both_alone():
    return arms.RGB_ALONE, arms.DEPTH_ALONE


def apart_from(arm):
    return arms.variant(arms.APART, arms.APART[0], train__translator_from=f"arm:{arm}")


def small_translator():
    return arms.variant(arms.TRANSLATOR, "translator", model__translator_features=3)


def test_a_translator_may_itself_come_from_an_arm(tmp_path):
    again = arms.variant(arms.APART, "again", train__translator_from="arm:translation apart")
    runs = plan(changed(arms=(again, *both_alone(), arms.APART, arms.TRANSLATOR)), tmp_path)
    assert [run.arm for run in runs[2:5]] == ["translator", "translation apart", "again"]


def test_runs_of_different_teachers_are_not_shared(tmp_path):
    pinned = arms.variant(arms.APART, "pinned", data__depth_fraction=1.0)
    runs = plan(changed(arms=(*both_alone(), pinned, arms.TRANSLATOR)), tmp_path)
    mine = [run for run in runs if run.arm == "pinned" and run.seed == 0]
    assert mine[0].config == mine[1].config
    assert mine[0].folder != mine[1].folder


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"arms": (arms.FULL, arms.FULL)}, r"config\.arms: found full twice"),
        ({"arms": (("a b", ()), ("a-b", ()))}, "a_b twice"),
        ({"arms": ()}, r"config\.arms: found nothing"),
        ({"seeds": (1, 1)}, r"config\.seeds: found 1 twice"),
        ({"seed_keys": ()}, r"config\.seed_keys: found \(\), expected one or both"),
        ({"seed_keys": ("optim.rate",)}, r"config\.seed_keys: found .*optim\.rate"),
        ({"conditions": (("x", (("data.dept", 1.0),)),)}, r"key 'data\.dept'"),
        ({"conditions": (("x", (("data.depth_fraction", "all"),)),)}, "depth_fraction"),
        ({"baselines": (("rgb", "alone"),)}, "the arm 'alone', expected one of"),
        ({"arms": (arms.APART, arms.RGB_ALONE, arms.DEPTH_ALONE)}, "the arm 'translator'"),
        ({"arms": (("x", arms.terms()),), "baselines": ()}, "every weight at 0"),
        ({"arms": (("..", ()), arms.RGB_ALONE)}, r"config\.arms: found '\.\.'"),
        ({"arms": (("深度", ()), arms.RGB_ALONE)}, r"config\.arms: found '深度'"),
        ({"arms": (("", ()), arms.RGB_ALONE)}, r"config\.arms: found ''"),
        ({"scores": ()}, r"config\.scores: found \(\)"),
        ({"baselines": (("rgb", "rgb alone"), ("rgb", "translator"))}, "one baseline for a route"),
        ({"conditions": (("x", (("seed", 7),)),)}, "key 'seed': found 7"),
        ({"conditions": (("x", (("data.name", None),)),)}, "found None, expected a key"),
        ({"arms": (*both_alone(), apart_from("translation apart"))}, "wait for each other"),
        ({"arms": (*both_alone(), apart_from("depth alone"))}, "no translator of its form"),
        (
            {"arms": (*both_alone(), apart_from("translator"), small_translator())},
            "no translator of its form",
        ),
    ],
)
def test_a_wrong_study_is_refused_before_anything_runs(values, says, tmp_path):
    with pytest.raises(InputError, match=says):
        plan(changed(**values), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_run_is_no_study(tmp_path):
    with pytest.raises(InputError, match="a config without base, arms"):
        plan(tiny_config("x"), tmp_path)


def results(arm, condition, values, seeds=None):
    seeds = seeds or range(len(values))
    return [
        Result(arm, condition, seed, {"rgb": {"f1/mean": value}})
        for seed, value in zip(seeds, values, strict=True)
    ]


def test_statistics_against_scipy():
    rng = np.random.default_rng(0)
    base, other = rng.random(5), rng.random(5)
    found = study_report.cells(
        results("base", "c", base) + results("other", "c", other), "rgb", "f1/mean", "base"
    )
    cell = found["other"]["c"]
    assert cell.mean == pytest.approx(100 * other.mean())
    assert cell.spread == pytest.approx(100 * np.std(other, ddof=1))
    assert cell.difference == pytest.approx(100 * (other - base).mean())
    assert cell.difference_spread == pytest.approx(100 * np.std(other - base, ddof=1))
    # A paired test is a test of the differences against 0.
    assert cell.p_value == pytest.approx(stats.ttest_1samp(other - base, 0).pvalue)
    assert found["base"]["c"].difference is None


def test_statistics_pair_the_seeds_that_both_have():
    base = results("base", "c", [0.1, 0.5], seeds=[0, 2])
    other = results("other", "c", [0.4, 0.2, 0.9], seeds=[2, 0, 1])
    cell = study_report.cells(base + other, "rgb", "f1/mean", "base")["other"]["c"]
    assert (cell.count, cell.difference) == (3, pytest.approx(0))
    single = results("other", "c", [0.4], seeds=[2])
    cell = study_report.cells(base + single, "rgb", "f1/mean", "base")["other"]["c"]
    assert (cell.spread, cell.p_value) == (None, None)
    assert cell.difference == pytest.approx(-10)
    absent = results("other", "c", [None])
    assert "other" not in study_report.cells(absent, "rgb", "f1/mean", None)


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


def test_finished_runs_are_skipped_and_another_config_is_refused(finished, capsys, monkeypatch):
    config, folder = finished
    monkeypatch.setattr(study, "train", None)  # would raise
    run_study(config, folder)
    assert "3 runs, 0 to do" in capsys.readouterr().out
    other = config.copy_and_resolve_references()
    other.base.optim.rate = 0.25
    with pytest.raises(InputError, match=r"a finished run with optim\.rate=0\.\d+ \(now 0\.25\)"):
        run_study(other, folder)


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


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_run_that_used_another_translator_is_not_finished(copied, monkeypatch, capsys):
    config, folder = copied
    record = folder / "runs/translator/50_depth/seed_0/record.json"
    edit(record, parameters_sha256="another")
    with pytest.raises(InputError, match=r"found a finished run with the translator \w+ \(now ano"):
        run_study(config, folder)
    # Its translator is trained anew: told when that is done.
    record.unlink()
    monkeypatch.setattr(
        study, "_execute", lambda run, _: edit_new(run.record, folder, parameters_sha256="another")
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


def test_tables_tell_of_missing_seeds_and_runs(tmp_path):
    config = changed(arms=(*both_alone(), arms.TRANSLATION), scores=(("rgb", "f1/mean"),))
    config.conditions = (("c", ()),)
    config.seeds = (0, 1, 2)
    config.baselines = (("rgb", "rgb alone"),)
    found = results("rgb alone", "c", [0.4, 0.5, 0.6]) + results("depth alone", "c", [0.5, 0.7])
    text = study_report.write(config, found, [], ["translation, c, seed 0"], tmp_path)
    assert "| rgb alone | 50.0 ± 10.0 |" in text
    assert "| depth alone | 60.0 ± 14.1 (+15.0 ± 7.1, p 0.2, 2 of 3 seeds) |" in text
    assert "Not finished: translation, c, seed 0." in text
    assert "mean ± sample standard deviation over 3 seeds" in text
    config.seeds = (5,)
    text = study_report.write(config, results("rgb alone", "c", [0.4], [5]), [], [], tmp_path)
    assert "seed 5 alone" in text
    assert "Not finished" not in text


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
    text = study_report.write(config, [], records, [], tmp_path)
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


def test_records_that_differ_are_told_key_by_key(tmp_path, capsys):
    paths = [tmp_path / name for name in "ab"]
    paths[0].write_text(json.dumps({"seed": 0, "config": {"rate": 1}, "seconds": 5}))
    paths[1].write_text(json.dumps({"seed": 0, "config": {"rate": 2}, "seconds": 6}))
    assert compare.main([str(path) for path in paths]) == 1
    assert capsys.readouterr().out == "config.rate: 1 and 2\n"
    edit(paths[0], runs={"x": {"parameters_sha256": "ab"}}, gone=None, odd=float("nan"))
    edit(paths[1], runs={"x": {"parameters_sha256": "ab"}}, odd=float("nan"))
    assert compare.main([str(path) for path in paths]) == 1
    told = "config.rate: 1 and 2\ngone: None and 'nothing'\nthe parameters are the same\n"
    assert capsys.readouterr().out == told
    edit(paths[1], runs={"x": {"parameters_sha256": "cd"}})
    assert compare.main([str(path) for path in paths]) == 1
    assert "the parameters are the same" not in capsys.readouterr().out
    paths[1].write_text("{")
    assert compare.main([str(path) for path in paths]) == 2
    assert "expected the record.json of a study" in capsys.readouterr().err


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


def test_a_checksum_follows_names_shapes_and_bits():
    tree = {"b": np.arange(4.0), "a": np.ones(2)}
    assert provenance.checksum(tree) == provenance.checksum(jax.tree.map(np.copy, tree))
    for other in (
        {"b": np.arange(4.0), "c": np.ones(2)},
        {"b": np.arange(4.0).reshape(2, 2), "a": np.ones(2)},
        {"b": np.nextafter(np.arange(4.0), 9), "a": np.ones(2)},
    ):
        assert provenance.checksum(other) != provenance.checksum(tree)


def test_a_run_has_a_readable_name():
    run = study.Run("full", "5 % depth", 1, {}, pathlib.Path())
    assert run.name == "full, 5 % depth, seed 1"
    assert dataclasses.replace(run, condition="").name == "full, seed 1"
