"""Examples beside their truth and every prediction."""

import jax
import numpy as np
import pytest

from faceparse_jax.evaluation.pictures import first_examples, training_picture
from faceparse_jax.labels import CELEBAMASK_HQ, IGNORE
from faceparse_jax.runtime import sharding


def predicted(batch, size=32):
    label = np.full((batch, size, size), 13, np.uint8)
    routes = ("rgb", "depth", "depth_translated", "fusion")
    translated = np.full((batch, size, size, 1), 77, np.uint8)
    return dict.fromkeys(routes, label) | {"translated": translated}


def examples(batch=3, size=32, label_size=64):
    return {
        "image": np.full((batch, size, size, 3), 50, np.uint8),
        "depth": np.full((batch, size, size, 1), 120, np.uint8),
        "label": np.full((batch, label_size, label_size), 1, np.uint8),
        "has_depth": np.array([True, False, True]),
        "index": np.arange(batch, dtype=np.int32),
        "mask": np.array([True, True, False]),
    }


def test_training_picture_shows_what_there_is_and_no_depth_where_there_is_none():
    sheet = training_picture(examples(), predicted(3), CELEBAMASK_HQ, rows=3)

    def cells(colour):
        return (sheet == colour).all(-1).sum() / 128**2

    assert cells((50, 50, 50)) == pytest.approx(2, abs=0.01)  # the third row is padding
    assert cells((120, 120, 120)) == pytest.approx(1, abs=0.01)
    assert cells((77, 77, 77)) == pytest.approx(2, abs=0.01)
    assert cells(CELEBAMASK_HQ.colours[1]) == 2  # the truth
    # Four routes in the first row; in the second there is no depth to parse.
    assert cells(CELEBAMASK_HQ.colours[13]) == 4 + 3


def test_training_picture_leaves_out_absent_columns():
    out = predicted(3)
    whole = training_picture(examples(), out, CELEBAMASK_HQ, rows=1)
    alone = training_picture(examples(), {"rgb": out["rgb"]}, CELEBAMASK_HQ, rows=1)
    assert whole.shape[1] - alone.shape[1] == 4 * (128 + 6)


def test_the_first_examples_come_with_what_was_said_of_them():
    """Over two devices, from batches of other canvases, without the rows that fill one up."""
    mesh = sharding.make_mesh(2)
    place = sharding.by_row(mesh)
    eval_step = jax.jit(lambda _, batch: ({}, {"rgb": batch["image"][..., 0]}), out_shardings=place)
    batches = [examples(label_size=64), examples(label_size=128), examples()]
    for number, batch in enumerate(batches):
        batch["index"] += 3 * number
        batch["image"] += batch["index"][:, None, None, None].astype(np.uint8)
    left = iter(batches)
    head, said = first_examples(eval_step, {}, left, mesh, 4)
    assert list(head["index"]) == [0, 1, 3, 4]
    assert head["label"].shape == (4, 128, 128)
    assert (head["label"][:2, 64:] == IGNORE).all()
    assert list(said) == ["rgb"]
    np.testing.assert_array_equal(said["rgb"], head["image"][..., 0])
    assert list(left) == batches[2:]
    fewer, _ = first_examples(eval_step, {}, iter(batches[:1]), mesh, 4)
    assert list(fewer["index"]) == [0, 1]
