"""A program's own resizing gives what that of the parser gives, and its forms are plain."""

import jax.numpy as jnp
import numpy as np
import pytest

from faceparse_jax.export import program
from faceparse_jax.images import resize_depth, resize_image
from faceparse_jax.images.normalise import OUTSIDE
from faceparse_jax.images.resize import decide, in_square, inside, resize_plane
from faceparse_jax.models import ops
from faceparse_jax.runtime.forms import forms_for

SIZE = 32
# The square itself, smaller, larger by less than two, by more, by far, and by one pixel.
SHAPES = [(32, 32), (20, 12), (37, 23), (70, 200), (137, 400), (65, 64), (1, 90)]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_photograph_is_fitted_as_the_parser_fits_it(shape, rng):
    image = rng.integers(0, 256, (*shape, 3), np.uint8)
    wanted = in_square(image, SIZE, resize_image, OUTSIDE)
    frame = program._Frame(shape, SIZE)
    found = np.asarray(program._fit_image(jnp.asarray(image), frame))
    # Pillow weights in whole numbers.
    assert np.abs(found.astype(int) - wanted).max() <= (shape != (SIZE, SIZE))


@pytest.mark.parametrize("shape", SHAPES)
def test_depth_is_fitted_as_the_parser_fits_it(shape, rng):
    depth = rng.integers(1, 256, shape, np.uint8) * (rng.random(shape) > 0.3).astype(np.uint8)
    wanted = in_square(depth, SIZE, resize_depth, 0)
    frame = program._Frame(shape, SIZE)
    found = np.asarray(program._fit_depth(jnp.asarray(depth)[..., None], frame))[..., 0]
    assert ((found > 0) == (wanted > 0)).all()
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (found != wanted).mean() < 0.005


@pytest.mark.parametrize("shape", SHAPES)
def test_the_class_is_chosen_as_the_parser_chooses_it(shape, rng):
    said = rng.random((SIZE, SIZE, 5)).astype(np.float32)
    part = said[inside(shape, SIZE)]
    planes = [resize_plane(part[..., c], shape) for c in range(part.shape[-1])]
    label, confidence, _ = decide(planes, shape)
    found, sure = program._Frame(shape, SIZE).decide(jnp.asarray(said))
    assert (np.asarray(found) == label).mean() > 0.999
    np.testing.assert_allclose(sure, confidence, atol=1e-5)


def test_the_form_for_phones_gives_the_same_numbers(rng):
    """A maximum of values that a ReLU gave, enlarged logits, doubled features."""
    x = jnp.asarray(rng.random((2, 5, 7, 3)), jnp.float32)
    for run in (
        ops.max_pool,
        lambda x: ops.resize_bilinear(x, (11, 29)),
        lambda x: ops.resize_nearest(x, (10, 14)),
    ):
        with forms_for("phone"):
            found = run(x)
        np.testing.assert_allclose(found, run(x), atol=1e-6)
