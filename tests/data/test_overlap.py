"""Scores on photographs that a network has trained on."""

import pathlib

import pytest

from faceparse_jax import labels
from faceparse_jax.data.overlap import leak, leaks, of_helen
from faceparse_jax.data.splits import Split


def split(name, config, examples=4):
    return Split(
        name,
        config,
        "test",
        "1.0.0",
        pathlib.Path(),
        examples,
        0,
        labels.HELEN,
        "",
        "",
        8,
        None,
        "",
    )


def trained(name, config):
    return split(name, config).record()


HELEN_IDS = ["HELEN_137346980_1_5", "HELEN_158249995_1_0"]
OTHER_IDS = ["115769026_0", "LFPW_image_train_0671_3", "helen_1", "1000_HELEN_0"]


def test_photographs_of_helen_are_known_by_their_ids():
    assert [key for key in HELEN_IDS + OTHER_IDS if of_helen(key)] == HELEN_IDS


@pytest.mark.parametrize(
    ("trained_on", "scored_on", "ids", "says"),
    [
        (("lapa_d", "official"), ("helen_d", "smith"), OTHER_IDS, "5,473 warped photographs"),
        (("lapa_d", "official"), ("helen_d", "relabelled"), OTHER_IDS, "helen_d/relabelled test"),
        (("lapa_d", "without_helen"), ("helen_d", "smith"), OTHER_IDS, ""),
        (("lapa_d", "official"), ("lapa_d", "official"), HELEN_IDS, ""),
        (("helen_d", "smith"), ("lapa_d", "official"), HELEN_IDS + OTHER_IDS, "2 of 4 photographs"),
        (("helen_d", "smith"), ("lapa_d", "official"), OTHER_IDS, ""),
        (("helen_d", "smith"), ("helen_d", "relabelled"), OTHER_IDS, ""),
        (("celebamask_hq_d", "farl"), ("helen_d", "smith"), OTHER_IDS, ""),
    ],
)
def test_a_leak_is_told_where_photographs_are_shared(trained_on, scored_on, ids, says):
    told = leak(trained(*trained_on), split(*scored_on), lambda: ids)
    assert bool(told) == bool(says)
    assert says in told


def test_a_leak_of_what_networks_began_with_is_told():
    heads, scored = trained("synthetic_heads", "rendered"), split("helen_d", "smith")
    begun = {
        "dataset": heads,
        "init": [{"trained_on": ["synthetic_heads/tiny", "lapa_d/official"]}],
    }
    assert "5,473 warped photographs" in leaks(begun, scored, lambda: OTHER_IDS)
    begun["init"][0]["trained_on"].pop()
    assert leaks(begun, scored, lambda: OTHER_IDS) == ""
    assert leaks({"dataset": heads, "init": None}, scored, lambda: OTHER_IDS) == ""
