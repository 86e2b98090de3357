"""Pictures of any size into a square of one size, in TensorFlow.

Every method takes a picture [h w c] and the two sides to bring it to.
"""

from collections.abc import Callable

import tensorflow as tf


def square(picture: tf.Tensor, size: int, method: Callable, outside) -> tf.Tensor:
    """In the middle of a square as `resize.inside` has it, with `outside` round it.

    Bytes pass unchanged where the picture is that square already.
    """
    shape = tf.shape(picture)[:2]
    same = tf.reduce_all(shape == size)
    fitted = tf.cond(same, lambda: picture, lambda: _fitted(picture, size, method, outside, True))
    return tf.ensure_shape(fitted, (size, size, picture.shape[-1]))


def corner(picture: tf.Tensor, size: int, method: Callable, outside) -> tf.Tensor:
    """As `square`, in the top left corner."""
    fitted = _fitted(picture, size, method, outside, False)
    return tf.ensure_shape(fitted, (size, size, picture.shape[-1]))


def _fitted(picture: tf.Tensor, size: int, method: Callable, outside, middle: bool) -> tf.Tensor:
    shape = tf.shape(picture)[:2]
    exact = tf.cast(shape * size, tf.float64) / tf.cast(tf.reduce_max(shape), tf.float64)
    fitted = tf.maximum(tf.cast(tf.round(exact), tf.int32), 1)
    resized = method(picture, fitted)
    before = (size - fitted) // 2 if middle else tf.zeros_like(fitted)
    pad = tf.stack([before, size - fitted - before], axis=1)
    # Padding adds zeros, so what is outside is taken off first; bytes wrap round.
    outside = tf.constant(outside, picture.dtype)
    return tf.pad(resized - outside, tf.concat([pad, [[0, 0]]], axis=0)) + outside


def nearest(picture: tf.Tensor, shape) -> tf.Tensor:
    """For labels: no value that was not there."""
    return tf.image.resize(picture, shape, "nearest")


def _mean(picture: tf.Tensor, shape) -> tf.Tensor:
    """The mean of the area under each pixel where both sides shrink, else bilinear."""
    return tf.cond(
        tf.reduce_all(tf.shape(picture)[:2] >= shape),
        lambda: tf.image.resize(picture, shape, "area"),
        lambda: tf.image.resize(picture, shape, "bilinear", antialias=True),
    )


def image(picture: tf.Tensor, shape) -> tf.Tensor:
    """For photographs, u8."""
    return tf.cast(tf.clip_by_value(tf.round(_mean(picture, shape)), 0, 255), tf.uint8)


def depth(values: tf.Tensor, shape) -> tf.Tensor:
    """0 means no depth: it is never mixed in, and a valid pixel never becomes 0."""
    valid = tf.cast(values > 0, tf.float32)
    mean = tf.math.divide_no_nan(_mean(values, shape), _mean(valid, shape))
    value = tf.cast(tf.clip_by_value(tf.round(mean), 1, values.dtype.max), values.dtype)
    return tf.where(nearest(valid, shape) > 0, value, tf.zeros_like(value))
