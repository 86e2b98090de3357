"""Conversions between label schemes: sides, merged classes, probabilities."""

import subprocess
import sys

import numpy as np
import pytest

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from faceparse_jax.labels import conversion
from tests.support.places import ROOT

CELEB, BISENET, LAPA, HELEN = labels.SCHEMES.values()


def names(source, target):
    """Target name by source name."""
    table = conversion.class_table(source, target)
    return {part: target.classes[i] for part, i in zip(source.classes, table, strict=True)}


def test_sides_change_with_whose_left_is_meant():
    to_lapa = names(CELEB, LAPA)
    assert to_lapa["l_brow"] == "right_eyebrow"
    assert to_lapa["r_eye"] == "left_eye"
    assert (CELEB.left_of, LAPA.left_of) == ("subject", "viewer")


def test_merged_classes_follow_the_benchmarks():
    to_lapa, to_helen = names(CELEB, LAPA), names(CELEB, HELEN)
    assert {to_lapa[part] for part in ("skin", "l_ear", "r_ear", "eye_g")} == {"skin"}
    assert to_helen["l_ear"] == to_helen["r_ear"] == "background"
    assert to_helen["eye_g"] == "skin"
    for part in ("hat", "ear_r", "neck_l", "neck", "cloth"):
        assert to_lapa[part] == to_helen[part] == "background"
    assert to_lapa["mouth"] == "inner_mouth"


@pytest.mark.parametrize("target", labels.SCHEMES.values(), ids=lambda scheme: scheme.name)
@pytest.mark.parametrize("source", labels.SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_one_class_stands_for_each_that_merges(source, target):
    """Every class of the target has one, and where several merge, it is the one of its name."""
    if not conversion.exists(source, target):
        with pytest.raises(InputError, match="not finer"):
            conversion.leading_classes(source, target)
        return
    table = conversion.class_table(source, target)
    leading = conversion.leading_classes(source, target)
    assert [table[i] for i in leading] == list(range(target.num_classes))
    for name, i in zip(target.classes, leading, strict=True):
        if table.count(table[i]) > 1:
            assert source.classes[i] == name


def test_the_two_numberings_of_celebamask_hq_are_a_bijection():
    there = np.array(conversion.class_table(CELEB, BISENET))
    back = np.array(conversion.class_table(BISENET, CELEB))
    np.testing.assert_array_equal(back[there], np.arange(19))


@pytest.mark.parametrize("target", [BISENET, LAPA, HELEN])
def test_conversion_and_mirror_commute(target):
    table = np.array(conversion.class_table(CELEB, target))
    np.testing.assert_array_equal(np.array(target.mirror)[table], table[np.array(CELEB.mirror)])


def test_label_maps_keep_ignored_pixels_and_refuse_foreign_values():
    label = np.array([[0, 6, 255]], np.uint8)
    np.testing.assert_array_equal(conversion.label_map(label, CELEB, LAPA), [[0, 3, 255]])
    with pytest.raises(InputError, match="the value 19, expected 0 to 18"):
        conversion.label_map(np.array([19], np.uint8), CELEB, LAPA)


def test_probabilities_that_merge_are_summed():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(19), (4, 5))
    merged = probabilities @ conversion.class_matrix(CELEB, LAPA)
    np.testing.assert_allclose(merged.sum(-1), 1, atol=1e-6)
    skin = probabilities[..., [CELEB.classes.index(p) for p in ("skin", "l_ear", "r_ear", "eye_g")]]
    np.testing.assert_allclose(merged[..., 1], skin.sum(-1), atol=1e-6)


def test_two_schemes_meet_in_the_coarser_one():
    assert conversion.common(CELEB, LAPA) == LAPA
    assert conversion.common(LAPA, CELEB) == LAPA
    assert conversion.common(LAPA, HELEN) == HELEN
    assert conversion.common(CELEB, CELEB) == CELEB
    with pytest.raises(InputError, match="not finer"):
        conversion.class_table(LAPA, CELEB)


def test_the_class_table_is_printed_by_one_command():
    command = [sys.executable, "-m", "faceparse_jax.labels"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for scheme in labels.SCHEMES.values():
        assert scheme.name in out
        for name in scheme.classes:
            assert name in out
    row = next(line.split() for line in out.splitlines() if " l_eye " in line)
    assert row[:4] == ["4", "l_eye", "right", "r_eye"]
