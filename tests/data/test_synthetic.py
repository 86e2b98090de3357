"""Synthetic heads: repeatable, every class, depth and sides in the benchmarks' conventions."""

import subprocess
import sys

import numpy as np
import pytest

from faceparse_jax.data.synthetic import render_head
from faceparse_jax.data.synthetic.identity import sample_head
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ
from tests.support.heads import digest
from tests.support.places import ROOT

CLASS = {name: i for i, name in enumerate(CELEBAMASK_HQ.classes)}
SIZE = 64


@pytest.fixture(scope="module")
def heads():
    return [render_head(key, SIZE) for key in range(200)]


def test_shapes_and_types(heads):
    for name, channels in (("image", 3), ("depth", 1), ("label", 1)):
        assert heads[0][name].shape == (SIZE, SIZE, channels)
        assert heads[0][name].dtype == np.uint8


def test_same_key_same_bytes_in_another_process(heads):
    assert digest(render_head(5, SIZE)) == digest(heads[5])
    assert digest(heads[5]) != digest(heads[6])
    code = (
        "from faceparse_jax.data.synthetic import render_head;"
        "from tests.support.heads import digest;"
        f"print(digest(render_head(5, {SIZE})))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == digest(heads[5])


def test_every_class_occurs_within_200_heads(heads):
    seen = set(np.unique(np.stack([head["label"] for head in heads])))
    assert seen == set(range(CELEBAMASK_HQ.num_classes))


def test_depth_lies_on_the_head_alone(heads):
    allowed = np.isin(np.arange(256), CELEBAMASK_HQ.depth_classes)
    allowed[CLASS["mouth"]] = False  # an open mouth is a hole
    behind_lenses = 0
    for head in heads:
        glasses = head["label"] == CLASS["eye_g"]
        there = head["depth"] > 0
        np.testing.assert_array_equal(there[~glasses], allowed[head["label"]][~glasses])
        behind_lenses += (there & glasses).sum()
    assert behind_lenses > 0


def test_a_lens_is_labelled_as_glasses_and_shows_the_face_behind_it(heads):
    """As in CelebAMask-HQ, whose glasses cover eyes and skin."""
    seen = 0
    for key, head in enumerate(heads):
        if sample_head(key)["glasses"] and not sample_head(key)["held"]:
            label = head["label"][..., 0]
            lens = (label == CLASS["eye_g"]) & (head["depth"][..., 0] > 0)
            if lens.sum() < 20:
                continue
            rows, columns = np.nonzero(lens)
            window = np.s_[rows.min() - 3 : rows.max() + 4, columns.min() - 3 : columns.max() + 4]
            skin = (label == CLASS["skin"])[window]
            if skin.sum() < 20:
                continue
            seen += 1
            depth = head["depth"][..., 0].astype(int)
            beside = np.median(depth[window][skin])
            assert abs(np.median(depth[lens]) - beside) < 20  # of 254 levels
    assert seen > 5


def frontal(heads):
    poses = (sample_head(key) for key in range(len(heads)))
    return [
        head
        for head, pose in zip(heads, poses, strict=True)
        if abs(pose["yaw"]) < 0.15 and abs(pose["pitch"]) < 0.2 and abs(pose["roll"]) < 0.15
    ]


def test_larger_depth_is_farther(heads):
    compared = 0
    for head in frontal(heads):
        nose, ears = (np.isin(head["label"], ids) for ids in ([2], [8, 9]))
        if nose.any() and ears.any():
            compared += 1
            assert head["depth"][nose].min() < head["depth"][ears].min()
    assert compared > 5


def test_the_subjects_left_is_on_the_right_of_the_picture(heads):
    compared = 0
    for head in frontal(heads):
        for part in ("eye", "brow", "ear"):
            left, right = (head["label"][..., 0] == CLASS[f"{side}_{part}"] for side in "lr")
            if left.any() and right.any():
                compared += 1
                assert np.nonzero(left)[1].mean() > np.nonzero(right)[1].mean()
    assert compared > 20


def test_a_head_is_the_same_at_other_sizes(heads):
    for key in (1, 2):
        large = render_head(key, 2 * SIZE)["label"][::2, ::2]
        assert (large == heads[key]["label"]).mean() > 0.93


@pytest.mark.parametrize(("key", "size"), [(0, 32), (0, 1024), (0, 66), (-1, 64)])
def test_impossible_requests_are_refused(key, size):
    with pytest.raises(InputError, match="synthetic head"):
        render_head(key, size)


def test_poses_stay_in_their_range():
    for key in range(300):
        head = sample_head(key)
        yaw, pitch, roll = (abs(float(np.rad2deg(head[a]))) for a in ("yaw", "pitch", "roll"))
        assert yaw <= 65.001
        assert pitch <= 28.001
        assert roll <= 25.001
