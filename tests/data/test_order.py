"""Which examples keep depth and label, and which rows of which batch they fill."""

import itertools

import numpy as np
import pytest

from faceparse_jax.data.order import Order, Scarcity, drawn, hashed, scarce
from faceparse_jax.errors import InputError

IDS = [str(n) for n in range(20_000)]


def kept(scarcity, count=24, has_depth=None):
    return scarcity.kept(IDS[:count], np.ones(count, bool) if has_depth is None else has_depth)


def test_fractions_are_nested_and_of_the_right_size():
    small, larger = (hashed(IDS, fraction) for fraction in (0.01, 0.05))
    assert (small <= larger).all()
    for fraction, chosen in ((0.01, small), (0.05, larger)):
        # Five standard deviations of a binomial.
        spread = 5 * np.sqrt(fraction * (1 - fraction) / len(IDS))
        assert abs(chosen.mean() - fraction) < spread
    assert not hashed(IDS, 0.0).any()
    assert hashed(IDS, 1.0).all()


def test_the_hash_is_the_same_everywhere():
    # SHA-256 of "0" begins with 5feceb66: 0.3747 of the range.
    assert hashed(["0"], 0.375)[0]
    assert not hashed(["0"], 0.374)[0]


def test_another_seed_chooses_other_examples():
    first, again, other = (hashed(IDS, 0.1, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, hashed(IDS, 0.1))
    assert abs((first & other).mean() - 0.01) < 5 * np.sqrt(0.01 * 0.99 / len(IDS))  # independent
    smaller = hashed(IDS, 0.01, 1)
    assert (smaller <= other).all()
    found = kept(Scarcity(depth_fraction=0.1, label_fraction=0.01, fraction_seed=1), len(IDS))
    np.testing.assert_array_equal(found["depth"], other)
    np.testing.assert_array_equal(found["label"], smaller)


def test_depth_is_kept_only_where_there_is_some():
    has_depth = np.arange(24) % 2 == 0
    found = kept(Scarcity(depth_fraction=0.5, label_fraction=0.5), has_depth=has_depth)
    np.testing.assert_array_equal(found["depth"], has_depth & hashed(IDS[:24], 0.5))
    assert found["depth"][~found["label"]].sum() == 0  # one hash: who has depth has a label


def test_scarce_batches_lose_depth_and_labels_and_nothing_else():
    rows = 64
    batch = {
        "image": np.full((rows, 4, 4, 3), 7, np.uint8),
        "depth": np.full((rows, 4, 4, 1), 9, np.uint16),
        "label": np.full((rows, 4, 4), 3, np.uint8),
        "has_depth": np.ones(rows, bool),
        "index": np.arange(rows, dtype=np.int32),
    }
    found = kept(Scarcity(depth_fraction=0.25, label_fraction=0.5), rows)
    (out,) = scarce(iter([batch]), found)
    np.testing.assert_array_equal(out["has_depth"], found["depth"])
    np.testing.assert_array_equal(out["depth"].any((1, 2, 3)), found["depth"])
    assert out["depth"].dtype == np.uint16
    np.testing.assert_array_equal((out["label"] == 3).all((1, 2)), found["label"])
    np.testing.assert_array_equal((out["label"] == 255).all((1, 2)), ~found["label"])
    np.testing.assert_array_equal(out["image"], batch["image"])


def test_shares_of_a_batch_are_spread_evenly_and_leave_the_rest():
    order = Order(8, 0, Scarcity(0.2, 0.4, depth_share=0.25, label_share=0.5))
    found = kept(order.scarcity)
    (rest, depth, label), paired = order.pools(found)
    assert paired == []
    assert (rest.rows.tolist(), depth.rows.tolist(), label.rows.tolist()) == (
        [0, 4], [2, 6], [1, 3, 5, 7]
    )  # fmt: skip
    np.testing.assert_array_equal(rest.examples, np.arange(24))
    np.testing.assert_array_equal(depth.examples, np.flatnonzero(found["depth"]))
    np.testing.assert_array_equal(label.examples, np.flatnonzero(found["label"]))
    with pytest.raises(InputError, match="6 rows where 4 are left"):
        Order(8, 0, Scarcity(depth_share=0.75, label_share=0.5)).pools(found)
    with pytest.raises(InputError, match=r"0\.01, which is no row of 8"):
        Order(8, 0, Scarcity(depth_share=0.01)).pools(found)


def test_paired_rows_are_drawn_from_examples_that_keep_their_depth():
    order = Order(8, 0, Scarcity(depth_fraction=0.3), paired=4)
    (rest,), (paired,) = order.pools(kept(order.scarcity))
    np.testing.assert_array_equal(paired.rows, np.arange(4))
    np.testing.assert_array_equal(paired.examples, np.flatnonzero(hashed(IDS[:24], 0.3)))
    assert rest.number != paired.number  # so that each has an order of its own


@pytest.mark.parametrize("what", ["depth_share", "paired_rows"])
def test_depth_cannot_be_drawn_where_there_is_none(what):
    share = {"depth_share": 0.5} if what == "depth_share" else {}
    order = Order(8, 0, Scarcity(depth_fraction=0.0, **share), paired=0 if share else 4)
    with pytest.raises(InputError, match=rf"config\.data\.{what}: .*no example with depth"):
        order.pools(kept(order.scarcity))


def test_rows_that_hosts_cannot_share_are_refused():
    with pytest.raises(InputError, match=r"found 4.*multiple of the 3 hosts.*set it to 3"):
        Order(4, 0, hosts=3)
    with pytest.raises(InputError, match=r"config\.data\.paired_rows: found 3.*2 hosts"):
        Order(4, 0, paired=3, hosts=2)


def test_every_epoch_holds_every_example_once_and_restarts_anywhere():
    order = Order(8, 3, Scarcity(depth_fraction=0.3, depth_share=0.5))
    pools, _ = order.pools(kept(order.scarcity))
    found = list(itertools.islice(drawn(pools, range(8), 3, 0), 12))
    with_depth = len(pools[1].examples)
    depth, rest = (np.concatenate([batch[pool.rows] for batch in found]) for pool in pools[::-1])
    for start in range(0, len(depth) - with_depth, with_depth):
        assert sorted(depth[start : start + with_depth]) == pools[1].examples.tolist()
    epochs = rest.reshape(2, 24)
    assert [sorted(epoch) for epoch in epochs] == [list(range(24))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()
    for host in (range(4), range(4, 8)):
        later = list(itertools.islice(drawn(pools, host, 3, 7), 5))
        np.testing.assert_array_equal(later, [batch[host] for batch in found[7:]])
