"""What is behind the head, and what happens between light and file."""

import jax
import jax.numpy as jnp
import numpy as np

from faceparse_jax.data.synthetic.draws import Head
from faceparse_jax.data.synthetic.paint import mix, smooth


def background(h: Head, size: int):
    """A gradient, rough or smooth, with coloured rectangles and ellipses before it.

    Returns:
        Linear RGB, a list of three arrays [s s] of 0 and more.
    """
    c = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
    across, down = jnp.meshgrid(c, c)
    turn = h["background_turn"]
    slope = 0.5 + (across - 0.5) * jnp.cos(turn) + (down - 0.5) * jnp.sin(turn)
    slope = smooth(-0.1, 1.1, slope)
    one, other = h["background"]
    colour = tuple(one[i] + slope * (other[i] - one[i]) for i in range(3))

    def before(colour, shape):
        x, y = across - shape["place"][0], down - shape["place"][1]
        cos, sin = jnp.cos(shape["angle"]), jnp.sin(shape["angle"])
        x, y = cos * x + sin * y, cos * y - sin * x
        wide, tall = shape["size"]
        box = jnp.maximum(jnp.abs(x) - wide, jnp.abs(y) - tall)
        oval = (jnp.sqrt((x / wide) ** 2 + (y / tall) ** 2 + 1e-9) - 1) * jnp.minimum(wide, tall)
        edge = jnp.where(shape["round"] > 0, oval, box)
        cover = smooth(h["background_soft"], -h["background_soft"], edge) * shape["there"]
        return mix(colour, shape["colour"], cover), None

    names = ("place", "angle", "size", "round", "there", "colour")
    things = {name: h[f"background_{name}"] for name in names}
    colour, _ = jax.lax.scan(before, colour, things)
    # Grains from coarse to fine, each of half the strength of the one before, or of the same.
    sides = (4, 8, 16, 32)
    key = jax.random.key(h["noise_seed"] + 1)
    grains = jax.random.normal(key, (sum(side * side for side in sides), 3))
    grains = 0.3 * grains + 0.7 * grains[:, :1]
    rough, first = 0.0, 0
    for n, side in enumerate(sides):
        grid = grains[first : first + side * side].reshape(side, side, 3)
        strength = 0.5 ** (n * (1 - h["background_fine"]))
        rough += strength * jax.image.resize(grid, (size, size, 3), "linear")
        first += side * side
    rough = 1 + h["background_rough"] * rough
    return [jnp.clip(colour[i] * rough[..., i], 0, 4) for i in range(3)]


def _blurred(image, sigma):
    """Gaussian blur of [s s 3] by products of matrices; `sigma` in pixels."""
    c = jnp.arange(image.shape[0], dtype=jnp.float32)
    kernel = jnp.exp(-0.5 * ((c[:, None] - c[None]) / sigma) ** 2)
    kernel = kernel / kernel.sum(1, keepdims=True)
    return jnp.einsum("ij,kl,jlc->ikc", kernel, kernel, image, precision="highest")


_LUMA = np.float32([0.299, 0.587, 0.114])
_TO_YCC = np.float32([_LUMA, (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813)])
_FROM_YCC = np.linalg.inv(_TO_YCC).astype(np.float32)
_BLOCK = np.arange(8)
_COSINES = np.cos((2 * _BLOCK[None] + 1) * _BLOCK[:, None] * np.pi / 16) / 2
_COSINES[0] /= np.sqrt(2)
_COSINES = _COSINES.astype(np.float32)


def _through_jpeg(image, step):
    """What rounding the cosine transform of blocks of 8 x 8 pixels does to sRGB [s s 3] in 0..1.

    Args:
        step: of the lowest frequencies; higher ones and colour are rounded more coarsely.
    """
    size = image.shape[0]
    more = -size % 8
    padded = jnp.pad(image, ((0, more), (0, more), (0, 0)), mode="edge")
    ycc = jnp.matmul(padded, _TO_YCC.T, precision="highest")
    blocks = ycc.reshape((size + more) // 8, 8, (size + more) // 8, 8, 3)
    waves = jnp.einsum("ui,vj,aibjc->aubvc", _COSINES, _COSINES, blocks, precision="highest")
    coarse = 1 + 0.5 * (_BLOCK[:, None] + _BLOCK[None])
    steps = step * coarse[:, None, :, None] * np.float32([1, 2, 2])
    waves = jnp.round(waves / steps) * steps
    blocks = jnp.einsum("ui,vj,aubvc->aibjc", _COSINES, _COSINES, waves, precision="highest")
    coded = jnp.matmul(blocks.reshape(ycc.shape), _FROM_YCC.T, precision="highest")
    return coded[:size, :size]


def photograph(image, h: Head, size: int):
    """Lens, tone curve, sRGB, sharpening, noise and JPEG: linear RGB [s s 3] to sRGB u8 [s s 3]."""
    scale = size / 128
    image = _blurred(image, h["blur"] * scale)
    c = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size * 2 - 1
    dark = 1 - h["vignette"] * (c[:, None] ** 2 + c[None] ** 2)
    image = jnp.clip(image, 0, None) * (h["exposure"] * dark)[..., None] * h["white"]
    image = image * (1 + image / 4) / (1 + image)
    low = 12.92 * image
    image = jnp.where(image < 0.0031308, low, 1.055 * (image + 1e-9) ** (1 / 2.4) - 0.055)
    grey = jnp.sum(image * _LUMA, -1, keepdims=True)
    image = grey + h["saturation"] * (image - grey)
    image = 0.45 + h["contrast"] * (image - 0.45)
    soft = _blurred(image, 0.8 * scale)
    image = image + h["sharpen"] * (image - soft)
    noise = jax.random.normal(jax.random.key(h["noise_seed"]), image.shape)
    image = jnp.clip(image + h["noise"] * noise, 0, 1)
    coded = jax.lax.cond(h["jpeg"] > 0, lambda x: _through_jpeg(x, h["jpeg"]), lambda x: x, image)
    return jnp.clip(jnp.round(255 * coded), 0, 255).astype(jnp.uint8)
