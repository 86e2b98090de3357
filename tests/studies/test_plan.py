"""Plans of studies: names, folders, teachers, what is refused."""

import dataclasses
import importlib
import pathlib

import pytest

from faceparse_jax.config import Config
from faceparse_jax.configs.studies import arms
from faceparse_jax.errors import InputError
from faceparse_jax.studies import study
from faceparse_jax.studies.study import plan
from tests.support.places import ROOT
from tests.support.runs import tiny_config
from tests.support.studies import both_alone, changed, tiny_study

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
    shared = sum(run.arm == "rgb alone" and run.config.loss.depth == 0 for run in runs)
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
    assert half.config.data.depth_fraction == 0.5
    assert half.config.loss.rgb == 0
    assert half.folder == tmp_path / "runs" / "depth_alone" / "50_depth" / "seed_0"
    # Depth does not matter to it, so one run serves both conditions.
    rgb = {run.folder for run in runs if run.arm == "rgb alone"}
    assert len(rgb) == 2


def test_a_seed_can_choose_the_examples_too(tmp_path):
    for keys, choices in ((("seed",), (0, 0)), (("seed", "data.fraction_seed"), (0, 1))):
        runs = plan(changed(seed_keys=keys), tmp_path)
        for seed, choice in zip((0, 1), choices, strict=True):
            mine = [run.config for run in runs if run.seed == seed]
            assert {c.seed for c in mine} == {seed}
            assert {c.data.fraction_seed for c in mine} == {choice}


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
        ({"conditions": (("x", (("data.name", None),)),)}, "found None, expected a text"),
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


def test_a_run_has_a_readable_name():
    run = study.Run("full", "5 % depth", 1, Config(), pathlib.Path())
    assert run.name == "full, 5 % depth, seed 1"
    assert dataclasses.replace(run, condition="").name == "full, seed 1"
