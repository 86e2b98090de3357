"""Convolution, pooling and resizing with torch's meanings, fast on each backend.

Padding is explicit and symmetric; XLA's SAME differs for strides.

Some forms of the same sum are much faster than others on one platform; `runtime.forms`
chooses. Parameters are the same in all forms and results agree to rounding.
"""

import functools
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from faceparse_jax.runtime.forms import platform

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# Output pixels per image up to which the CPU form gathers patches into one product.
_SMALL_OUTPUT = 64


def deterministic() -> bool:
    """Whether XLA is told to give the same bits in every run on a GPU (docs/reproducibility.md)."""
    flags = os.environ.get("XLA_FLAGS", "")
    names = ("--xla_gpu_deterministic_ops", "--xla_gpu_exclude_nondeterministic_ops")
    return any(flag in (name, f"{name}=true") for flag in flags.split() for name in names)


def _windows(x, size: int, stride: int, rows: int, columns: int):
    """The strided slices of an already padded image that a window's positions see."""
    return [
        x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]


def _output_side(side: int, size: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - size) // stride + 1


def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "s s c o"],
    stride: int = 1,
    padding: int = 0,
    *,
    cpu: bool | None = None,
) -> Float[Array, "b h2 w2 o"]:
    """Convolution with torch's symmetric zero padding.

    Args:
        cpu: use the CPU form; None asks `platform`.
    """
    size = kernel.shape[0]
    rows = _output_side(x.shape[1], size, stride, padding)
    columns = _output_side(x.shape[2], size, stride, padding)
    cpu = platform() == "cpu" if cpu is None else cpu
    if cpu and (size == 1 or rows * columns <= _SMALL_OUTPUT):
        # XLA's CPU gradients of convolutions with small outputs are slow; a product is not.
        padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        patches = jnp.concatenate(_windows(padded, size, stride, rows, columns), axis=-1)
        return patches @ kernel.reshape(-1, kernel.shape[-1])
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=_DIMENSIONS,
    )


def _transpose(x, kernel):
    return lax.conv_transpose(
        x, kernel[::-1, ::-1], (2, 2), [(2, 2), (2, 2)], dimension_numbers=_DIMENSIONS
    )


def _transpose_small(x, kernel):
    """Output pixel 2i + phase sees two taps a side: four stride-1 products, no zeros."""
    batch, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    outputs = []
    for i in (0, 1):
        for j in (0, 1):
            taps = kernel[3 - i :: -2, 3 - j :: -2]
            window = padded[:, i : i + height + 1, j : j + width + 1]
            outputs.append(conv2d(window, taps, cpu=True))
    stacked = jnp.stack(outputs, axis=3).reshape(batch, height, width, 2, 2, -1)
    swapped = stacked.transpose(0, 1, 3, 2, 4, 5)
    return swapped.reshape(batch, 2 * height, 2 * width, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _transpose_large(x, kernel, cpu):
    """The plain form with another gradient of its kernel.

    JAX derives a convolution whose window is the whole picture, which no library has a fast
    program for. Of 63 ms that a step took on an H200, 15 ms went to three of them.
    """
    return _transpose(x, kernel)


def _transpose_forward(x, kernel, cpu):
    return _transpose(x, kernel), (x, kernel)


def _transpose_backward(cpu, residuals, g):
    x, kernel = residuals

    def halved(kernel):  # the convolution whose transpose this is
        return lax.conv_general_dilated(
            g, kernel, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWOI", "NHWC")
        )

    if not cpu:
        # Its gradient is one that libraries know: that of a kernel, given the picture g.
        dx, kernel_gradient = jax.vjp(halved, kernel)
        return dx, *kernel_gradient(x)
    height, width, channels = x.shape[1:]
    padded = jnp.pad(g, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = jnp.concatenate(_windows(padded, 4, 2, height, width), axis=-1)
    product = jnp.einsum("bhwc,bhwp->cp", x, patches)
    return halved(kernel), product.reshape(channels, 4, 4, -1).transpose(1, 2, 0, 3)


_transpose_large.defvjp(_transpose_forward, _transpose_backward)


def conv2d_transpose(
    x: Float[Array, "b h w c"], kernel: Float[Array, "4 4 c o"], *, cpu: bool | None = None
) -> Float[Array, "b h2 w2 o"]:
    """Transposed convolution 4x4, stride 2, padding 1: doubles the sides.

    Equals torch's ``conv_transpose2d(x, w, stride=2, padding=1)`` for torch weights
    w [c o 4 4] given as ``kernel[i, j] = w[:, :, i, j]``.
    """
    cpu = platform() == "cpu" if cpu is None else cpu
    if cpu and x.shape[1] * x.shape[2] <= _SMALL_OUTPUT:
        return _transpose_small(x, kernel)
    return _transpose_large(x, kernel, cpu)


def _pool_windows(x, fill: float):
    rows, columns = (_output_side(side, 3, 2, 1) for side in x.shape[1:3])
    fill = np.asarray(fill, x.dtype)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    return _windows(padded, 3, 2, rows, columns)


@jax.custom_vjp
def _max_of_windows(x):
    return functools.reduce(jnp.maximum, _pool_windows(x, -np.inf))


def _pool_forward(x):
    y = _max_of_windows(x)
    return y, (x, y)


def _pool_backward(residuals, g):
    """Each input pixel gathers from the one, two or four windows that see it.

    The derivative of the maximum itself scatters nine times and took ten times as long.
    """
    x, y = residuals
    (batch, height, width, channels), (rows, columns) = x.shape, y.shape[1:3]
    g = g / sum((window == y).astype(g.dtype) for window in _pool_windows(x, -np.inf))
    ends = ((0, 0), (0, 2 * rows - height), (0, 2 * columns - width), (0, 0))
    pixels = jnp.pad(x, ends).reshape(batch, rows, 2, columns, 2, channels)
    after = ((0, 0), (0, 1), (0, 1), (0, 0))
    y, g = jnp.pad(y, after), jnp.pad(g, after)

    def gathered(i, j):
        # Even rows lie in the middle of a window, odd rows between two; so do columns.
        windows = [
            np.s_[:, a : a + rows, b : b + columns] for a in range(i + 1) for b in range(j + 1)
        ]
        return sum(jnp.where(pixels[:, :, i, :, j] == y[w], g[w], 0) for w in windows)

    dx = jnp.stack([jnp.stack([gathered(i, j) for j in (0, 1)], 3) for i in (0, 1)], 2)
    return (dx.reshape(batch, 2 * rows, 2 * columns, channels)[:, :height, :width],)


_max_of_windows.defvjp(_pool_forward, _pool_backward)


def max_pool(x: Float[Array, "b h w c"], *, cpu: bool | None = None) -> Float[Array, "b h2 w2 c"]:
    """Maximum over 3x3 windows, stride 2, padding 1.

    The CPU form shares the gradient between equal maxima, torch gives it to the first.
    """
    # The gradient of the other form is a select-and-scatter, which XLA then refuses.
    if platform() == "phone":  # none is below 0, since a ReLU comes before
        return nn.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (2, 2))
    cpu = platform() == "cpu" or deterministic() if cpu is None else cpu
    if not cpu:
        return nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])
    return _max_of_windows(x)


def _interpolation(source: int, target: int) -> np.ndarray:
    """Matrix [target source] of linear interpolation with aligned corners."""
    position = np.linspace(0, source - 1, target) if target > 1 else np.zeros(1)
    low = np.clip(np.floor(position).astype(int), 0, max(source - 2, 0))
    fraction = position - low
    matrix = np.zeros((target, source), np.float32)
    matrix[np.arange(target), low] += 1 - fraction
    matrix[np.arange(target), np.minimum(low + 1, source - 1)] += fraction
    return matrix


def resize_bilinear(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Float[Array, "b y x c"]:
    """Bilinear resizing with torch's ``align_corners=True``, as two matrix products.

    At full precision on every backend: the results are logits.
    """
    if platform() == "phone":
        return _resize_by_convolutions(x, shape)
    batch, height, _, channels = x.shape
    rows = jnp.asarray(_interpolation(height, shape[0]), x.dtype)
    columns = jnp.asarray(_interpolation(x.shape[2], shape[1]), x.dtype)
    # Columns first: both products are then batched without a transpose.
    x = jnp.matmul(columns, x, precision="highest").reshape(batch, height, -1)
    x = jnp.matmul(rows, x, precision="highest")
    return x.reshape(batch, *shape, channels)


def _resize_by_convolutions(x, shape: tuple[int, int]):
    """The same products as convolutions of one pixel, over an axis that lies last."""
    for there, wanted in zip(x.shape[1:3], shape, strict=True):
        x = x.transpose(0, 3, 2, 1)  # the channels, the other axis, this axis
        kernel = jnp.asarray(_interpolation(there, wanted).T[None, None], x.dtype)
        x = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=_DIMENSIONS)
        x = x.transpose(0, 2, 3, 1)  # the other axis, this axis, the channels
    return x


def enlarge(logits: Float[Array, "b h w k"], shape: tuple[int, int]) -> Float[Array, "b k y x"]:
    """Logits at another shape as `resize_bilinear` has them, each class as a picture of its own.

    Classes in the last axis of something so large would be padded to 128 on a TPU.
    """
    planes = jnp.moveaxis(logits.astype(jnp.float32), -1, 1)
    if planes.shape[2:] == shape:
        return planes
    rows, columns = (
        jnp.asarray(_interpolation(there, wanted))
        for there, wanted in zip(planes.shape[2:], shape, strict=True)
    )
    planes = jnp.matmul(planes, columns.T, precision="highest")
    return jnp.matmul(rows, planes, precision="highest")


def resize_nearest(x: Float[Array, "b h w c"], shape: tuple[int, int]) -> Float[Array, "b y x c"]:
    """Nearest-neighbour resizing as torch's ``mode='nearest'``: floor(i * source / target)."""
    for axis, target in zip((1, 2), shape, strict=True):
        source = x.shape[axis]
        if target == 2 * source and platform() == "phone":
            x = _doubled(x, axis)
        elif target == 2 * source:
            x = jnp.repeat(x, 2, axis)
        elif target != source:
            x = jnp.take(x, np.arange(target) * source // target, axis)
    return x


def _doubled(x: Float[Array, "b h w c"], axis: int) -> Array:
    """Each row, or each column, twice; no array on the way has more than four axes."""
    batch, height, width, channels = x.shape
    if axis == 1:
        rows = x.reshape(batch, height, 1, width * channels)
        return jnp.concatenate([rows, rows], 2).reshape(batch, 2 * height, width, channels)
    return jnp.concatenate([x, x], 3).reshape(batch, height, 2 * width, channels)
