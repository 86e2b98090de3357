"""Scarce depth and labels, arrays in files, pictures in their square."""

import dataclasses
import errno
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from faceparse_jax.data import arrays_reader, batches, reader, tfds_reader
from faceparse_jax.data import decode as arrays_command
from faceparse_jax.data.scarcity import Scarcity, hashed, pools, scarce
from faceparse_jax.errors import InputError
from faceparse_jax.images import normalise, resize
from tests.support.dummy_archives import SHAPES, lapa
from tests.support.places import ROOT
from tfds_builders import build

IDS = [str(n) for n in range(20_000)]


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
    scarcity = Scarcity(depth_fraction=0.1, label_fraction=0.01, fraction_seed=1)
    np.testing.assert_array_equal(scarcity.keeps(IDS, "depth"), other)
    np.testing.assert_array_equal(scarcity.keeps(IDS, "label"), smaller)


def test_scarce_batches_lose_depth_and_labels_and_nothing_else():
    rows = 64
    batch = {
        "image": np.full((rows, 4, 4, 3), 7, np.uint8),
        "depth": np.full((rows, 4, 4, 1), 9, np.uint16),
        "label": np.full((rows, 4, 4), 3, np.uint8),
        "has_depth": np.ones(rows, bool),
        "index": np.arange(rows, dtype=np.int32),
    }
    scarcity = Scarcity(depth_fraction=0.25, label_fraction=0.5)
    (out,) = scarce(iter([batch]), IDS, scarcity)
    depth, label = hashed(IDS[:rows], 0.25), hashed(IDS[:rows], 0.5)
    np.testing.assert_array_equal(out["has_depth"], depth)
    np.testing.assert_array_equal(out["depth"].any((1, 2, 3)), depth)
    assert out["depth"].dtype == np.uint16
    np.testing.assert_array_equal((out["label"] == 3).all((1, 2)), label)
    np.testing.assert_array_equal((out["label"] == 255).all((1, 2)), ~label)
    np.testing.assert_array_equal(out["image"], batch["image"])
    assert depth[~label].sum() == 0  # one hash: who has depth has a label
    has_depth = np.arange(rows) % 2 == 0
    kept = {"depth": (depth & has_depth).sum(), "label": label.sum()}
    assert scarcity.counts(IDS[:rows], has_depth) == kept


def test_fractions_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"depth_fraction: found 1\.5, expected 0 to 1"):
        Scarcity(depth_fraction=1.5)


@pytest.fixture(scope="module")
def heads(data_dir):
    """The tiny synthetic set, prepared and as arrays."""
    words = ["--name", "synthetic_heads", "--config", "tiny", "--size", "64"]
    assert arrays_command.main([*words, "--data_dir", str(data_dir)]) == 0
    return data_dir


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
        assert a[key].dtype == b[key].dtype


def both(heads, name):
    return [reader.module(k).open_split("synthetic_heads", "tiny", name, heads) for k in KINDS]


KINDS = ("tfds", "arrays")


def test_arrays_give_the_batches_of_the_cached_pipeline(heads):
    splits = both(heads, "train")
    assert splits[0] == splits[1]
    np.testing.assert_array_equal(
        tfds_reader.has_depth(splits[0]), arrays_reader.has_depth(splits[1])
    )
    assert splits[0].with_depth == tfds_reader.has_depth(splits[0]).sum()
    scarcity = Scarcity(depth_fraction=0.5, depth_share=0.4, label_share=0.2)
    options = {"batch_size": 7, "size": 64, "seed": 3, "start_step": 5, "scarcity": scarcity}
    streams = [
        reader.module(kind).train_batches(split, cache=True, **options)
        for kind, split in zip(KINDS, splits, strict=True)
    ]
    for _ in range(6):
        same(next(streams[0]), next(streams[1]))


@pytest.mark.parametrize("cache", [False, True])
def test_a_share_of_every_batch_has_depth(heads, cache):
    """Both kinds of rows have whole epochs, are shared by hosts, and restart at any step."""
    split = both(heads, "train")[0]
    scarcity = Scarcity(depth_fraction=0.3, depth_share=0.5)
    options = {"batch_size": 8, "size": 64, "seed": 3, "scarcity": scarcity, "cache": cache}
    make = functools.partial(tfds_reader.train_batches, split, **options)
    found = list(itertools.islice(make(), 6))
    kept = np.flatnonzero(hashed(tfds_reader.split_ids(split, range(24)), 0.3))
    drawn, rest = [], []
    for batch in found:
        assert batch["has_depth"].sum() >= 4
        assert batch["has_depth"][1::2].all()  # spread evenly
        drawn += batch["index"][1::2].tolist()
        rest += batch["index"][::2].tolist()
    assert sorted(drawn[: len(kept)]) == kept.tolist()
    assert sorted(rest) == list(range(24))
    for a, b in zip(found[4:], make(start_step=4), strict=False):
        same(a, b)
    for host in (0, 1):
        mine = next(make(start_step=4, process_index=host, process_count=2))
        same(mine, {k: v[4 * host : 4 * host + 4] for k, v in found[4].items()})


@pytest.mark.parametrize("cache", [False, True])
def test_rows_with_depth_and_rows_with_labels_side_by_side(heads, cache):
    split = both(heads, "train")[0]
    shares = {"depth_share": 0.25, "label_share": 0.5}
    scarcity = Scarcity(depth_fraction=0.2, label_fraction=0.4, **shares)
    ids = tfds_reader.split_ids(split, range(24))
    kept = {what: set(np.flatnonzero(hashed(ids, f))) for what, f in (("d", 0.2), ("l", 0.4))}
    options = {"batch_size": 8, "size": 64, "seed": 3, "scarcity": scarcity, "cache": cache}
    made = tfds_reader.train_batches(split, **options)
    every = pools(scarcity, ids, np.ones(24, bool), 8)
    assert [len(pool.rows) for pool in every] == [2, 2, 4]
    assert sorted(np.concatenate([pool.rows for pool in every])) == list(range(8))
    for _ in range(4):
        batch = next(made)
        assert set(batch["index"][every[1].rows]) <= kept["d"]
        assert set(batch["index"][every[2].rows]) <= kept["l"]
        assert (batch["label"][every[2].rows] != 255).any(axis=(1, 2)).all()
    with pytest.raises(InputError, match="6 rows where 4 are left"):
        pools(dataclasses.replace(scarcity, depth_share=0.75), ids, np.ones(24, bool), 8)


def test_depth_cannot_be_drawn_where_there_is_none(heads):
    split = both(heads, "train")[1]
    options = {"batch_size": 8, "size": 64, "seed": 3}
    nothing = Scarcity(depth_fraction=0.0, depth_share=0.5)
    with pytest.raises(InputError, match=r"depth_share: found 0\.5 and no example with depth"):
        next(arrays_reader.train_batches(split, scarcity=nothing, **options))


@pytest.mark.parametrize("host", [0, 1])
def test_arrays_evaluate_as_the_pipeline_does(heads, host):
    splits = both(heads, "test")
    options = {"batch_size": 8, "size": 64, "process_index": host, "process_count": 2}
    left, right = (
        list(reader.module(kind).eval_batches(split, **options))
        for kind, split in zip(KINDS, splits, strict=True)
    )
    assert len(left) == len(right) == 2
    for a, b in zip(left, right, strict=True):
        same(a, b)


@pytest.mark.parametrize("host", [0, 1])
def test_arrays_keep_labels_of_their_original_size_and_depth_of_16_bits(tmp_path, host):
    lapa(tmp_path / "manual", bits=16)
    build.build("lapa_d", tmp_path / "manual", data_dir=tmp_path)
    arrays_command.write("lapa_d", "official", tmp_path, 64)
    options = {"batch_size": 4, "size": 64, "process_index": host, "process_count": 2}
    for label_size in (None, batches.ORIGINAL):
        left, right = (
            list(module.eval_batches(split, label_size=label_size, **options))
            for module in (tfds_reader, arrays_reader)
            for split in [module.open_split("lapa_d", "official", "train", tmp_path)]
        )
        assert len(left) == len(right) == 1
        assert right[0]["depth"].dtype == np.uint16
        for a, b in zip(left, right, strict=True):
            same(a, b)


def test_arrays_of_another_version_are_refused(heads, tmp_path):
    shutil.copytree(heads / "synthetic_heads", tmp_path / "synthetic_heads")
    for path in tmp_path.rglob("split.json"):
        path.write_text(path.read_text().replace('"with_depth"', '"depth_count"'))
    with pytest.raises(InputError, match=r"depth_count.*those of this version.*; next: remove"):
        arrays_reader.open_split("synthetic_heads", "tiny", "train", tmp_path)


_KILLED = """
import os, signal, sys
import tqdm
from faceparse_jax.data import decode
progress = tqdm.tqdm
def die(rows, split, total, **options):
    for number, row in enumerate(progress(rows, split, total, **options)):
        if split == "validation" and number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row
tqdm.tqdm = die
decode.main(sys.argv[1:])
"""


def test_arrays_cut_by_a_kill_or_a_full_disk_do_not_open_and_are_made_again(
    heads, tmp_path, monkeypatch
):
    shutil.copytree(heads, tmp_path / "data", ignore=shutil.ignore_patterns("arrays_*"))
    words = ["--name=synthetic_heads", "--config=tiny", "--size=64"]
    words.append(f"--data_dir={tmp_path / 'data'}")
    done = subprocess.run([sys.executable, "-c", _KILLED, *words], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert arrays_reader.open_split("synthetic_heads", "tiny", "train", tmp_path / "data")
    with pytest.raises(InputError, match="the decoded split 'validation'"):
        arrays_reader.open_split("synthetic_heads", "tiny", "validation", tmp_path / "data")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert arrays_command.main(words) == 2
    assert not list((tmp_path / "data").rglob("*.partial"))
    assert arrays_command.main(words) == 0
    for split in ("train", "validation", "test"):
        left, right = (
            module.open_split("synthetic_heads", "tiny", split, tmp_path / "data")
            for module in (tfds_reader, arrays_reader)
        )
        a = next(tfds_reader.eval_batches(left, batch_size=8, size=64))
        same(a, next(arrays_reader.eval_batches(right, batch_size=8, size=64)))


_NO_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None  # as if not installed
from faceparse_jax.main import main
main()
"""


def test_a_run_from_arrays_needs_no_tensorflow(heads, tmp_path):
    def command(*words):
        flags = [f"--workdir={tmp_path}", *words]
        return subprocess.run(
            [sys.executable, "-c", _NO_TENSORFLOW, *flags], cwd=ROOT, capture_output=True, text=True
        )

    config = ["--config=configs/synthetic_heads.py", "--config.data.source=arrays"]
    config += [f"--config.data.data_dir={heads}", "--config.devices=1"]
    config += ["--config.data.config=tiny", "--config.data.size=64", "--config.augment.crop=64"]
    config += ["--config.model.width=0.125"]
    config += [f"--config.loss.{term}=0" for term in ("depth", "e2e", "mutual", "translation")]
    config += ["--config.train.steps=2", "--config.train.batch=4", "--config.eval.batch=4"]
    trained = command(*config)
    assert trained.returncode == 0, trained.stderr
    scored = command("--mode=evaluate", *config, "--config.eval.label_size=-1")
    assert scored.returncode == 0, scored.stderr
    assert "scored at the original size" in scored.stdout
    assert "mean F1" in scored.stdout
    without = command(*(word.replace("=arrays", "=tfds") for word in config))
    assert without.returncode == 2
    assert "--config.data.source=arrays" in without.stderr.splitlines()[-1]


def test_arrays_import_nothing_of_tensorflow(heads):
    code = (
        "import sys; from faceparse_jax.data import reader;"
        "m = reader.module('arrays');"
        f"s = m.open_split('synthetic_heads', 'tiny', 'train', {str(heads)!r});"
        "b = next(m.train_batches(s, batch_size=4, size=64, seed=0));"
        "import faceparse_jax.training.loop, faceparse_jax.evaluation.counting;"
        "print(b['image'].shape, [n for n in sys.modules if n.startswith('tensorflow')])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "(4, 64, 64, 3) []"


def test_arrays_that_are_not_there_are_told_with_the_command(heads, tmp_path):
    (split,) = [arrays_reader.open_split("synthetic_heads", "tiny", "train", heads)]
    with pytest.raises(InputError, match=r"arrays of 64 px, expected 128 px.*--size 128"):
        next(arrays_reader.train_batches(split, batch_size=4, size=128, seed=0))
    with pytest.raises(InputError, match=r"expected 64, the size of the arrays, or -1"):
        arrays_reader.eval_batches(split, batch_size=4, size=64, label_size=128)
    with pytest.raises(InputError, match="no prepared dataset"):
        arrays_reader.open_split("synthetic_heads", "tiny", "train", tmp_path)
    with pytest.raises(InputError, match="'tfds' or 'arrays'"):
        reader.module("csv")


def test_pictures_lie_in_their_square_as_in_prediction(tmp_path):
    lapa(tmp_path / "manual")
    build.build("lapa_d", tmp_path / "manual", data_dir=tmp_path / "data")
    split = tfds_reader.open_split("lapa_d", "official", "train", tmp_path / "data")
    batch = next(tfds_reader.eval_batches(split, batch_size=4, size=64))
    for row, name in enumerate(tfds_reader.split_ids(split, batch["index"][:3])):
        rows, columns = resize.inside(SHAPES[int(name[-1])], 64)
        outside = np.ones((64, 64), bool)
        outside[rows, columns] = False
        assert (batch["label"][row][outside] == 255).all()
        assert (batch["label"][row][~outside] != 255).all()
        assert (batch["depth"][row][outside] == 0).all()
        assert (batch["image"][row][outside] == normalise.OUTSIDE).all()


def test_labels_keep_their_size_on_a_canvas(tmp_path):
    lapa(tmp_path / "manual")
    build.build("lapa_d", tmp_path / "manual", data_dir=tmp_path / "data")
    split = tfds_reader.open_split("lapa_d", "official", "train", tmp_path / "data")
    options = {"batch_size": 2, "size": 32, "label_size": batches.ORIGINAL}
    seen = {}
    for batch in tfds_reader.eval_batches(split, **options):
        for row in np.flatnonzero(batch["mask"]):
            (name,) = tfds_reader.split_ids(split, batch["index"][[row]])
            height, width = batch["size"][row]
            seen[int(name[-1])] = (height, width)
            assert (batch["label"][row][:height, :width] != 255).all()
            assert (batch["label"][row][height:] == 255).all()
            assert (batch["label"][row][:, width:] == 255).all()
    assert seen == {key: SHAPES[key] for key in (0, 1, 2)}
