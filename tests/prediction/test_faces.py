"""Faces at any place, size and angle are found, and parsed in squares of their own."""

import numpy as np
import pytest
from PIL import Image

from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ
from faceparse_jax.prediction import faces
from faceparse_jax.prediction.squares import Square
from tests.support.known_parser import COLOURS, make_parser

SIZE = 64
ID = {name: number for number, name in enumerate(CELEBAMASK_HQ.classes)}
# Centre and half axes of ellipses, in sides of the square, from back to front.
ELLIPSES = {
    "hair": (0.0, -0.03, 0.33, 0.42),
    "skin": (0.0, 0.06, 0.25, 0.36),
    "r_eye": (-0.122, -0.022, 0.05, 0.025),
    "l_eye": (0.120, -0.022, 0.05, 0.025),
    "r_brow": (-0.130, -0.086, 0.07, 0.02),
    "l_brow": (0.126, -0.086, 0.07, 0.02),
    "nose": (-0.002, 0.077, 0.06, 0.11),
    "u_lip": (0.0, 0.235, 0.09, 0.03),
    "l_lip": (0.0, 0.285, 0.07, 0.03),
}


def drawn(squares, shape):
    """The label of faces that fill these squares as in training, and a photograph of its colours.

    The parser of these tests reads a class by its colour.
    """
    label = np.zeros(shape, np.uint8)
    y, x = np.indices(shape) + 0.5
    for square in squares:
        place = ((x - square.x) + 1j * (y - square.y)) * np.exp(-1j * square.angle) / square.side
        for name, (right, below, across, down) in ELLIPSES.items():
            inside = ((place.real - right) / across) ** 2 + ((place.imag - below) / down) ** 2 < 1
            label[inside] = ID[name]
    return label, COLOURS[label]


@pytest.fixture(scope="module")
def parser():
    return make_parser("rgb", "depth", "translator", size=SIZE)


def far_from_edges(label, pixels):
    """Pixels of the picture whose neighbourhood lies in it and has one class."""
    padded = np.pad(label, pixels, constant_values=255)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * pixels + 1,) * 2)
    return (windows == label[..., None, None]).all((2, 3))


@pytest.mark.parametrize(
    "square",
    [
        Square(200, 120, 150),
        Square(90, 160, 80),
        Square(150, 110, 130, 0.5),
        Square(240, 90, 100, -1.6),
        Square(110, 140, 120, 3.1),
        Square(330, 130, 160),  # cut by the border
    ],
)
def test_a_face_is_found_where_it_lies_and_parsed_as_in_training(parser, square):
    label, photo = drawn([square], (240, 360))
    result = parser(photo, output="rgb", probabilities=True)
    (face,) = result.faces
    found = face.square
    assert faces.LEAST < face.score <= 1
    np.testing.assert_allclose(found.corners(), square.corners(), atol=0.12 * square.side)
    assert np.cos(found.angle - square.angle) > 0.99
    assert not result.warnings
    sure = far_from_edges(label, 2 + round(2 * square.side / SIZE))
    np.testing.assert_array_equal(result.label[sure], label[sure])
    for name, (right, below, *_) in ELLIPSES.items():
        x, y = square.point(right, below)
        if name not in ("hair", "skin") and 0 <= x < label.shape[1]:
            assert result.label[int(y), int(x)] == ID[name], name
    np.testing.assert_array_equal(result.face_map, result.label > 0)
    np.testing.assert_allclose(result.probabilities.sum(-1), 1, atol=2e-3)


def test_glasses_stand_for_the_eyes_that_they_hide(parser):
    square = Square(200, 120, 150, 0.3)
    label, photo = drawn([square], (240, 360))
    eyes = np.isin(label, [ID[name] for name in ("l_eye", "r_eye", "l_brow", "r_brow")])
    hidden = np.array(Image.fromarray(eyes).resize((36, 24)).resize((360, 240))) & (label > 0)
    photo = np.where((eyes | hidden)[..., None], COLOURS[ID["eye_g"]], photo)
    (face,) = parser(photo, output="rgb").faces
    np.testing.assert_allclose(face.square.corners(), square.corners(), atol=0.12 * square.side)


def test_several_faces_have_numbers_of_their_own(parser):
    squares = [Square(80, 90, 120), Square(270, 110, 90, 0.2), Square(190, 190, 70)]
    label, photo = drawn(squares, (240, 360))
    result = parser(photo, output="rgb")
    scores = [face.score for face in result.faces]
    assert scores == sorted(scores, reverse=True)
    for number, face in enumerate(result.faces, 1):
        gaps = [np.hypot(face.square.x - one.x, face.square.y - one.y) for one in squares]
        square = squares.pop(int(np.argmin(gaps)))
        alone, _ = drawn([square], label.shape)
        own = (alone == label) & (label == ID["nose"])
        assert own.any()
        assert (result.face_map[own] == number).all()
    assert not squares
    assert (result.label[label == ID["nose"]] == ID["nose"]).mean() > 0.8


def test_a_face_that_fills_the_picture_as_in_training_is_parsed_with_it(parser):
    _, photo = drawn([Square(64, 64, 128)], (128, 128))
    result, whole = parser(photo), parser(photo, crop="none")
    assert result.faces == ()
    assert result.face_map is None
    assert not result.warnings
    np.testing.assert_array_equal(result.label, whole.label)


def test_a_picture_without_a_face_is_parsed_as_a_whole_and_says_so(parser):
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).resize((90, 90)))
    result = parser(photo)
    assert result.faces == ()
    assert "no face was found" in result.warnings[0]
    np.testing.assert_array_equal(result.label, parser(photo, crop="none").label)


def test_depth_and_disagreement_lie_on_the_picture(parser):
    square = Square(200, 120, 150, 0.3)
    label, photo = drawn([square], (240, 360))
    result = parser(photo, uncertainty=True)
    assert result.depth.shape == result.uncertainty.shape == label.shape
    # The translator of these tests takes red for depth.
    sure = far_from_edges(label, 5) & (label > 0)
    red = photo[..., 0].astype(int)[sure]
    assert np.abs(result.depth.astype(int)[sure] - np.maximum(red, 1))[red > 1].max() < 8
    far = np.hypot(*(np.indices(label.shape) - np.array([120, 200])[:, None, None])) > 240
    assert not result.depth[far].any()
    assert not result.uncertainty[far].any()
    slope = 60 + np.arange(label.shape[1]) // 6
    depth = np.where(label > 0, slope, 0).astype(np.uint8)
    both = parser(photo, depth, output="depth")
    assert both.source == "depth"
    assert both.faces
    assert (both.label[far] == 0).all()
    assert (both.label[sure] > 0).mean() > 0.9


@pytest.mark.parametrize("crop", ["140,60,260,180", (140, 60, 260, 180)])
def test_a_box_is_parsed_alone(parser, crop):
    label, photo = drawn([Square(200, 120, 120), Square(60, 120, 120)], (240, 360))
    result = parser(photo, output="rgb", crop=crop)
    (face,) = result.faces
    assert face.score is None
    assert face.square == Square(200, 120, 120)
    inside = np.zeros(label.shape, bool)
    inside[60:180, 140:260] = True
    assert not result.label[~inside].any()
    sure = far_from_edges(label, 3) & inside
    np.testing.assert_array_equal(result.label[sure], label[sure])


def test_the_border_of_a_box_may_cut_a_face(parser):
    photo = np.broadcast_to(COLOURS[ID["skin"]], (100, 100, 3))
    for crop in ((0, 0, 100, 100), (20, 30, 60, 90), np.array([20, 30, 60, 90])):
        label = parser(photo, output="rgb", crop=crop).label
        inside = np.zeros(label.shape, bool)
        inside[crop[1] : crop[3], crop[0] : crop[2]] = True
        np.testing.assert_array_equal(label, np.where(inside, ID["skin"], 0))


@pytest.mark.parametrize(
    ("crop", "says"),
    [
        ("face", "auto, none, or x0,y0,x1,y1"),
        ("1,2,3", "auto, none, or x0,y0,x1,y1"),
        ("9,2,3,8", "x0 < x1"),
        ("0,0,nan,8", "x0 < x1"),
        ("1.6,2,2.4,9", "of which the box 1.6,2,2.4,9 has none"),
        ("-1e308,0,1e308,9", "x0 < x1"),
        ((400, 0, 500, 90), "60 x 40 pixels, of which the box 400,0,500,90 has none"),
    ],
)
def test_a_box_that_is_none_is_refused(parser, crop, says):
    with pytest.raises(InputError, match=says):
        parser(np.zeros((40, 60, 3), np.uint8), crop=crop)


def test_a_square_is_cut_out_and_put_back():
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (12, 12, 3), np.uint8)
    photo = np.asarray(Image.fromarray(small).resize((120, 120), Image.Resampling.BICUBIC))
    square = Square(62.3, 55.1, 70, 0.4)
    cut = square.image(photo, 70)
    box = square.box(photo.shape[:2])
    back = np.stack([square.plane(cut[..., c].astype(np.float32), box) for c in range(3)], -1)
    inside = square.distance(box) < 0.45
    assert np.abs(back - photo[box])[inside].max() < 12
    assert not back[square.distance(box) > 0.5 + 2 / 70].any()
    upright = Square(60, 50, 40).image(photo, 40)
    np.testing.assert_array_equal(upright, photo[30:70, 40:80])
    halved = Square(60, 50, 80).image(photo, 40)
    mean = photo[10:90, 20:100].reshape(40, 2, 40, 2, 3).mean((1, 3))
    assert np.abs(halved - mean).max() < 2
