"""The parser: sizes, sources and inputs, with networks whose answer is known."""

import numpy as np
import pytest

from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ
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
    result = parser(image=photo, depth=nothing)
    assert result.source == "rgb+translated depth"
    assert "the photograph alone counts" in "".join(result.warnings)
    assert not parser(image=photo).warnings
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
        {"depth": np.ones((8, 8), bool), "depth_kind": "metric"},
        {"depth": depth_like(np.zeros((8, 8, 3))), "depth_kind": "feet"},
        {"image": np.zeros((8, 16, 3), np.uint8), "depth": np.ones((16, 8), np.uint8)},
    ],
)
def test_arrays_of_another_form_are_refused(parser, inputs):
    with pytest.raises(InputError, match="found"):
        parser.item(**{"image": None, "depth": None} | inputs)


def test_16_bits_of_depth_reach_the_networks(parser):
    """A step of depth that 8 bits do not have decides between skin and hair."""
    _, photo = bands(32, 32)
    depth = np.linspace(20000, 32767, 32 * 32).astype(np.uint16).reshape(32, 32)
    depth[:, 16:] += 32768 - 20000
    depth[0, 15], depth[0, 16] = 32767, 32768
    shallow = depth_like(photo)
    results = parser(image=[photo, photo], depth=[depth, shallow], output="depth")
    assert set(np.unique(results[0].label[:, :16])) == {SKIN}
    assert set(np.unique(results[0].label[:, 16:])) == {HAIR}
    assert set(np.unique(results[1].label)) == {0, SKIN}
    alone = parser(image=photo, depth=shallow, output="depth")
    np.testing.assert_array_equal(results[1].confidence, alone.confidence)


def head(size=32):
    """A dome of depth in the benchmarks' form, 60 to 200, and none round it."""
    rows, columns = np.indices((size, size)) / size - 0.5
    radius = np.hypot(rows, columns)
    return np.where(radius < 0.45, 60 + 311 * radius, 0).astype(np.uint8)


def distances(depth):
    """The same in millimetres, and a wall behind it."""
    return np.where(depth > 0, 600 + depth.astype(float), 1500)


@pytest.mark.parametrize(
    ("kind", "missing", "convert"),
    [
        ("benchmark", 65535, lambda d: np.where(d > 0, d * 257, 65535).astype(np.uint16)),
        ("benchmark", 255, lambda d: np.where(d > 0, d, 255).astype(np.uint8)),
        ("metric", None, lambda d: distances(d).astype(np.uint16)),
        ("metric", None, lambda d: (distances(d) / 1000).astype(np.float32)),
        ("metric", None, lambda d: (distances(d) / 10).astype(np.float64)),
        ("metric", 1500, lambda d: distances(d).astype(np.int32)),
        ("metric", None, lambda d: np.where(d > 0, distances(d), np.nan).astype(np.float16)),
        ("metric", None, lambda d: distances(d).astype(np.int64) * 1000),  # micrometres
        ("metric", None, lambda d: (distances(d) / 10).astype(np.uint8)),  # 15 levels of a head
        ("inverse", None, lambda d: np.where(d > 0, 255 - d, 0).astype(np.uint8)),
        ("inverse", None, lambda d: (1 / distances(d)).astype(np.float32)),
        ("auto", None, lambda d: d.astype(np.uint8)),
        ("auto", None, lambda d: distances(d).astype(np.uint16)),
        ("auto", None, lambda d: (1 / distances(d)).astype(np.float32)),
    ],
)
def test_depth_of_each_kind_gives_the_same_label_map(kind, missing, convert):
    depth = head()
    levels = tuple(np.quantile(depth[depth > 0], (0.01, 0.99)) / 255)
    parser = make_parser("depth", levels=levels)
    expected = parser(depth=depth).label
    result = parser(depth=convert(depth.astype(int)), depth_kind=kind, depth_missing=missing)
    assert {0, SKIN, HAIR} == set(np.unique(expected))
    assert (result.label == expected).mean() > 0.97
    assert result.depth_kind in (kind, "benchmark", "metric", "inverse")
    assert result.depth_kind != "auto"
    assert not result.warnings


def test_depth_that_lies_against_the_face_of_the_rgb_parser_is_warned_of():
    label = np.zeros((32, 32), np.uint8)
    label[8:28, 6:26] = SKIN
    label[14:20, 13:19] = CELEBAMASK_HQ.classes.index("nose")
    photo, depth = COLOURS[label], head()
    parser = make_parser("rgb", "depth")
    assert not parser(image=photo, depth=depth).warnings
    depth[14:20, 13:19] = np.arange(180, 216).reshape(6, 6)
    (warning,) = parser(image=photo, depth=depth).warnings
    assert "nose" in warning
    assert "--depth_kind=inverse" in warning
    told = "".join(parser(image=photo, depth=distances(depth), depth_kind="metric").warnings)
    assert "--depth_kind=inverse" in told
    nearer_is_larger = np.where(depth > 0, 256 - depth.astype(int), 0)
    told = "".join(parser(image=photo, depth=nearer_is_larger, depth_kind="inverse").warnings)
    assert "--depth_kind=metric" in told
    assert "--depth_kind=inverse" not in told
    depth[:20] = 0
    (warning,) = parser(image=photo, depth=depth).warnings
    assert "another picture" in warning
    assert not parser(image=photo, depth=depth, output="rgb").warnings
