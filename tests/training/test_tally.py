"""What a run has been shown, against counting by hand."""

import jax.numpy as jnp
import numpy as np

from faceparse_jax.labels import IGNORE
from faceparse_jax.training.tally import Tally, tally_batch

CLASSES = ("background", "skin", "hat")


def batch(seed, with_depth):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (4, 3, 5))
    label[0] = IGNORE
    label[1, 0] = IGNORE
    return label, np.arange(4) < with_depth


def test_counts_add_up_and_go_on_from_a_record():
    batches = [batch(0, 2), batch(1, 0), batch(2, 0)]
    tally = Tally(CLASSES)
    for label, has_depth in batches[:2]:
        tally.add(tally_batch(jnp.asarray(label), jnp.asarray(has_depth), 3))
    assert tally.scalars()["seen/batches_without_depth"] == 1
    resumed = Tally(CLASSES, tally.record())
    label, has_depth = batches[2]
    resumed.add(tally_batch(jnp.asarray(label), jnp.asarray(has_depth), 3))
    labels = np.stack([label for label, _ in batches])
    assert resumed.record() == {
        "rows_without_label": 3,
        "batches_without_depth": 2,
        "pixels": [int((labels == k).sum()) for k in range(3)],
    }
    assert resumed.scalars()["seen/classes_never"] == 1
    assert resumed.summary() == (
        "training data: 3 rows without label; 2 batches without depth; classes never seen: hat"
    )
    assert tally.record()["rows_without_label"] == 2  # the record was a copy


def test_nothing_is_said_where_nothing_was_missing():
    tally = Tally(CLASSES)
    tally.add(tally_batch(jnp.arange(3).reshape(1, 1, 3), jnp.ones(1, bool), 3))
    assert tally.summary() == ""
