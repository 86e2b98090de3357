"""Rendered heads as batches: functions of seed, step and row, drawn when they are asked for."""

import itertools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.data import reader, rendered_reader
from faceparse_jax.data.batches import ORIGINAL
from faceparse_jax.data.order import Order, Scarcity
from faceparse_jax.data.synthetic import export, heads, render_head
from faceparse_jax.data.synthetic.identity import sample_head
from faceparse_jax.errors import InputError
from faceparse_jax.runtime import forms, sharding
from tests.support.heads import blocks
from tests.support.places import ROOT

SIZE = 64


def opened(split="train", size=SIZE, heads=0, reuse=0):
    return reader.open(
        "rendered", *reader.RENDERED.split("/"), split, "", size, heads=heads, reuse=reuse
    )


def first(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
        assert a[key].dtype == b[key].dtype


@pytest.fixture
def painted(monkeypatch):
    """The keys that are asked for, whose heads are blocks of colour."""
    asked = []

    def paint(keys, size):
        asked.extend(keys)
        return blocks(keys, size)

    monkeypatch.setattr(heads, "rendered", paint)
    rendered_reader._held_out.cache_clear()
    yield asked
    rendered_reader._held_out.cache_clear()  # which would keep the blocks


def test_rows_are_the_heads_of_their_keys():
    for made in (opened(), opened(heads=4)):
        batch = next(made.train(Order(4, 7)))
        for row, number in enumerate(batch["index"].tolist()):
            head = render_head(heads.training_key(7, number), SIZE)
            np.testing.assert_array_equal(batch["image"][row], head["image"])
            np.testing.assert_array_equal(batch["depth"][row], head["depth"])
            np.testing.assert_array_equal(batch["label"][row], head["label"][..., 0])
            assert batch["has_depth"][row]
        assert sorted(batch["index"]) == [0, 1, 2, 3]


def test_no_two_kinds_of_heads_share_a_key():
    most = 2**31 - 1
    held_out = [*heads.HELD_OUT["validation"], *heads.HELD_OUT["test"]]
    assert len(set(held_out)) == len(held_out)
    assert min(held_out) > 20_000
    assert max(held_out) < export.FIRST_KEY
    last = heads.training_key(0, most * most + most)
    assert export.FIRST_KEY * 1000 < heads.training_key(0, 0) < last < heads.training_key(1, 0)


def test_without_a_pool_every_row_is_a_new_head(painted):
    made = opened()
    batches = first(made.train(Order(6, 3)), 3)
    assert painted == [heads.training_key(3, number) for number in range(18)]
    assert np.concatenate([batch["index"] for batch in batches]).tolist() == list(range(18))
    assert_same(next(made.train(Order(6, 3), 2)), batches[2])
    other = next(opened().train(Order(6, 4)))
    assert (other["image"] != batches[0]["image"]).any()


def test_a_pool_that_stays_is_rendered_once_in_full_shuffles(painted):
    batches = first(opened(heads=12).train(Order(4, 0)), 6)
    index = np.concatenate([batch["index"] for batch in batches])
    assert sorted(index[:12]) == sorted(index[12:]) == list(range(12))
    assert index[:12].tolist() != index[12:].tolist()
    assert sorted(painted) == [heads.training_key(0, number) for number in range(12)]


@pytest.mark.parametrize("reuse", [1, 3])
def test_a_pool_renews_an_equal_part_of_itself_in_every_epoch(painted, reuse):
    slots, epochs = 12, 9
    batches = first(opened(heads=slots, reuse=reuse).train(Order(4, 0)), epochs * slots // 4)
    numbers = np.concatenate([batch["index"] for batch in batches]).reshape(epochs, slots)
    for epoch in numbers:
        assert sorted(epoch % slots) == list(range(slots))
    found, times = np.unique(numbers, return_counts=True)
    assert len(painted) == len(found) == slots + (epochs - 1) * slots // reuse
    assert times.max() == reuse
    for before, after in itertools.pairwise(numbers):
        assert len(np.setdiff1d(after, before)) == slots // reuse
    pixels = np.concatenate([batch["image"][:, 0, 0] for batch in batches])
    keys = [heads.training_key(0, number) for number in numbers.ravel().tolist()]
    np.testing.assert_array_equal(pixels, blocks(keys, SIZE)["image"][:, 0, 0])


@pytest.mark.parametrize("pool", [{}, {"heads": 12}, {"heads": 12, "reuse": 2}])
def test_a_run_that_goes_on_draws_what_it_needs_and_gets_the_same(painted, pool):
    order = Order(4, 5)
    whole = first(opened(**pool).train(order), 12)
    painted.clear()
    later = first(opened(**pool).train(order, 10), 2)
    for mine, there in zip(later, whole[10:], strict=True):
        assert_same(mine, there)
    assert len(painted) == 8


@pytest.mark.parametrize("pool", [{}, {"heads": 12, "reuse": 2}])
def test_hosts_have_their_own_rows(painted, pool):
    whole = first(opened(**pool).train(Order(8, 5)), 9)
    for host in (0, 1):
        painted.clear()
        mine = first(opened(**pool).train(Order(8, 5, host=host, hosts=2)), 9)
        for part, batch in zip(mine, whole, strict=True):
            assert_same(part, {key: np.split(value, 2)[host] for key, value in batch.items()})
        assert len(painted) <= 36


def test_two_seeds_of_one_reader_do_not_mix(painted):
    made = opened(heads=4)
    batches = [next(made.train(Order(4, seed))) for seed in (0, 1)]
    assert len(painted) == 8
    assert_same(batches[0], next(made.train(Order(4, 0))))


def test_devices_render_their_own_rows(monkeypatch):
    """As accelerators do it; benchmarks/heads.py compares their heads with those of one by one."""

    def paint(head, size):
        value = (200 * jnp.abs(head["yaw"])).astype(jnp.uint8)
        return (
            jnp.full((size, size, 3), value),
            jnp.full((size, size), value),
            jnp.ones((size, size)),
        )

    monkeypatch.setattr(heads, "render", paint)
    size, order, mesh = 68, Order(4, 3), sharding.make_mesh(2)  # a size that no other test has
    keys = [heads.training_key(3, number) for number in range(8, 12)]
    yaw = [int(200 * abs(sample_head(key)["yaw"])) for key in keys]
    assert opened(size=size).on_devices(order, 2, mesh) is None
    with forms.forms_for("gpu"):
        assert opened(size=size, heads=8).on_devices(order, 2, mesh) is None
        numbers, found = next(opened(size=size).on_devices(order, 2, mesh))
        three = heads.rendered(keys[:3], size)
    assert numbers.tolist() == [8, 9, 10, 11]
    assert found.keys() == three.keys() == {"image", "depth", "label", "has_depth"}
    assert {array.sharding for array in found.values()} == {sharding.by_row(mesh)}
    assert found["depth"].shape == (4, size, size, 1)
    assert jax.device_get(found["image"])[:, 5, 6, 1].tolist() == yaw
    for name, array in three.items():
        np.testing.assert_array_equal(array, jax.device_get(found[name])[:3])


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_heads_are_the_same_for_every_run(painted, split):
    made = opened(split)
    assert made.split.num_examples == len(heads.HELD_OUT[split]) == 200
    parts = [list(made.evaluate(48, 0, host, 2)) for host in (0, 1)]
    assert [len(part) for part in parts] == [5, 5]
    whole = list(made.evaluate(48))
    assert painted == list(heads.HELD_OUT[split])[:24] + painted[24:]
    assert sorted(painted) == list(heads.HELD_OUT[split])
    for left, right, both in zip(*parts, whole, strict=True):
        assert_same({key: np.concatenate([left[key], right[key]]) for key in both}, both)
    index = np.concatenate([batch["index"][batch["mask"]] for batch in whole])
    assert index.tolist() == list(range(200))
    assert opened(split) is made


def test_labels_are_scored_at_another_size(painted):
    made = opened("validation")
    own = next(made.evaluate(8))
    larger = next(made.evaluate(8, 128))
    np.testing.assert_array_equal(larger["label"], own["label"].repeat(2, 1).repeat(2, 2))
    assert larger["size"].tolist() == [[128, 128]] * 8
    assert larger["window"].tolist() == [[0, 0, 64, 64]] * 8
    assert_same(next(made.evaluate(8, ORIGINAL)), own)


def test_a_pool_that_stays_may_have_scarce_depth(painted):
    made = opened(heads=40)
    scarcity = Scarcity(depth_fraction=0.3)
    kept = scarcity.kept(made.ids, made.has_depth)["depth"]
    batch = next(made.train(Order(40, 0, scarcity)))
    np.testing.assert_array_equal(batch["has_depth"], kept[batch["index"]])
    for endless in (opened(), opened(heads=40, reuse=2)):
        with pytest.raises(InputError, match=r"config\.data\.depth_fraction: .*data\.reuse=0"):
            endless.train(Order(40, 0, scarcity))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"size": 60}, r"config\.data\.size: found 60.*64 to 512 and divisible by 4"),
        ({"size": 1024}, r"config\.data\.size: found 1024"),
        ({"size": 66}, r"config\.data\.size: found 66"),
        ({"size": 512, "heads": 10_000}, r"config\.data\.heads 10,000: found 12\.\d GiB at 512 px"),
        ({"split": "dev"}, "no split 'dev', expected one of "),
    ],
)
def test_what_cannot_be_rendered_is_refused_before_anything_is_drawn(painted, words, says):
    with pytest.raises(InputError, match=says):
        opened(**words)
    with pytest.raises(InputError, match="'train', whose heads are those of a run"):
        opened().evaluate(4)
    assert not painted


_ALONE = """
import sys
from faceparse_jax.data import reader, rendered_reader
from faceparse_jax.data.order import Order
made = reader.open("rendered", "synthetic_heads", "rendered", "train", "/nowhere", 64)
import faceparse_jax.training.loop, faceparse_jax.evaluation.counting
print(made.split.fingerprint, [name for name in sys.modules if name.startswith("tensorflow")])
"""


def test_nothing_of_tensorflow_is_imported():
    out = subprocess.run(
        [sys.executable, "-c", _ALONE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == f"{opened().split.fingerprint} []"
