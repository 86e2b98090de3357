"""Photographs, depth and labels on another grid, and in the networks' square."""

import numpy as np
import pytest

from faceparse_jax.images import resize_depth, resize_image, resize_label
from faceparse_jax.images.resize import fitted, in_square, inside

RNG = np.random.default_rng(0)


def nearest(values, shape):
    """By hand: the pixel in which the new pixel's centre lies."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(shape, values.shape, strict=True)
    )
    return values[np.ix_(rows, columns)]


def test_an_image_shrinks_without_aliasing():
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::4] = 255
    small = resize_image(lines, (16, 16))
    np.testing.assert_allclose(small[2:-2, 2:-2], 255 / 4, atol=2)


@pytest.mark.parametrize("part", [2, 4])
def test_half_and_quarter_of_an_image_are_means_of_the_area_under_each_pixel(part):
    image = RNG.integers(0, 256, (24, 40, 3), np.uint8)
    mean = image.reshape(24 // part, part, 40 // part, part, 3).mean((1, 3))
    small = resize_image(image, (24 // part, 40 // part))
    np.testing.assert_allclose(small, mean, atol=0.51)


def test_an_image_is_linear_between_its_pixels_where_it_grows():
    ramp = np.tile(np.arange(10, 170, 10, dtype=np.uint8)[None, :, None], (4, 1, 3))
    middle = resize_image(ramp, (4, 32))[0, 1:-1, 0]
    np.testing.assert_allclose(middle, 10 + 5 * np.arange(1, 31) - 2.5, atol=0.51)


@pytest.mark.parametrize("shape", [(7, 9), (20, 31), (64, 64), (3, 100), (40, 62), (10, 15)])
def test_a_label_has_the_class_of_the_nearest_pixel(shape):
    label = RNG.choice([0, 5, 255], (20, 31)).astype(np.uint8)
    np.testing.assert_array_equal(resize_label(label, shape), nearest(label, shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (20, 31), (64, 64), (3, 100), (10, 15)])
def test_depth_never_mixes_none_into_values(dtype, shape):
    depth = np.zeros((20, 31), dtype)
    depth[4:15, 6:25] = 200
    depth[8:10, 10:12] = 0
    resized = resize_depth(depth, shape)
    assert resized.shape == shape
    assert resized.dtype == dtype
    assert set(np.unique(resized)) == {0, 200}
    np.testing.assert_array_equal(resized > 0, nearest(depth, shape) > 0)


@pytest.mark.parametrize("size", [9, 16, 31, 64, 100])
def test_the_least_depth_never_becomes_none(size):
    depth = RNG.choice([0, 1], (32, 32)).astype(np.uint8)
    np.testing.assert_array_equal(resize_depth(depth, (size, size)), nearest(depth, (size, size)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_is_linear_within_the_head(dtype):
    depth = np.tile(np.arange(10, 170, 10, dtype=dtype), (4, 1))
    middle = resize_depth(depth, (4, 32))[0, 1:-1]
    np.testing.assert_allclose(middle, 10 + 5 * np.arange(1, 31) - 2.5, atol=0.51)
    half = resize_depth(depth, (2, 8))
    np.testing.assert_array_equal(half, np.tile(np.arange(15, 170, 20), (2, 1)))


def test_depth_of_16_bits_is_resized_with_all_of_them():
    depth = np.arange(40_000, 40_000 + 32 * 32, dtype=np.uint16).reshape(32, 32)
    mean = depth.reshape(16, 2, 16, 2).mean((1, 3))
    np.testing.assert_allclose(resize_depth(depth, (16, 16)), mean, atol=0.51)


def test_what_has_the_shape_passes_unchanged():
    image = RNG.integers(0, 256, (8, 9, 3), np.uint8)
    depth = RNG.integers(0, 2**16, (8, 9), np.uint16)
    assert resize_image(image, (8, 9)) is image
    assert resize_depth(depth, (8, 9)) is depth
    assert resize_label(image[..., 0], (8, 9)).base is image
    square = image[:, :8]
    assert in_square(square, 8, resize_image, 7) is square


@pytest.mark.parametrize("shape", [(20, 80), (80, 20), (33, 47), (1, 500), (31, 32)])
def test_a_picture_keeps_its_aspect_ratio_in_the_middle_of_the_square(shape):
    size = 32
    rows, columns = inside(shape, size)
    sides = np.array([rows.stop - rows.start, columns.stop - columns.start])
    assert tuple(sides) == fitted(shape, size)
    assert sides.max() == size
    assert abs(sides - np.maximum(np.array(shape) * size / max(shape), 1)).max() <= 0.5
    for side in (rows, columns):
        assert abs(side.start - (size - side.stop)) <= 1
    label = RNG.integers(0, 9, shape, np.uint8)
    square = in_square(label, size, resize_label, 255)
    np.testing.assert_array_equal(square[rows, columns], nearest(label, fitted(shape, size)))
    assert (square == 255).sum() == size**2 - sides.prod()


def test_depth_lies_where_its_image_lies():
    # By its own shape it would be 44 columns wide, not 43.
    depth = np.full((50, 34), 9, np.uint8)
    square = in_square(depth, 64, resize_depth, 0, (100, 67))
    np.testing.assert_array_equal(square[inside((100, 67), 64)], 9)
    assert square.astype(bool).sum() == 64 * 43
