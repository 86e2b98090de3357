"""Two readers give the same batches of one order, and the pixels that prediction sees."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from faceparse_jax import images
from faceparse_jax.data import decode, reader
from faceparse_jax.data.batches import ORIGINAL
from faceparse_jax.data.order import Order, Scarcity
from faceparse_jax.errors import InputError
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import in_square, inside, resize_label
from faceparse_jax.prediction.items import Item
from faceparse_jax.prediction.layers import Whole
from tests.support.dummy_archives import LAPA_SPLITS, SHAPES, lapa
from tests.support.known_parser import make_parser
from tests.support.places import ROOT
from tfds_builders import build

KINDS = ("tfds", "arrays")
WAYS = ("tfds", "cached", "arrays")
SHARES = Scarcity(depth_fraction=0.5, depth_share=0.4, label_share=0.2)


@pytest.fixture(scope="module")
def heads(data_dir):
    """The tiny synthetic set, prepared and as arrays."""
    words = ["--name", "synthetic_heads", "--config", "tiny", "--size", "64"]
    assert decode.main([*words, "--data_dir", str(data_dir)]) == 0
    return data_dir


def opened(way, data_dir, split="train", size=64, name="synthetic_heads", config="tiny"):
    source = "arrays" if way == "arrays" else "tfds"
    return reader.open(source, name, config, split, data_dir, size, 8, way == "cached")


def first(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if key == "paired":
            assert_same(a[key], b[key])
            continue
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)
        assert a[key].dtype == b[key].dtype


def of_host(batch, host, hosts):
    """A host's block of the rows of a batch."""
    return {
        key: of_host(value, host, hosts) if key == "paired" else np.split(value, hosts)[host]
        for key, value in batch.items()
    }


def test_both_open_the_same_split(heads):
    ways = [opened(way, heads) for way in WAYS]
    for other in ways[1:]:
        assert other.split == ways[0].split
        assert other.ids == ways[0].ids
        np.testing.assert_array_equal(other.has_depth, ways[0].has_depth)
    assert ways[0].split.with_depth == ways[0].has_depth.sum()
    assert ways[0].ids_of(np.array([1, 0])) == ways[0].ids[1::-1]
    assert ways[0].split.record().keys() >= {"name", "config", "version", "fingerprint"}


def test_arrays_give_the_batches_of_the_cached_reader(heads):
    order = Order(6, 3, SHARES, paired=2)
    left, right = (opened(way, heads).train(order, 5) for way in ("cached", "arrays"))
    for _ in range(6):
        assert_same(next(left), next(right))


@pytest.mark.parametrize(
    ("way", "scarcity", "indices"),
    [
        ("tfds", Scarcity(), [[18, 20, 16, 17, 4, 23, 22, 13], [2, 7, 4, 0, 9, 12, 6, 5]]),
        ("tfds", SHARES, [[12, 8, 16, 16, 9, 1, 21, 11], [22, 19, 15, 0, 3, 18, 18, 20]]),
        ("cached", SHARES, [[11, 8, 20, 22, 2, 16, 7, 10], [14, 3, 4, 21, 9, 7, 19, 12]]),
        ("arrays", SHARES, [[11, 8, 20, 22, 2, 16, 7, 10], [14, 3, 4, 21, 9, 7, 19, 12]]),
    ],
)
@pytest.mark.parametrize("paired", [0, 4])
def test_the_order_of_a_seed_stays_what_it_was(heads, way, scarcity, indices, paired):
    """A run that another version goes on with reads on where it stood."""
    found = first(opened(way, heads).train(Order(8, 3, scarcity, paired), 5), 2)
    assert [batch["index"].tolist() for batch in found] == indices


@pytest.mark.parametrize("way", WAYS)
def test_a_share_of_every_batch_has_depth(heads, way):
    """Both kinds of rows have whole epochs, are shared by hosts, and restart at any step."""
    opens = opened(way, heads)
    scarcity = Scarcity(depth_fraction=0.3, depth_share=0.5)
    found = first(opens.train(Order(8, 3, scarcity)), 6)
    kept = np.flatnonzero(scarcity.kept(opens.ids, opens.has_depth)["depth"])
    drawn, rest = [], []
    for batch in found:
        assert batch["has_depth"][1::2].all()  # spread evenly
        drawn += batch["index"][1::2].tolist()
        rest += batch["index"][::2].tolist()
    assert sorted(drawn[: len(kept)]) == kept.tolist()
    assert sorted(rest) == list(range(24))
    for host in (0, 1):
        order = Order(8, 3, scarcity, host=host, hosts=2)
        assert_same(next(opens.train(order, 4)), of_host(found[4], host, 2))


@pytest.mark.parametrize("way", WAYS)
def test_paired_rows_have_depth_and_epochs_of_their_own(heads, way):
    opens = opened(way, heads)
    scarcity = Scarcity(depth_fraction=0.3, label_fraction=0.2)
    kept = scarcity.kept(opens.ids, opens.has_depth)
    with_depth = np.flatnonzero(kept["depth"])
    found = first(opens.train(Order(8, 3, scarcity, paired=4)), 8)
    alone = first(opens.train(Order(8, 3, scarcity)), 8)
    for batch, single in zip(found, alone, strict=True):
        assert_same({key: value for key, value in batch.items() if key != "paired"}, single)
        paired = batch["paired"]
        assert paired.keys() == single.keys()
        assert paired["has_depth"].all()
        assert paired["depth"].any(axis=(1, 2, 3)).all()
        labelled = (paired["label"] != 255).any(axis=(1, 2))
        np.testing.assert_array_equal(labelled, kept["label"][paired["index"]])
    drawn = np.concatenate([batch["paired"]["index"] for batch in found])
    for start in range(0, len(drawn) - len(with_depth), len(with_depth)):
        assert sorted(drawn[start : start + len(with_depth)]) == with_depth.tolist()
    for host in (0, 1):
        order = Order(8, 3, scarcity, 4, host, 2)
        later = first(opens.train(order, 5), 3)
        for mine, whole in zip(later, found[5:], strict=True):
            assert_same(mine, of_host(whole, host, 2))


@pytest.mark.parametrize("host", [0, 1])
@pytest.mark.parametrize("label_size", [0, 100, ORIGINAL])
def test_both_evaluate_the_same(heads, host, label_size):
    batches = [list(opened(way, heads, "test").evaluate(8, label_size, host, 2)) for way in WAYS]
    assert [len(found) for found in batches] == [2, 2, 2]
    for left, *others in zip(*batches, strict=True):
        for right in others:
            assert_same(left, right)


@pytest.fixture(scope="module", params=[8, 16])
def faces(request, tmp_path_factory):
    """Photographs of several shapes with depth of 8 or 16 bits: archives, and prepared."""
    folder = tmp_path_factory.mktemp("faces")
    lapa(folder / "manual", bits=request.param)
    build.build("lapa_d", folder / "manual", data_dir=folder)
    return folder


# They shrink to less than half, shrink by little, fit or have padding alone, and grow.
@pytest.mark.parametrize("size", [30, 50, 64, 100])
def test_training_evaluation_and_prediction_see_the_same_pixels(faces, size):
    decode.write("lapa_d", "official", faces, size)
    readers = [opened(way, faces, "train", size, "lapa_d", "official") for way in WAYS]
    prediction = make_parser("rgb", "depth", "translator", size=size)
    for opens in readers:
        (evaluated,) = opens.evaluate(3)
        (trained,) = first(opens.train(Order(3, 0)), 1)
        for row, name in enumerate(opens.ids):
            (place,) = np.flatnonzero(trained["index"] == row)
            root = faces / "manual/LaPa/train"
            photo = images.read_image(root / f"images/{name}.jpg")
            depth = images.read_depth(faces / f"manual/LaPa-D/train/{name}.png")
            label = images.read_label(root / f"labels/{name}.png")
            item = Item(photo, depth)
            fitted = prediction._arrays([(item, Whole(item.shape, size))])
            expected = {
                "image": fitted["image"][0],
                "depth": fitted["depth"][0],
                "label": in_square(label, size, resize_label, 255),
            }
            assert expected["depth"].dtype == depth.dtype
            for key, pixels in expected.items():
                np.testing.assert_array_equal(evaluated[key][row], pixels, err_msg=key)
                np.testing.assert_array_equal(trained[key][place], pixels, err_msg=key)


def test_pictures_lie_in_the_middle_of_their_square(faces):
    opens = opened("tfds", faces, "train", 64, "lapa_d", "official")
    batch = next(opens.evaluate(4))
    for row, name in enumerate(opens.ids):
        outside = np.ones((64, 64), bool)
        outside[inside(SHAPES[int(name[-1])], 64)] = False
        assert (batch["label"][row][outside] == 255).all()
        assert (batch["label"][row][~outside] != 255).all()
        assert (batch["depth"][row][outside] == 0).all()
        assert (batch["image"][row][outside] == OUTSIDE).all()


def test_labels_keep_their_size_on_a_canvas(faces):
    opens = opened("tfds", faces, "train", 32, "lapa_d", "official")
    seen = {}
    for batch in opens.evaluate(2, ORIGINAL):
        for row in np.flatnonzero(batch["mask"]):
            (name,) = opens.ids_of(batch["index"][[row]])
            height, width = batch["size"][row]
            seen[int(name[-1])] = (height, width)
            assert (batch["label"][row][:height, :width] != 255).all()
            assert (batch["label"][row][height:] == 255).all()
            assert (batch["label"][row][:, width:] == 255).all()
    assert seen == {key: SHAPES[key] for key in LAPA_SPLITS["train"]}


def test_what_is_not_there_is_told_with_the_command(heads, tmp_path):
    with pytest.raises(InputError, match=r"found arrays_64/test, .*expected decoded.*--size 128"):
        opened("arrays", heads, size=128)
    for way in WAYS:
        with pytest.raises(InputError, match="no prepared dataset"):
            opened(way, tmp_path)
    with pytest.raises(InputError, match="'tfds' or 'arrays'"):
        reader.open("csv", "synthetic_heads", "tiny", "train", heads, 64)


def test_arrays_of_another_version_are_refused(heads, tmp_path):
    shutil.copytree(heads / "synthetic_heads", tmp_path / "synthetic_heads")
    for path in tmp_path.rglob("split.json"):
        path.write_text(path.read_text().replace('"with_depth"', '"depth_count"'))
    with pytest.raises(InputError, match=r"depth_count.*those of this version.*; next: remove"):
        opened("arrays", tmp_path)


_KILLED = """
import os, signal, sys
import tqdm
from faceparse_jax.data import decode
progress = tqdm.tqdm
def die(batches, split, total, **options):
    for batch in progress(batches, split, total, **options):
        if split == "validation":
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch
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
    assert opened("arrays", tmp_path / "data", "train")
    with pytest.raises(InputError, match=r"validation: found arrays_64/train, expected decoded"):
        opened("arrays", tmp_path / "data", "validation")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        assert decode.main(words) == 2
    assert not list((tmp_path / "data").rglob("*.partial"))
    assert decode.main(words) == 0
    for split in ("train", "validation", "test"):
        left, right = (next(opened(kind, tmp_path / "data", split).evaluate(8)) for kind in KINDS)
        assert_same(left, right)


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


_ARRAYS_ALONE = """
import sys
from faceparse_jax.data import reader
from faceparse_jax.data.order import Order
opened = reader.open("arrays", "synthetic_heads", "tiny", "train", sys.argv[1], 64)
batch = next(opened.train(Order(4, 0)))
import faceparse_jax.training.loop, faceparse_jax.evaluation.counting
print(batch["image"].shape, [name for name in sys.modules if name.startswith("tensorflow")])
"""


def test_arrays_import_nothing_of_tensorflow(heads):
    out = subprocess.run(
        [sys.executable, "-c", _ARRAYS_ALONE, heads],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "(4, 64, 64, 3) []"


_ENDS = """
import sys
from faceparse_jax.data import reader
from faceparse_jax.data.order import Order
opened = reader.open("tfds", "synthetic_heads", "tiny", "train", sys.argv[1], 512)
batches = opened.train(Order(4, 0, paired=4))
next(batches)
raise SystemExit(3)
"""


def test_a_program_ends_while_examples_are_read_ahead(heads):
    done = subprocess.run([sys.executable, "-c", _ENDS, heads], cwd=ROOT, timeout=120)
    assert done.returncode == 3
