"""Studies: plans, statistics, skipping, failures, records; a frozen translator."""

import csv
import dataclasses
import importlib
import json
import pathlib

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
    assert {run.folder for run in runs} != {tmp_path}
    assert not list(tmp_path.iterdir())


def test_a_plan_crosses_arms_conditions_and_seeds(tmp_path):
    runs = plan(tiny_study(), tmp_path)
    assert len(runs) == 4 * 2 * 2
    assert [run.seed for run in runs] == [0] * 8 + [1] * 8
    assert runs[0].arm == "translator"  # another arm needs it
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


def test_the_same_study_gives_the_same_checksums(finished, tmp_path, capsys):
    config, folder = finished
    again = config.copy_and_resolve_references()
    again.arms = (arms.RGB_ALONE,)
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
    assert capsys.readouterr().out == "config.rate: 1 and 2\nthe parameters are the same\n"
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
