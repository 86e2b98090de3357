"""Schemes of a user's own: what is stored of them, what is refused, and how they meet others."""

import dataclasses
import json

import pytest

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ, LAPA, SCHEMES, conversion

OWN = labels.Scheme(
    name="folder/own",
    classes=("background", "l_brow", "r_brow", "hair", "beard"),
    colours=((0, 0, 0), (1, 2, 3), (4, 5, 6), (7, 8, 9), (9, 9, 9)),
    swap_pairs=((1, 2),),
    left_of="subject",
    depth_classes=(1, 2, 3, 4),
)


def test_an_own_scheme_comes_back_from_json_as_it_was():
    stored = json.loads(json.dumps({"version": "1.0.0", **labels.as_data(OWN)}))
    assert stored["scheme"] == "folder/own"
    found = labels.from_data(stored)
    assert found == OWN
    assert hash(found) == hash(OWN)  # compiled functions are kept by it
    assert found.mirror == (0, 2, 1, 3, 4)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda scheme: scheme.name)
def test_a_known_scheme_is_its_name(scheme):
    assert labels.as_data(scheme) == {"scheme": scheme.name}
    assert labels.from_data({"scheme": scheme.name}) is scheme


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": ["background"]}, "1 classes instead of 2 to 255"),
        ({"classes": ["hair", "l_brow", "r_brow", "a", "b"]}, "instead of 'background'"),
        ({"classes": ["background", "a", "a", "b", "c"]}, "the class 'a' twice"),
        ({"classes": ["background", "a/b", "a", "b", "c"]}, "the class name 'a/b'"),
        ({"classes": ["background", "mean", "a", "b", "c"]}, "the class name 'mean'"),
        ({"classes": "background"}, "classes: Input should be"),
        ({"colours": [[0, 0, 0]]}, "for 5 classes"),
        ({"colours": [[0, 0, 256]] * 5}, "256"),
        ({"swap_pairs": [[1, 2], [2, 3]]}, "mirror pairs"),
        ({"swap_pairs": [[0, 2]]}, "mirror pairs"),
        ({"left_of": "nobody"}, "'nobody'"),
        ({"depth_classes": [5]}, "groups of classes"),
    ],
)
def test_a_scheme_that_contradicts_itself_is_refused(changes, says):
    stored = labels.as_data(OWN)
    with pytest.raises(ValueError, match="folder/own") as caught:
        labels.from_data(stored | {labels.KEY: stored[labels.KEY] | changes})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "stored",
    [{}, {"scheme": "x"}, {"scheme": ["lapa"]}, {"scheme": "x", labels.KEY: 3},
     {**labels.as_data(OWN), "scheme": "lapa"}],
)  # fmt: skip
def test_what_names_no_scheme_is_refused(stored):
    with pytest.raises(ValueError, match="the label scheme"):
        labels.from_data(stored)


def test_own_schemes_of_the_same_names_are_compared_by_name():
    other = dataclasses.replace(
        OWN,
        name="folder/other",
        classes=("background", "hair", "beard", "r_brow", "l_brow"),
        swap_pairs=((4, 3),),
    )
    assert conversion.class_table(OWN, other) == (0, 4, 3, 1, 2)
    assert conversion.common(OWN, other) == other
    for unlike in (dataclasses.replace(other, left_of="viewer"), CELEBAMASK_HQ):
        with pytest.raises(InputError, match="no conversion"):
            conversion.common(OWN, unlike)


def test_a_start_takes_the_class_of_the_same_name_on_the_same_side():
    celeb = CELEBAMASK_HQ.classes
    rows = conversion.leading_classes(CELEBAMASK_HQ, OWN)
    assert rows[:4] == (0, *map(celeb.index, ("l_brow", "r_brow", "hair")))
    assert rows[4] == -1  # nothing is called beard
    viewer = dataclasses.replace(OWN, left_of="viewer")
    rows = conversion.leading_classes(CELEBAMASK_HQ, viewer)
    assert rows[1:3] == tuple(map(celeb.index, ("r_brow", "l_brow")))
    assert conversion.leading_classes(OWN, LAPA)[LAPA.classes.index("hair")] == 3
