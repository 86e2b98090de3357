"""Readers, conversions, scores and the config on random input."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from ml_collections import ConfigDict
from PIL import Image

from faceparse_jax import images, labels
from faceparse_jax.config import FIELDS, inside, interval, parse
from faceparse_jax.configs import base
from faceparse_jax.errors import InputError
from faceparse_jax.evaluation import metrics
from faceparse_jax.labels import conversion
from faceparse_jax.runtime.records import flat

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")

SIDE = st.integers(1, 24)
READERS = [images.read_image, images.read_depth, images.read_label, images.read_mask]
SCHEMES = st.sampled_from(sorted(labels.SCHEMES))


def arrays(dtype, channels=(), least=0, most=None):
    most = np.iinfo(dtype).max if most is None else most
    shapes = st.tuples(SIDE, SIDE).map(lambda shape: (*shape, *channels))
    return shapes.flatmap(
        lambda shape: st_numpy.arrays(dtype, shape, elements=st.integers(least, most))
    )


def saved(values, form="PNG") -> bytes:
    file = io.BytesIO()
    if form == "npy":
        np.save(file, values)
    else:
        Image.fromarray(values).save(file, form)
    return file.getvalue()


def reads_or_refuses(reader, data: bytes) -> np.ndarray | None:
    try:
        return reader(data, "here")
    except InputError as error:
        if error.what != "here":
            raise
        return None


@given(arrays(np.uint8, (3,)), st.sampled_from(["PNG", "BMP", "TIFF", "PPM"]))
def test_images_come_back(values, form):
    np.testing.assert_array_equal(images.read_image(saved(values, form)), values)


@given(arrays(np.uint8, (2,)) | arrays(np.uint8, (4,)) | arrays(np.uint16) | arrays(np.uint8))
def test_images_of_every_mode_are_rgb_of_the_same_size(values):
    read = images.read_image(saved(values))
    assert read.shape == (*values.shape[:2], 3)
    if values.dtype == np.uint16:
        np.testing.assert_array_equal(read[..., 0], np.round(values / 257.0))


@given(arrays(np.uint8) | arrays(np.uint16), st.sampled_from(["PNG", "TIFF", "npy"]))
def test_depth_comes_back_with_its_bits(values, form):
    read = images.read_depth(saved(values, form))
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read, values)


@given(arrays(np.uint8))
def test_three_equal_channels_are_one(values):
    three = np.repeat(values[..., None], 3, axis=-1)
    np.testing.assert_array_equal(images.read_depth(saved(three)), values)
    np.testing.assert_array_equal(images.read_label(saved(three)), values)


@given(arrays(np.uint8))
def test_labels_come_back_grey_and_with_a_palette(values):
    np.testing.assert_array_equal(images.read_label(saved(values)), values)
    image = Image.fromarray(values)
    image.putpalette(np.random.default_rng(0).integers(0, 255, 768).astype(np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    np.testing.assert_array_equal(images.read_label(file.getvalue()), values)


@pytest.mark.parametrize("reader", READERS)
@given(data=st.binary(max_size=300))
def test_noise_is_refused(reader, data):
    assert reads_or_refuses(reader, data) is None


@pytest.mark.parametrize("reader", READERS)
@given(
    values=arrays(np.uint8, (3,)) | arrays(np.uint8) | arrays(np.uint16),
    form=st.sampled_from(["PNG", "TIFF", "BMP", "GIF", "JPEG", "npy"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=8),
)
def test_damage_is_read_or_refused_and_nothing_else(reader, values, form, cut, flips):
    if values.dtype == np.uint16 and form in ("BMP", "GIF", "JPEG"):
        form = "PNG"
    data = bytearray(saved(values, form))
    data = data[: round(cut * len(data))]
    assume(data)
    for place, value in flips:
        data[min(int(place * len(data)), len(data) - 1)] ^= value
    read = reads_or_refuses(reader, bytes(data))
    assert read is None or read.ndim in (2, 3)


@given(arrays(np.uint8) | arrays(np.uint16, least=4096), st.tuples(SIDE, SIDE))
def test_resized_depth_never_mixes_nothing_into_values(values, shape):
    small = images.resize_depth(values, shape)
    assert small.dtype == values.dtype
    there = values[values > 0]
    if there.size:
        kept = small[small > 0]
        assert np.all((kept >= there.min()) & (kept <= there.max()))
    else:
        assert not small.any()


@given(SCHEMES, SCHEMES, st.data())
def test_conversion_of_labels(source, target, data):
    source, target = labels.scheme(source), labels.scheme(target)
    values = data.draw(arrays(np.uint8, most=source.num_classes - 1))
    values[0, 0] = labels.IGNORE
    if not conversion.exists(source, target):
        with pytest.raises(InputError, match="a scheme that is not finer"):
            conversion.label_map(values, source, target)
        return
    converted = conversion.label_map(values, source, target)
    known = (converted < target.num_classes) | (converted == labels.IGNORE)
    assert known.all()
    assert converted[0, 0] == labels.IGNORE
    # Class by class: equal ids go to equal ids, wherever they are.
    for value in np.unique(values):
        assert len(np.unique(converted[values == value])) == 1
    if conversion.exists(target, source):
        # There and back: what merged on the way is merged for good, and nothing else changes.
        again = conversion.label_map(
            conversion.label_map(converted, target, source), source, target
        )
        np.testing.assert_array_equal(again, converted)


@given(SCHEMES, st.data())
def test_conversion_keeps_the_sides_of_the_picture(name, data):
    """Mirrored classes are mirrored in the other scheme too."""
    source = labels.scheme(name)
    values = data.draw(arrays(np.uint8, most=source.num_classes - 1))
    mirror = np.array(source.mirror, np.uint8)
    for target in labels.SCHEMES.values():
        if not conversion.exists(source, target):
            continue
        here = conversion.label_map(values, source, target)
        mirrored = conversion.label_map(mirror[values], source, target)
        table = np.arange(256)
        table[: target.num_classes] = target.mirror
        np.testing.assert_array_equal(table[here], mirrored)


@given(SCHEMES, st.data())
def test_scores_equal_counting(name, data):
    scheme = labels.scheme(name)
    classes = scheme.num_classes
    truth = data.draw(st_numpy.arrays(np.int64, 50, elements=st.integers(0, classes - 1)))
    guess = data.draw(st_numpy.arrays(np.int64, 50, elements=st.integers(0, classes - 1)))
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (truth, guess), 1)
    found = metrics.scores(confusion, scheme)
    groups = [(c, [i]) for i, c in enumerate(scheme.classes)] + list(scheme.regions)
    for group, ids in groups:
        true, guessed = np.isin(truth, ids), np.isin(guess, ids)
        total = true.sum() + guessed.sum()
        expected = 2 * (true & guessed).sum() / total if total else None
        assert found[f"f1/{group}"] == (None if expected is None else pytest.approx(expected))
    assert found["accuracy"] == pytest.approx(np.mean(truth == guess))
    for value in found.values():
        assert value is None or isinstance(value, list) or 0 <= value <= 1


KEYS = sorted(FIELDS)
VALUES = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(),
    st.text(max_size=8),
    st.booleans(),
    st.tuples(st.floats(), st.floats()),
    st.none(),
)


@settings(max_examples=400)
@given(st.sampled_from(KEYS), VALUES)
def test_a_config_is_accepted_or_refused_in_a_sentence(key, value):
    config: ConfigDict = base.get_config()
    try:
        config.update_from_flattened_dict({key: value})
    except (TypeError, ValueError):
        return  # of another type; the command line says so
    try:
        parse(config)
    except InputError as error:
        if key not in error.what:
            raise
        return
    between, taken = interval(key), flat(config.to_dict())[key]
    assert not between or isinstance(taken, tuple) or inside(taken, between)
