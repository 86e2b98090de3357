"""The parser: sizes, sources and inputs, with networks whose answer is known."""

import numpy as np
import pytest

from faceparse_jax.errors import InputError
from tests.support.known_parser import (
    CLOTH,
    COLOURS,
    HAIR,
    SIZE,
    SKIN,
    bands,
    depth_like,
    make_parser,
)


@pytest.fixture(scope="module")
def parser():
    return make_parser("rgb", "depth", "translator")


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (100, 60), (60, 100), (16, 16), (9, 32)])
def test_labels_lie_on_the_input_whatever_its_size(parser, shape):
    label, photo = bands(*shape)
    result = parser(image=photo, output="rgb")
    assert result.label.shape == result.confidence.shape == shape
    # Only where colours meet may a resized pixel be another class.
    ys, xs = np.indices(shape)
    far = 1 + 2 * max(shape) / SIZE
    inside = (abs(ys + 0.5 - shape[0] // 4) > far) & (abs(xs + 0.5 - shape[1] // 2) > far)
    assert inside.mean() > 0.3
    np.testing.assert_array_equal(result.label[inside], label[inside])
    assert result.confidence[inside].min() > 0.9


def test_at_the_networks_size_nothing_is_resized(parser):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 19, (SIZE, SIZE)).astype(np.uint8)
    result = parser(image=COLOURS[label], output="rgb", probabilities=True)
    np.testing.assert_array_equal(result.label, label)
    assert result.probabilities.shape == (SIZE, SIZE, 19)
    np.testing.assert_array_equal(result.probabilities.argmax(-1), label)
    np.testing.assert_allclose(result.probabilities.max(-1), result.confidence, atol=1e-3)


@pytest.mark.parametrize(
    ("names", "given", "output", "source"),
    [
        (("rgb", "depth", "translator"), "image", None, "rgb+translated depth"),
        (("rgb", "depth", "translator"), "both", None, "rgb+depth"),
        (("rgb", "depth", "translator"), "depth", None, "depth"),
        (("rgb", "depth", "translator"), "both", "rgb", "rgb"),
        (("rgb", "depth", "translator"), "both", "depth", "depth"),
        (("rgb", "depth", "translator"), "both", "depth_translated", "translated depth"),
        (("rgb", "depth"), "image", None, "rgb"),
        (("rgb", "depth"), "both", None, "rgb+depth"),
        (("depth", "translator"), "image", None, "translated depth"),
        (("depth", "translator"), "both", None, "depth"),
        (("rgb",), "both", None, "rgb"),
    ],
)
def test_source_tells_what_the_answer_rests_on(names, given, output, source):
    _, photo = bands(40, 30)
    inputs = {}
    if given in ("image", "both"):
        inputs["image"] = photo
    if given in ("depth", "both"):
        inputs["depth"] = depth_like(photo)
    result = make_parser(*names)(**inputs, output=output)
    assert result.source == source
    assert (result.depth is not None) == ("translated" in source)
    assert result.label.shape == (40, 30)
    parts = {"rgb": CLOTH, "depth": SKIN, "translated depth": SKIN}
    if source in parts:
        assert (result.label == parts[source]).any()


def test_translated_depth_has_the_input_size(parser):
    photo = np.full((50, 70, 3), (180, 20, 20), np.uint8)
    result = parser(image=photo)
    np.testing.assert_array_equal(result.depth, np.full((50, 70), 180, np.uint8))


@pytest.mark.parametrize(
    ("names", "given", "output"),
    [
        (("rgb",), "depth", None),
        (("depth",), "image", None),
        (("rgb", "depth", "translator"), "image", "depth"),
        (("rgb", "depth", "translator"), "depth", "fusion"),
        (("rgb",), "image", "fusion"),
    ],
)
def test_inputs_that_no_network_takes_are_refused(names, given, output):
    _, photo = bands(40, 40)
    inputs = {"image": photo} if given == "image" else {"depth": depth_like(photo)}
    with pytest.raises(InputError, match="network"):
        make_parser(*names)(**inputs, output=output)


def test_a_list_gives_what_its_items_give_alone(parser):
    photos = [bands(*shape)[1] for shape in ((40, 30), (30, 40), (64, 64), (20, 20), (33, 47))]
    depths = [None, depth_like(photos[1]), None, depth_like(photos[3], 200), None]
    photos[3] = None
    together = parser(image=photos, depth=depths)
    filled = "rgb+translated depth"
    assert [r.source for r in together] == [filled, "rgb+depth", filled, "depth", filled]
    for result, photo, depth in zip(together, photos, depths, strict=True):
        alone = parser(image=photo, depth=depth)
        np.testing.assert_array_equal(result.label, alone.label)
        np.testing.assert_allclose(result.confidence, alone.confidence, atol=1e-5)
    assert parser(image=[]) == []
    with pytest.raises(InputError, match="found 5 images, 4 depth maps, expected two lists"):
        parser(image=photos, depth=depths[:4])
    with pytest.raises(InputError, match="found one alone, expected two lists"):
        parser(image=photos, depth=depths[1])


def test_depth_of_another_size_and_of_16_bits_fits_its_image(parser):
    _, photo = bands(64, 48)
    half = depth_like(photo)[::2, ::2]
    small, deep = (
        parser(image=photo, depth=depth, output="depth").label
        for depth in (half, half.astype(np.uint16) * 257)
    )
    assert small.shape == (64, 48)
    np.testing.assert_array_equal(small, deep)


def test_depth_without_any_depth_counts_as_absent(parser):
    _, photo = bands(32, 32)
    nothing = np.zeros((32, 32), np.uint8)
    assert parser(image=photo, depth=nothing).source == "rgb+translated depth"
    with pytest.raises(InputError, match="no depth"):
        parser(depth=nothing)


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": np.zeros((8, 8, 3), np.float32)},
        {"image": np.zeros((8, 8), np.uint8)},
        {"image": np.zeros((0, 8, 3), np.uint8)},
        {"depth": np.ones((8, 8, 3), np.uint8)},
        {"depth": np.ones((8, 8), np.int32)},
        {"image": np.zeros((8, 16, 3), np.uint8), "depth": np.ones((16, 8), np.uint8)},
    ],
)
def test_arrays_of_another_form_are_refused(parser, inputs):
    with pytest.raises(InputError, match="found"):
        list(parser.stream([(inputs.get("image"), inputs.get("depth"))]))


def test_16_bits_of_depth_reach_the_networks(parser):
    """A step of depth that 8 bits do not have decides between skin and hair."""
    _, photo = bands(32, 32)
    depth = np.full((32, 32), 32767, np.uint16)
    depth[:, 16:] = 32768
    shallow = np.full((32, 32), 60, np.uint8)
    results = parser(image=[photo, photo], depth=[depth, shallow], output="depth")
    assert set(np.unique(results[0].label[:, :16])) == {SKIN}
    assert set(np.unique(results[0].label[:, 16:])) == {HAIR}
    assert set(np.unique(results[1].label)) == {SKIN}
    alone = parser(image=photo, depth=shallow, output="depth")
    np.testing.assert_array_equal(results[1].confidence, alone.confidence)
