"""Batches are a function of the step, hosts share them, evaluation misses no example."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from faceparse_jax import labels
from faceparse_jax.data import tfds_reader, tfds_resize
from faceparse_jax.errors import InputError

TRAIN, TEST, SIDE = 11, 13, 16


def example(number, side=SIDE):
    rng = np.random.default_rng(number)
    has_depth = number % 3 != 0
    return {
        "image": rng.integers(0, 256, (side, side, 3), np.uint8),
        "depth": rng.integers(0, 256, (side, side, 1), np.uint8) * np.uint8(has_depth),
        "label": rng.choice([0, 1, 18, 255], (side, side, 1)).astype(np.uint8),
        "id": f"face_{number:03}",
        "has_depth": has_depth,
    }


class Toy(tfds.core.GeneratorBasedBuilder):
    """Random arrays in the layout of the project's builders."""

    VERSION = tfds.core.Version("1.10.0")
    RELEASE_NOTES = {"1.10.0": "Newer than 1.9.0."}  # noqa: RUF012
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="plain")]  # noqa: RUF012
    scheme = labels.CELEBAMASK_HQ

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
                    "depth": tfds.features.Image(shape=(None, None, 1)),
                    "label": tfds.features.Image(shape=(SIDE, SIDE, 1)),
                    "id": tfds.features.Text(),
                    "has_depth": np.bool_,
                }
            ),
            metadata=tfds.core.MetadataDict(
                scheme=self.scheme.name,
                classes=list(self.scheme.classes),
                merge_order="official",
                depth_source="random",
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TRAIN), "test": self._generate_examples(TEST)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, example(number)


class Bad(Toy):
    """A label value that no class has, in the last example."""

    def _generate_examples(self, count):
        for number in range(count):
            row = example(number)
            if number == count - 1:
                row["label"][3, 4] = 19
            yield number, row


class Stranger(Toy):
    """Classes that the code does not know."""

    scheme = labels.Scheme("animals", ("background", "cat"), ((0, 0, 0),) * 2, (), "subject", ())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    three_files = tfds.download.DownloadConfig(num_shards=3)
    for builder in (Toy, Bad, Stranger):
        builder(config="plain", data_dir=folder).download_and_prepare(download_config=three_files)
    (folder / "toy" / "plain" / "1.9.0").mkdir()
    (folder / "toy" / "plain" / "1.9.0" / "dataset_info.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def train(data_dir):
    return tfds_reader.open_split("toy", "plain", "train", data_dir)


@pytest.fixture(scope="module")
def test(data_dir):
    return tfds_reader.open_split("toy", "plain", "test", data_dir)


def first(batches, count):
    return list(itertools.islice(batches, count))


def train_batches(split, **changed):
    settings = {"batch_size": 4, "size": SIDE, "seed": 3, "shuffle_buffer": 64}
    return tfds_reader.train_batches(split, **settings | changed)


def assert_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for key in x:
            np.testing.assert_array_equal(x[key], y[key], err_msg=key)


def rows(batches):
    return np.concatenate([b["index"] for b in batches]).tolist()


def test_split_tells_what_was_built(train):
    assert (train.version, train.num_examples) == ("1.10.0", TRAIN)
    assert train.scheme is labels.CELEBAMASK_HQ
    assert (train.merge_order, train.depth_source) == ("official", "random")
    assert train.label_size == (SIDE, SIDE)
    assert tfds_reader.split_ids(train, np.array([7, 0])) == ["face_007", "face_000"]


def test_fingerprint_follows_the_files(data_dir, tmp_path, train):
    again = tmp_path / "again"
    three_files = tfds.download.DownloadConfig(num_shards=3)
    Toy(config="plain", data_dir=again).download_and_prepare(download_config=three_files)
    copy = tfds_reader.open_split("toy", "plain", "train", again)
    assert copy.fingerprint == train.fingerprint
    other = tfds_reader.open_split("bad", "plain", "train", data_dir)
    assert other.fingerprint != train.fingerprint


@pytest.mark.parametrize("cache", [False, True])
def test_batches_have_the_documented_types_and_stored_bytes(train, cache):
    (batch,) = first(train_batches(train, batch_size=TRAIN, cache=cache), 1)
    shapes = {key: (value.dtype.str[1:], value.shape[1:]) for key, value in batch.items()}
    assert shapes == {
        "image": ("u1", (SIDE, SIDE, 3)),
        "depth": ("u1", (SIDE, SIDE, 1)),
        "label": ("u1", (SIDE, SIDE)),
        "has_depth": ("b1", ()),
        "index": ("i4", ()),
    }
    for row, number in enumerate(batch["index"]):
        stored = example(number)
        np.testing.assert_array_equal(batch["image"][row], stored["image"])
        np.testing.assert_array_equal(batch["depth"][row], stored["depth"])
        np.testing.assert_array_equal(batch["label"][row], stored["label"][..., 0])
        assert batch["has_depth"][row] == stored["has_depth"]


@pytest.mark.parametrize("cache", [False, True])
def test_restart_equals_no_interruption(train, cache):
    undisturbed = first(train_batches(train, cache=cache), 10)
    # 4 * 5 rows are in the second epoch of 11, 4 * 8 end in the third.
    assert_equal(undisturbed[5:], first(train_batches(train, cache=cache, start_step=5), 5))
    assert_equal(undisturbed[8:], first(train_batches(train, cache=cache, start_step=8), 2))


@pytest.mark.parametrize("cache", [False, True])
def test_every_epoch_holds_every_example_once_in_its_own_order(train, cache):
    order = rows(first(train_batches(train, cache=cache), 3 * TRAIN))
    epochs = [order[i * TRAIN : (i + 1) * TRAIN] for i in range(12)]
    assert all(sorted(epoch) == list(range(TRAIN)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 12
    assert order != rows(first(train_batches(train, cache=cache, seed=4), 3 * TRAIN))


@pytest.mark.parametrize("cache", [False, True])
def test_hosts_share_the_global_batch(train, cache):
    whole = first(train_batches(train, cache=cache, start_step=2), 6)
    hosts = [
        first(train_batches(train, cache=cache, start_step=2, process_index=i, process_count=2), 6)
        for i in range(2)
    ]
    united = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*hosts, strict=True)]
    assert_equal(united, whole)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(("hosts", "batch_size"), [(1, 4), (2, 4), (2, 12)])
def test_evaluation_sees_each_example_once(test, cache, hosts, batch_size):
    parts = [
        list(
            tfds_reader.eval_batches(
                test,
                batch_size=batch_size,
                size=8,
                label_size=SIDE,
                cache=cache,
                process_index=i,
                process_count=hosts,
            )
        )
        for i in range(hosts)
    ]
    assert {len(part) for part in parts} == {-(-TEST // batch_size)}
    seen = []
    for batches in zip(*parts, strict=True):
        for batch in batches:
            mask = batch["mask"]
            assert batch["label"].shape == (batch_size // hosts, SIDE, SIDE)
            assert batch["image"].shape == (batch_size // hosts, 8, 8, 3)
            for key in batch.keys() - {"size", "window"}:
                assert not batch[key][~mask].any(), key
            for row in np.flatnonzero(mask):
                number = int(batch["index"][row])
                seen.append(number)
                np.testing.assert_array_equal(batch["label"][row], example(number)["label"][..., 0])
    assert seen == list(range(TEST))


def resize(picture, size, method):
    return tfds_resize.square(tf.constant(picture), size, method, 0).numpy()


def test_image_shrinks_without_aliasing():
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::4] = 255
    small = resize(lines, 16, tfds_resize.image)
    np.testing.assert_allclose(small[2:-2, 2:-2], 255 / 4, atol=2)


def test_label_resize_invents_no_class():
    label = np.random.default_rng(0).choice([0, 5, 255], (30, 30, 1)).astype(np.uint8)
    for size in (13, 15, 47):
        resized = resize(label, size, tfds_resize.nearest)
        assert resized.shape == (size, size, 1)
        assert set(np.unique(resized)) == {0, 5, 255}
    np.testing.assert_array_equal(resize(label, 15, tfds_resize.nearest), label[1::2, 1::2])


@pytest.mark.parametrize("size", [9, 16, 31, 64, 100])
def test_depth_resize_keeps_none_apart(size):
    depth = np.random.default_rng(1).choice([0, 1, 100, 102], (32, 32, 1)).astype(np.uint8)
    far = np.where(depth > 1, depth, 0).astype(np.uint8)
    resized = resize(far, size, tfds_resize.depth)
    nearest = resize(far, size, tfds_resize.nearest)
    np.testing.assert_array_equal(resized > 0, nearest > 0)
    assert resized[resized > 0].min() >= 100  # a 0 mixed in would lower it
    dim = np.minimum(depth, 1)
    resized = resize(dim, size, tfds_resize.depth)
    assert set(np.unique(resized)) == {0, 1}


def test_depth_is_linear_inside():
    depth = np.tile(np.arange(10, 42, dtype=np.uint8)[None, :, None], (32, 1, 1))
    resized = resize(depth, 16, tfds_resize.depth)[8, 2:-2, 0]
    np.testing.assert_allclose(resized, np.arange(10.5, 42, 2)[2:-2], atol=0.51)


@pytest.mark.parametrize("cache", [False, True])
def test_label_outside_the_scheme_names_the_example(data_dir, cache):
    bad = tfds_reader.open_split("bad", "plain", "test", data_dir)
    with pytest.raises(InputError, match=r"face_012.*label value 19"):
        list(tfds_reader.eval_batches(bad, batch_size=4, size=4, cache=cache))


def test_missing_data_give_the_build_command(tmp_path):
    with pytest.raises(InputError, match=r"tfds_builders\.build --name lapa_d --config x .*manual"):
        tfds_reader.open_split("lapa_d", "x", "train", tmp_path)
    with pytest.raises(InputError) as error:
        tfds_reader.open_split("synthetic_heads", "96", "train", tmp_path)
    assert "--manual_dir" not in str(error.value)


def test_unknown_split_and_unknown_scheme_are_refused(data_dir):
    with pytest.raises(InputError, match=r"validation.*\['test', 'train'\]"):
        tfds_reader.open_split("toy", "plain", "validation", data_dir)
    with pytest.raises(InputError, match="animals"):
        tfds_reader.open_split("stranger", "plain", "train", data_dir)


def test_data_of_other_builders_are_refused(tmp_path):
    Toy(config="plain", data_dir=tmp_path).download_and_prepare()
    (tmp_path / "toy" / "plain" / "1.10.0" / "metadata.json").unlink()
    with pytest.raises(InputError, match="scheme None"):
        tfds_reader.open_split("toy", "plain", "train", tmp_path)


def test_batch_that_hosts_cannot_share_is_refused(train):
    with pytest.raises(InputError, match=r"found 4.*multiple of the 3 hosts.*set it to 3"):
        train_batches(train, process_count=3)


def test_too_large_a_cache_is_refused(train):
    with pytest.raises(InputError, match="GiB"):
        train_batches(train, cache=True, size=16384)
