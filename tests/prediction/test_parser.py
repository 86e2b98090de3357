"""The parser: sizes, sources and inputs, with networks whose answer is known."""

import io
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ExifTags, Image

from faceparse_jax.errors import InputError
from faceparse_jax.images import draw, read_image
from faceparse_jax.labels import CELEBAMASK_HQ, HELEN, LAPA, conversion
from faceparse_jax.models.inference import disagreement
from faceparse_jax.models.system import System
from faceparse_jax.prediction.parser import Parser
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
    with pytest.raises(InputError, match="found 5 and 4 of them, expected two lists"):
        parser(image=photos, depth=depths[:4])
    with pytest.raises(InputError, match="found 5 and 1 of them, expected two lists"):
        parser(image=photos, depth=depths[1])


def test_a_result_keeps_the_photograph_as_it_was(parser):
    _, photo = bands(32, 32)
    result = parser(photo)
    overlay = result.overlay()
    photo[:] = 7  # as where a video's frames share one array
    np.testing.assert_array_equal(result.overlay(), overlay)
    with pytest.raises(InputError, match="a picture of 0 x 8 pixels"):
        parser(Image.new("RGB", (0, 8)))


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
    assert not parser(image=photo, crop="none").warnings
    with pytest.raises(InputError, match="no depth"):
        parser(depth=nothing)


@pytest.mark.parametrize(
    "inputs",
    [
        {"image": np.zeros((0, 8, 3), np.uint8)},
        {"depth": np.ones((3, 8, 8), np.uint8)},
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


_CHANNELS_FIRST = np.zeros((3, 8, 8), np.uint8)  # or three pictures in grey


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"image": _CHANNELS_FIRST}, "image: found an array of shape (3, 8, 8), expected (height"),
        ({"image": _CHANNELS_FIRST[None]}, "image[0]: found an array of shape (3, 8, 8)"),
        ({"image": np.zeros((8, 8, 2), np.uint8)}, "with 1, 3 or 4 channels; next: move"),
        ({"image": np.zeros(8, np.uint8)}, "found an array of shape (8,)"),
        ({"image": np.zeros((0, 8))}, "found an array of shape (0, 8)"),
        ({"image": np.zeros((8, 8, 3), np.uint16)}, "type uint16, expected uint8, or floats from"),
        ({"image": np.zeros((8, 8, 3), bool)}, "type bool, expected uint8, or floats from 0 to 1"),
        ({"image": np.full((8, 8, 3), -0.01)}, "float64 from -0.01 to -0.01, expected floats from"),
        ({"image": np.full((8, 8, 4), 1.01)}, "float64 from 1.01 to 1.01, expected floats from 0"),
        ({"image": np.full((8, 8), np.inf)}, "float64 from inf to inf, expected floats from 0"),
        ({"image": np.full((8, 8), np.nan, np.float32)}, "image: found NaN, expected floats from"),
        ({"image": {"photo": 1}}, "found an object of type dict, expected a path, a picture"),
        ({"image": [[0, 1], [2]]}, "image[0]: found an object of type list, expected a path"),
        ({"image": ["nowhere.png"]}, "nowhere.png: found no such file or directory"),
        ({"image": b"no picture"}, "image: found a truncated, damaged or foreign file"),
        ({"depth": pathlib.Path("nowhere.png")}, "nowhere.png: found no such file or directory"),
        ({"depth": 5}, "depth: found an object of type int, expected a path"),
        ({"depth": [np.ones((3, 8, 8))]}, "depth[0]: found float64 of shape (3, 8, 8), expected"),
    ],
)
def test_what_is_no_input_is_one_sentence(parser, inputs, says):
    with pytest.raises(InputError) as error:
        parser(**inputs)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


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
    assert not parser(image=photo, depth=depth, crop="none").warnings
    depth[14:20, 13:19] = np.arange(180, 216).reshape(6, 6)
    (warning,) = parser(image=photo, depth=depth, crop="none").warnings
    assert "nose" in warning
    assert "--depth_kind=inverse" in warning
    told = "".join(parser(image=photo, depth=distances(depth), depth_kind="metric").warnings)
    assert "--depth_kind=inverse" in told
    nearer_is_larger = np.where(depth > 0, 256 - depth.astype(int), 0)
    told = "".join(parser(image=photo, depth=nearer_is_larger, depth_kind="inverse").warnings)
    assert "--depth_kind=metric" in told
    assert "--depth_kind=inverse" not in told
    depth[:20] = 0
    (warning,) = parser(image=photo, depth=depth, crop="none").warnings
    assert "another picture" in warning
    assert not parser(image=photo, depth=depth, output="rgb", crop="none").warnings


def png(pixels, path=None, **more):
    file = io.BytesIO()
    Image.fromarray(pixels).save(path or file, "PNG", **more)
    return path or file.getvalue()


def assert_alike(result, other):
    np.testing.assert_array_equal(result.label, other.label)
    np.testing.assert_array_equal(result.confidence, other.confidence)
    assert result.source == other.source


def test_a_photograph_and_its_depth_of_every_form_give_one_answer(parser, tmp_path):
    _, photo = bands(40, 30)
    depth = depth_like(photo)
    paths = [tmp_path / "photo.png", tmp_path / "depth.png"]
    for path, pixels in zip(paths, (photo, depth), strict=True):
        png(pixels, path)
    photos = [
        str(paths[0]), paths[0], paths[0].read_bytes(), Image.open(paths[0]), jnp.asarray(photo),
        *((photo / 255).astype(kind) for kind in (np.float16, np.float32, np.float64)),
    ]  # fmt: skip
    depths = [
        str(paths[1]), paths[1], paths[1].read_bytes(), Image.open(paths[1]), jnp.asarray(depth),
        depth[..., None], Image.fromarray(depth), depth,
    ]  # fmt: skip
    expected = parser(image=photo, depth=depth)
    together = parser(photos, depths)
    assert len(together) == 8
    for result, given, its_depth in zip(together, photos, depths, strict=True):
        assert_alike(result, expected)
        assert_alike(parser(given, its_depth), expected)


def test_grey_and_transparent_photographs_are_taken_as_from_files(parser):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (32, 32), np.uint8)
    for given in (grey, grey[..., None], grey / 255, Image.fromarray(grey)):
        expected = parser(image=np.repeat(grey[..., None], 3, axis=-1))
        assert_alike(parser(image=given), expected)
    clear = rng.integers(0, 256, (32, 32, 4), np.uint8)
    clear[:16, :, 3] = 0
    behind = read_image(png(clear))
    assert (behind[:16] == behind[0, 0]).all()
    for given in (clear, clear / 255, Image.fromarray(clear)):
        np.testing.assert_array_equal(parser.item(given, None).image, behind)


def test_a_batch_gives_what_its_rows_give_alone(parser):
    photos = np.stack([bands(32, 32)[1], bands(32, 32)[1][::-1]])
    depths = np.stack([depth_like(photo) for photo in photos])
    alone = [parser(image=i, depth=d) for i, d in zip(photos, depths, strict=True)]
    for image in (photos, list(photos), photos / 255, tuple(photos)):
        for result, expected in zip(parser(image, depths[..., None]), alone, strict=True):
            assert_alike(result, expected)
    grey = photos[..., :1]
    assert_alike(parser(grey)[1], parser(grey[1]))
    assert_alike(parser(depth=depths[..., None])[1], parser(depth=depths[1]))
    assert parser(photos[:0]) == []
    with pytest.raises(InputError, match="found 2 and 1 of them"):
        parser(photos, depths[:1, ..., None])
    with pytest.raises(InputError, match=r"image\[1\]: found float64 from 0 to 150, expected"):
        parser([photos[0], photos[1].astype(float)])
    with pytest.raises(InputError, match=r"shape \(2, 32, 32\).*several photographs at once are"):
        parser(grey[..., 0])


def test_exif_turns_paths_and_pictures_and_their_depth(parser, tmp_path):
    _, photo = bands(40, 30)
    depth = depth_like(photo)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter to the right
    png(np.rot90(photo), tmp_path / "photo.png", exif=exif)
    for given in (tmp_path / "photo.png", Image.open(tmp_path / "photo.png")):
        result = parser(given, np.rot90(depth), output="depth")
        assert_alike(result, parser(photo, depth, output="depth"))
        np.testing.assert_array_equal(result.item.image, photo)
        assert (result.item.turn, result.item.depth_turned) == ("ROTATE_270", True)


def test_a_picture_that_pillow_cannot_decode_any_more_is_one_sentence(parser):
    data = png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    cut, closed = Image.open(io.BytesIO(data[: len(data) // 2])), Image.open(io.BytesIO(data))
    closed.close()
    for picture in (cut, closed):
        with pytest.raises(InputError, match="image: found a truncated, damaged"):
            parser(image=picture)


def test_disagreement_is_the_jensen_shannon_divergence_in_bits():
    sure, other, half = (jnp.array(p) for p in ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)))
    assert disagreement(sure, sure) == 0
    assert disagreement(sure, other) == 1
    # The mean is (3/4, 1/4): half of log2(4/3), and a quarter of log2(2/3) + log2(2).
    by_hand = np.log2(4 / 3) / 2 + (np.log2(2 / 3) + 1) / 4
    np.testing.assert_allclose(disagreement(sure, half), by_hand, rtol=1e-5)
    np.testing.assert_allclose(disagreement(half, sure), by_hand, rtol=1e-5)


def test_uncertainty_is_the_disagreement_of_the_two_parsers(parser):
    label = np.zeros((SIZE, SIZE), np.uint8)
    label[:, 16:] = CLOTH
    photo, depth = COLOURS[label], np.zeros((SIZE, SIZE), np.uint8)
    depth[8:] = 60 + np.arange(24, dtype=np.uint8)[:, None]
    both = parser(photo, depth, uncertainty=True)
    parts = [parser(photo, depth, output=o, probabilities=True) for o in ("rgb", "depth")]
    p, q = (part.probabilities.astype(np.float64) for part in parts)
    mean = (p + q) / 2
    terms = [np.where(x > 0, x * np.log2(np.where(x > 0, x / mean, 1)), 0) for x in (p, q)]
    expected = sum(terms).sum(-1) / 2
    assert both.uncertainty.dtype == np.float32
    np.testing.assert_allclose(both.uncertainty, expected, atol=2e-3)
    assert both.uncertainty[:8, :16].max() < 0.1  # both see the background
    assert both.uncertainty[8:].min() > 0.9
    for output in ("rgb", "depth"):
        one = parser(photo, depth, output=output, uncertainty=True)
        np.testing.assert_allclose(one.uncertainty, both.uncertainty, atol=1e-6)
    assert parser(photo, depth).uncertainty is None


def test_uncertainty_has_the_input_size_and_is_none_where_one_parser_answers(parser):
    _, photo = bands(50, 70)
    depth = depth_like(photo)
    translated, real, alone = parser([photo, photo, None], [None, depth, depth], uncertainty=True)
    assert translated.uncertainty.shape == real.uncertainty.shape == (50, 70)
    assert not np.array_equal(translated.uncertainty, real.uncertainty)
    for result in (translated, real):
        assert result.uncertainty.min() >= 0
        assert result.uncertainty.max() <= 1
    assert alone.uncertainty is None
    without = make_parser("rgb", "depth")
    one, two = without([photo, photo], [None, depth], uncertainty=True)
    assert one.uncertainty is None
    np.testing.assert_allclose(two.uncertainty, real.uncertainty, atol=1e-6)
    assert make_parser("rgb")(photo, depth, uncertainty=True).uncertainty is None


def test_overlay_lies_over_the_photograph_or_the_depth(parser):
    _, photo = bands(40, 30)
    depth = depth_like(photo)
    both, alone = parser(photo / 255, depth), parser(depth=depth)
    assert both.scheme is alone.scheme is CELEBAMASK_HQ
    expected = draw.overlay(photo, both.label, CELEBAMASK_HQ)
    np.testing.assert_array_equal(both.overlay(), expected)
    expected = draw.overlay(draw.colour_depth(depth), alone.label, CELEBAMASK_HQ)
    np.testing.assert_array_equal(alone.overlay(), expected)


def test_the_same_call_twice_compiles_once():
    parser, photos = make_parser("rgb", "depth", "translator"), [bands(40, 30)[1]] * 3
    # Faces are looked for in one square, then in full batches; the third program answers.
    for size, programs in (((40, 30), 3), ((64, 20), 3)):
        parser(image=bands(*size)[1], uncertainty=True)
        assert parser._run._cache_size() == programs
    for _ in range(2):
        parser(image=photos, uncertainty=True)
    assert parser._run._cache_size() == 4


def test_the_answer_comes_in_the_classes_of_another_scheme():
    parser = make_parser("rgb")
    # A portrait in flat colours: the hair's, the skin's, and an ear's, which LaPa has as skin.
    label = np.zeros((32, 32), np.uint8)
    ear = CELEBAMASK_HQ.classes.index("l_ear")
    label[8:], label[8:, 16:], label[20:] = HAIR, SKIN, ear
    own = parser(COLOURS[label], crop="none", probabilities=True)
    for target in (LAPA, HELEN):
        result = parser(COLOURS[label], crop="none", scheme=target.name, probabilities=True)
        assert result.scheme is target
        matrix = conversion.class_matrix(CELEBAMASK_HQ, target)
        np.testing.assert_allclose(result.probabilities, own.probabilities @ matrix, atol=2e-3)
        np.testing.assert_array_equal(result.label, conversion.label_map(label, own.scheme, target))
    boxed = parser(COLOURS[label], crop=(4, 4, 28, 28), scheme="lapa", probabilities=True)
    np.testing.assert_allclose(boxed.probabilities.sum(-1), 1, atol=2e-3)
    inner = parser(COLOURS[label], crop=(4, 4, 28, 28))
    table = np.array(conversion.class_table(CELEBAMASK_HQ, LAPA))
    assert (boxed.label == table[inner.label]).mean() > 0.99
    assert parser(COLOURS[label], scheme="celebamask_hq").scheme is CELEBAMASK_HQ
    with pytest.raises(InputError, match=r"'ade20k', which .* one of celebamask_hq.*lapa, helen"):
        parser(COLOURS[label], scheme="ade20k")


def test_a_scheme_that_is_finer_is_refused():
    parser = make_parser("rgb")
    helen = Parser(parser._system, parser._variables, HELEN, SIZE)
    with pytest.raises(InputError, match=r"'lapa', which .*\(helen\) do not merge into, .* helen;"):
        helen.target("lapa")


class LeftHalf(nn.Module):
    """Finds the right brow in the left half, whatever is there, so that mirroring it matters."""

    @nn.compact
    def __call__(self, x, train=False):
        left = jnp.broadcast_to(jnp.arange(x.shape[2]) < x.shape[2] // 2, x.shape[:3])
        brow = CELEBAMASK_HQ.classes.index("r_brow")
        return (9.0 * jax.nn.one_hot(jnp.where(left, brow, 0), 19),)


def test_the_mirror_image_is_averaged_and_sides_change_places():
    system = System(rgb=LeftHalf())
    parser = Parser(system, {"rgb": {}}, CELEBAMASK_HQ, SIZE)
    photo = np.zeros((SIZE, SIZE, 3), np.uint8)
    once = parser(photo, crop="none", probabilities=True).probabilities.astype(np.float32)
    both = parser(photo, crop="none", probabilities=True, tta=True).probabilities
    mirrored = once[:, ::-1][..., list(CELEBAMASK_HQ.mirror)]
    np.testing.assert_allclose(both, (once + mirrored) / 2, atol=1e-3)
    left, right = (CELEBAMASK_HQ.classes.index(name) for name in ("l_brow", "r_brow"))
    assert both[0, 0, right] > 0.49
    assert both[0, -1, left] > 0.49
