"""Distances of what grows: skull and face, ears, eyeballs, neck and shoulders.

Points are in the head's frame, but for the neck's, which are in the body's.
"""

import jax.numpy as jnp

from faceparse_jax.data.synthetic.shapes import Point, capsule, carve, ellipsoid, join, sphere


def seam(x, h):
    """Height of the line between the lips."""
    t = x / h["mouth_width"]
    return -0.60 + h["smile"] * (1.6 * t * t - 0.6)


def opening(x, h):
    """Height of the gap between the lips."""
    return h["mouth_open"] * jnp.maximum(1.0 - (x / (0.85 * h["mouth_width"])) ** 2, 0.0)


def head(p: Point, h):
    """Skull, face, nose, lips; without ears and eyeballs."""
    x, y, z = p
    x = x / h["face_width"]
    m = jnp.abs(x)
    # Below the eyes the face is stretched, and the jaw drops as the mouth opens.
    y = jnp.where(y < 0, y / h["face_length"], y)
    drop = h["mouth_open"] * jnp.clip((-0.5 - y) / 0.25, 0.0, 1.0)
    y = y + 0.8 * drop
    q, s = (x, y, z), (m, y, z)
    back = h["skull_back"]
    d = ellipsoid(q, (0.0, 0.27, 0.78 - back), (0.74, 0.73, back))
    d = join(d, ellipsoid(q, (0.0, -0.22, 0.10), (0.57, 0.80, 0.645)), 0.18)
    d = join(d, ellipsoid(s, (0.20, -0.52, 0.05), (0.36 * h["jaw_width"], 0.36, 0.50)), 0.16)
    d = join(d, sphere(q, (0.0, -0.86, 0.49), h["chin"]), 0.22)
    d = join(d, sphere(s, (0.37, -0.20, 0.42), h["cheek"]), 0.22)
    d = join(d, ellipsoid(s, (0.25, 0.17, 0.64), (0.27, 0.085, h["brow_ridge"])), 0.16)
    apart = h["eye_apart"]
    d = carve(d, ellipsoid(s, (apart, -0.01, 0.86), (0.20, 0.12, 0.20)), 0.16)
    # Upper and lower lids lie on the eyeball.
    d = join(d, sphere(s, (apart, 0.0, 0.520), 0.168), 0.03)
    # The muzzle, then the lips upon it.
    d = join(d, ellipsoid(q, (0.0, -0.60, 0.56), (0.30, 0.25, 0.20)), 0.16)
    width = h["mouth_width"]
    line = seam(x, h)
    t = jnp.clip(1.0 - (x / width) ** 2, 0.0, 1.0)
    bulge = jnp.exp(-(((y - line - 0.5 * h["upper_lip"]) / h["upper_lip"]) ** 2))
    bulge += 1.1 * jnp.exp(-(((y - line + 0.6 * h["lower_lip"]) / h["lower_lip"]) ** 2))
    groove = jnp.exp(-(((y - line) / 0.016) ** 2))
    front = jnp.clip((z - 0.3) * 5, 0.0, 1.0)
    d = d - front * jnp.sqrt(t + 1e-6) * (0.030 * bulge - 0.022 * groove)
    # Nose.
    length = h["nose_length"]
    out, tip = h["nose_out"], h["nose_tip"]
    nose = capsule(q, (0.0, 0.08, 0.66), (0.0, -length + 0.06, out - tip), 0.060, tip)
    wing = sphere(s, (h["nose_width"] - 0.01, -length + 0.01, out - 0.24), 0.070)
    nose = join(nose, wing, 0.07)
    nostril = sphere(s, (0.055, -length - 0.045, out - 0.135), 0.030)
    nose = carve(nose, nostril, 0.03)
    d = join(d, nose, 0.09)
    # The gap between the lips.
    gap = ellipsoid(
        q,
        (0.0, line - 0.2 * h["mouth_open"], 0.76),
        (0.8 * width, 0.5 * h["mouth_open"] + 1e-3, 0.2 - 0.1 * h["grin"]),
    )
    return jnp.where(h["mouth_open"] > 0.02, carve(d, gap, 0.02), d) * 0.85


def ears(p: Point, h):
    x, y, z = p
    m = jnp.abs(x)
    size = h["ear_size"]
    base = 0.715 * h["face_width"] + h["ear_out"]
    # Tilted back and turned outwards.
    u = (m - base) * 0.86 + (z + 0.10) * 0.5
    w = (z + 0.10) * 0.86 - (m - base) * 0.5
    v = y + 0.13 + 0.25 * w
    ear = ellipsoid((u, v, w), (0.02, 0.0, 0.0), (0.055, 0.27 * size, 0.165 * size))
    hollow = ellipsoid((u, v, w), (0.075, 0.03, 0.03), (0.05, 0.17 * size, 0.10 * size))
    return carve(ear, hollow, 0.03)


def eyeballs(p: Point, h):
    x, y, z = p
    m = jnp.abs(x / h["face_width"])
    return sphere((m, y, z), (h["eye_apart"], 0.0, 0.520), 0.172)


def lowered(body: Point, h):
    """A point as seen from shoulders that are raised by ``shoulder_up``."""
    x, y, z = body
    return x, y - h["shoulder_up"], z


def neck(body: Point, chin: Point, h):
    """From under the skull, wherever the head is turned, into the shoulders."""
    width = h["neck_width"]
    d = capsule(body, chin, (0.0, -1.55, -0.35), width, width * 1.12)
    x, y, z = lowered(body, h)
    slope = capsule((jnp.abs(x), y, z), (0.1, -1.42, -0.38), (0.75, -1.72, -0.42), 0.22, 0.26)
    # Below its middle the chest goes straight down.
    chest = ellipsoid((x, jnp.maximum(y, -2.42), z), (0.0, -2.42, -0.35), (1.20, 0.93, 0.60))
    return join(join(d, slope, 0.25), chest, 0.2)
