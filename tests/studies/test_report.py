"""Statistics and tables of studies, and records side by side."""

import json

import numpy as np
import pytest
from scipy import stats

from faceparse_jax.configs.studies import arms
from faceparse_jax.studies import compare, report
from faceparse_jax.studies.report import Result
from tests.support.studies import both_alone, changed, edit


def results(arm, condition, values, seeds=None):
    seeds = seeds or range(len(values))
    return [
        Result(arm, condition, seed, {"rgb": {"f1/mean": value}})
        for seed, value in zip(seeds, values, strict=True)
    ]


def test_statistics_against_scipy():
    rng = np.random.default_rng(0)
    base, other = rng.random(5), rng.random(5)
    found = report.cells(
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
    cell = report.cells(base + other, "rgb", "f1/mean", "base")["other"]["c"]
    assert (cell.count, cell.difference) == (3, pytest.approx(0))
    assert report._text(cell, 3).endswith("(+0.0 ± 14.1, p 1, difference over 2)")
    single = results("other", "c", [0.4], seeds=[2])
    cell = report.cells(base + single, "rgb", "f1/mean", "base")["other"]["c"]
    assert (cell.spread, cell.p_value) == (None, None)
    assert cell.difference == pytest.approx(-10)
    absent = results("other", "c", [None])
    assert "other" not in report.cells(absent, "rgb", "f1/mean", None)


def test_cells_keep_the_scores_by_seed():
    found = results("a", "c", [0.1, 0.2]) + results("b", "c", [0.4], seeds=[1])
    cells = report.cells(found + results("b", "c", [None]), "rgb", "f1/mean", None)
    assert cells["a"]["c"].by_seed == pytest.approx({0: 10, 1: 20})
    assert cells["b"]["c"].by_seed == pytest.approx({1: 40})


def test_tables_tell_of_missing_seeds_and_runs(tmp_path):
    config = changed(arms=(*both_alone(), arms.TRANSLATION), scores=(("rgb", "f1/mean"),))
    config.conditions = (("c", ()),)
    config.seeds = (0, 1, 2)
    config.baselines = (("rgb", "rgb alone"),)
    found = results("rgb alone", "c", [0.4, 0.5, 0.6]) + results("depth alone", "c", [0.5, 0.7])
    text = report.write(config, found, [], ["translation, c, seed 0"], tmp_path)
    assert "| rgb alone | 50.0 ± 10.0 |" in text
    assert "| depth alone | 60.0 ± 14.1 (+15.0 ± 7.1, p 0.2, 2 of 3 seeds) |" in text
    assert "Not finished: translation, c, seed 0." in text
    assert "mean ± sample standard deviation over 3 seeds" in text
    config.seeds = (5,)
    text = report.write(config, results("rgb alone", "c", [0.4], [5]), [], [], tmp_path)
    assert "seed 5 alone" in text
    assert "Not finished" not in text


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
