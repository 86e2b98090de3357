"""Batches are a function of the step, hosts share them, evaluation misses no example."""

import io
import itertools

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from faceparse_jax import images, labels
from faceparse_jax.data import reader, tfds_reader
from faceparse_jax.data.order import Order
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
    return opened(data_dir, "train")


def opened(data_dir, split, name="toy", size=SIDE, cache=False):
    return reader.open("tfds", name, "plain", split, data_dir, size, 64, cache)


def first(batches, count):
    return list(itertools.islice(batches, count))


@pytest.fixture(scope="module", params=[False, True])
def batches(data_dir, request):
    """Makes batches of the training split, with and without a cache."""
    opens = opened(data_dir, "train", cache=request.param)

    def make(start_step=0, **order):
        return opens.train(Order(**{"batch": 4, "seed": 3} | order), start_step)

    return make


def assert_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for key in x:
            np.testing.assert_array_equal(x[key], y[key], err_msg=key)


def rows(batches):
    return np.concatenate([b["index"] for b in batches]).tolist()


def test_split_tells_what_was_built(train):
    assert (train.split.version, train.split.num_examples) == ("1.10.0", TRAIN)
    assert train.split.scheme is labels.CELEBAMASK_HQ
    assert (train.split.merge_order, train.split.depth_source) == ("official", "random")
    assert train.split.label_size == (SIDE, SIDE)
    assert train.ids_of(np.array([7, 0])) == ["face_007", "face_000"]
    assert train.has_depth.tolist() == [number % 3 != 0 for number in range(TRAIN)]


def test_fingerprint_follows_the_files(data_dir, tmp_path, train):
    three_files = tfds.download.DownloadConfig(num_shards=3)
    Toy(config="plain", data_dir=tmp_path).download_and_prepare(download_config=three_files)
    assert opened(tmp_path, "train").split.fingerprint == train.split.fingerprint
    assert opened(data_dir, "train", "bad").split.fingerprint != train.split.fingerprint


def test_batches_have_the_documented_types_and_stored_bytes(batches):
    (batch,) = first(batches(batch=TRAIN), 1)
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


def test_restart_equals_no_interruption(batches):
    undisturbed = first(batches(), 10)
    # 4 * 5 rows are in the second epoch of 11, 4 * 8 end in the third.
    assert_equal(undisturbed[5:], first(batches(5), 5))
    assert_equal(undisturbed[8:], first(batches(8), 2))


def test_every_epoch_holds_every_example_once_in_its_own_order(batches):
    order = rows(first(batches(), 3 * TRAIN))
    epochs = [order[i * TRAIN : (i + 1) * TRAIN] for i in range(12)]
    assert all(sorted(epoch) == list(range(TRAIN)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 12
    assert order != rows(first(batches(seed=4), 3 * TRAIN))


def test_hosts_share_the_global_batch(batches):
    whole = first(batches(2), 6)
    hosts = [first(batches(2, host=i, hosts=2), 6) for i in range(2)]
    united = [{k: np.concatenate([a[k], b[k]]) for k in a} for a, b in zip(*hosts, strict=True)]
    assert_equal(united, whole)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(("hosts", "batch"), [(1, 4), (2, 4), (2, 12)])
def test_evaluation_sees_each_example_once(data_dir, cache, hosts, batch):
    opens = opened(data_dir, "test", size=8, cache=cache)
    parts = [list(opens.evaluate(batch, SIDE, host, hosts)) for host in range(hosts)]
    assert {len(part) for part in parts} == {-(-TEST // batch)}
    seen = []
    for together in zip(*parts, strict=True):
        for found in together:
            mask = found["mask"]
            assert found["label"].shape == (batch // hosts, SIDE, SIDE)
            assert found["image"].shape == (batch // hosts, 8, 8, 3)
            for key in found.keys() - {"size", "window"}:
                assert not found[key][~mask].any(), key
            for row in np.flatnonzero(mask):
                number = int(found["index"][row])
                seen.append(number)
                np.testing.assert_array_equal(found["label"][row], example(number)["label"][..., 0])
    assert seen == list(range(TEST))


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    "options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}]
)
def test_a_jpeg_has_the_pixels_that_prediction_sees(train, mode, options):
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    photo = Image.fromarray(noise).resize((63, 41), Image.Resampling.BICUBIC).convert(mode)
    jpeg, png = io.BytesIO(), io.BytesIO()
    photo.save(jpeg, "JPEG", quality=90, **options)
    photo.convert("L").save(png, "PNG")
    encoded = {"image": jpeg.getvalue(), "depth": png.getvalue(), "label": png.getvalue()}
    decoded = tfds_reader._decode(train.split)(0, encoded | {"has_depth": True})
    np.testing.assert_array_equal(decoded[1], images.read_image(jpeg.getvalue()))


@pytest.mark.parametrize("cache", [False, True])
def test_label_outside_the_scheme_names_the_example(data_dir, cache):
    with pytest.raises(InputError, match=r"face_012.*label value 19"):
        list(opened(data_dir, "test", "bad", 4, cache).evaluate(4))


def test_missing_data_give_the_build_command(tmp_path):
    with pytest.raises(InputError, match=r"tfds_builders\.build --name lapa_d --config x .*manual"):
        reader.open("tfds", "lapa_d", "x", "train", tmp_path, SIDE)
    with pytest.raises(InputError) as error:
        reader.open("tfds", "synthetic_heads", "96", "train", tmp_path, SIDE)
    assert "--manual_dir" not in str(error.value)


def test_unknown_split_and_unknown_scheme_are_refused(data_dir):
    with pytest.raises(InputError, match=r"validation.*\['test', 'train'\]"):
        opened(data_dir, "validation")
    with pytest.raises(InputError, match="animals"):
        opened(data_dir, "train", "stranger")


def test_data_of_other_builders_are_refused(tmp_path):
    Toy(config="plain", data_dir=tmp_path).download_and_prepare()
    (tmp_path / "toy" / "plain" / "1.10.0" / "metadata.json").unlink()
    with pytest.raises(InputError, match="scheme None"):
        opened(tmp_path, "train")


def test_a_batch_that_hosts_cannot_share_is_refused(train):
    with pytest.raises(InputError, match=r"found 4.*multiple of the 3 hosts.*set it to 3"):
        train.evaluate(4, hosts=3)


def test_too_large_a_cache_is_refused(data_dir):
    with pytest.raises(InputError, match="GiB"):
        opened(data_dir, "train", size=16384, cache=True)
