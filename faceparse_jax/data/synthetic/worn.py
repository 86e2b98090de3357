"""Distances of hair, of what is worn, and of what is held before the face."""

import jax.numpy as jnp

from faceparse_jax.data.synthetic.body import lowered
from faceparse_jax.data.synthetic.shapes import (
    Point,
    capsule,
    carve,
    ellipsoid,
    join,
    sine,
    sphere,
)


def hair(p: Point, skin, h):
    """A shell round the skull that leaves the face free, with lengths, bun, curls.

    ``hair_thick`` is the shell's thickness, ``hairline`` its height over the forehead,
    lower by ``hair_temple`` at the temples; at the sides it reaches forward to z =
    ``hair_side`` and down to y = ``hair_low``; ``hair_length`` adds a fall behind, and
    ``hair_locks`` lies before the right and the left shoulder. From ``hair_part`` it is
    swept down over the forehead by ``hair_sweep`` to the right and to the left, where it
    lies on the `skin` as a sheet; ``hair_open`` is how far from the middle the face is
    free on both sides.
    """
    x, y, z = p
    thick = h["hair_thick"]
    back = h["skull_back"]
    wave = sine(9 * x + 5 * y + h["texture"][0]) * sine(8 * z - 6 * y + h["texture"][1])
    curl = sine(23 * x + h["texture"][2]) * sine(21 * y) * sine(22 * z + h["texture"][0])
    strand = sine(h["hair_fine"] * x + 6 * sine(3 * y + h["texture"][2]) + h["texture"][0])
    ruffle = h["hair_wave"] * wave + 0.028 * h["curl"] * curl * jnp.minimum(thick * 8, 1.0)
    ruffle += h["hair_strand"] * strand
    q = (x / h["face_width"], y, z)
    d = ellipsoid(
        q, (0.0, 0.27 + 0.3 * thick, 0.77 - back), (0.74 + thick, 0.73 + thick, back + 0.8 * thick)
    )
    fall_width = 0.80 + h["hair_volume"] + 0.6 * thick
    length = h["hair_length"]
    fall = ellipsoid(
        (x, y, z),
        (0.0, 0.05 - 0.45 * length, -0.28),
        (fall_width, 0.55 + 0.62 * length, 0.55),
    )
    d = jnp.where(length > 0, join(d, fall, 0.12), d)
    sheet = skin - h["hair_sheet"] - 0.10 * jnp.clip(thick, 0, 0.2)
    d = join(d, jnp.maximum(sheet, -0.1 - z), 0.04)
    for i, side in enumerate((-1.0, 1.0)):
        out = 0.66 + 0.5 * h["hair_volume"]
        swing = 0.05 * sine(4 * y + h["texture"][i])
        thin = h["hair_lock_thick"]
        lock = capsule(
            (side * x + swing, y, z),
            (out - 0.06, 0.15, 0.05),
            (out + 0.04, -length, 0.42),
            thin,
            0.8 * thin,
        )
        d = jnp.where(h["hair_locks"][i] > 0, join(d, lock, 0.10), d)
    # A ragged lower end.
    low = h["hair_low"] + (0.04 + h["hair_ragged"]) * sine(15 * x + h["texture"][1]) * sine(11 * z)
    d = jnp.maximum(d, low - y)
    ragged = h["hair_ragged"] * sine(13 * x + h["texture"][2]) * sine(5 * x + 2 * y)
    away = x - h["hair_part"]
    swept = jnp.where(away < 0, h["hair_sweep"][0], h["hair_sweep"][1])
    line = h["hairline"] - h["hair_temple"] * (x / 0.62) ** 2 - swept * (jnp.abs(away) / 0.6) ** 1.3
    line += 0.012 * sine(31 * x + h["texture"][0]) + ragged
    # The side edge runs back behind the ear where hair is short.
    side = h["hair_side"] + jnp.clip(y - 0.1, 0.0, 1.0) * 1.1
    bend = 0.04 * sine(5 * y + h["texture"][1]) + 0.10 * jnp.clip(-0.6 - y, 0, 1)
    free = jnp.where(x < 0, h["hair_open"][0], h["hair_open"][1]) + bend
    face = jnp.maximum(jnp.maximum(y - line, side - z), jnp.abs(x) - free)
    d = carve(d, face, 0.03)
    bun = sphere((x, y, z), (0.0, 0.95, -0.55), h["bun"])
    d = jnp.where(h["bun"] > 0, join(d, bun, 0.05), d)
    d = d - ruffle
    # No hair above the rim of a hat.
    d = jnp.where(h["hat"] > 0, jnp.maximum(d, y - 0.22 * z - h["hat_low"] + 0.04), d)
    return d * 0.8


def hat(p: Point, h):
    x, y, z = p
    kind, low = h["hat"], h["hat_low"]
    thick = jnp.maximum(h["hair_thick"] * 0.6, 0.05)
    back = h["skull_back"]
    tilted = y - 0.22 * z  # higher at the front
    dome = ellipsoid(
        (x, y, z),
        (0.0, 0.30, 0.77 - back),
        (0.76 + thick, 0.80 + thick + h["hat_tall"], back + thick + 0.02),
    )
    dome = jnp.maximum(dome, low - tilted - 0.10)
    band = jnp.abs(tilted - low - 0.02) - 0.10
    beanie = join(dome, jnp.maximum(dome - 0.05, band), 0.03)
    peak = ellipsoid(
        (x, y - low - 0.25 + 0.18 * (z - 0.8), z), (0.0, 0.0, 0.80), (0.56, 0.035, 0.55)
    )
    peak = jnp.maximum(peak, 0.45 - z)
    brim = ellipsoid(
        (x, tilted - low + 0.06 - 0.10 * x * x, z), (0.0, 0.0, -0.1), (1.35, 0.045, 1.45)
    )
    d = jnp.where(
        kind < 1.5, beanie, jnp.where(kind < 2.5, jnp.minimum(dome, peak), jnp.minimum(dome, brim))
    )
    return d * 0.85


def lens_edge(m, y, h):
    """Where a point lies on the lens: below 0 inside, 0 at its edge."""
    u, v = (m - 0.31 * h["face_width"]) / h["lens_width"], (y + 0.02) / h["lens_height"]
    k = h["lens_square"]
    return ((jnp.abs(u) + 1e-4) ** k + (jnp.abs(v) + 1e-4) ** k) ** (1 / k) - 1.0


def glasses(p: Point, h):
    x, y, z = p
    m = jnp.abs(x)
    half, tall, wire = h["lens_width"], h["lens_height"], h["frame"]
    edge = lens_edge(m, y, h) * jnp.minimum(half, tall)
    ring = jnp.abs(edge)
    plane = 0.79 - 0.25 * m * m
    rim = jnp.sqrt(ring**2 + (z - plane) ** 2) - wire
    inside = jnp.maximum(edge, 0)
    lens = jnp.sqrt(inside**2 + (z - plane) ** 2) - 0.012
    bridge = capsule((m, y, z), (0.0, 0.04, 0.86), (0.31 - half + 0.01, 0.02, 0.77), wire, wire)
    edge = 0.31 * h["face_width"] + half
    arm = capsule((m, y, z), (edge, 0.03, 0.72), (0.79 * h["face_width"], 0.03, -0.05), wire, wire)
    d = jnp.minimum(jnp.minimum(rim, bridge), arm)
    return jnp.where(h["sunglasses"] > 0, jnp.minimum(d, lens), d)


def earrings(p: Point, h):
    x, y, z = p
    m = jnp.abs(x)
    side = 0.76 * h["face_width"] + h["ear_out"]
    low = -0.13 - 0.27 * h["ear_size"]
    size = h["earring_size"]
    middle = (side, low - size * 0.6 - h["earring_drop"], -0.03)
    d = sphere((m, y, z), middle, size)
    q = [a - c for a, c in zip((m, y, z), middle, strict=True)]
    round_ = jnp.sqrt(q[0] ** 2 + q[1] ** 2 + 1e-9) - 1.4 * size
    d = jnp.where(h["earring_hoop"] > 0, jnp.sqrt(round_**2 + q[2] ** 2) - 0.02, d)
    wire = capsule(
        (m, y, z), (side, low, -0.03), (side, low - h["earring_drop"] - size, -0.03), 0.012, 0.012
    )
    return jnp.minimum(d, wire)


def cloth(body: Point, skin, h):
    """A layer over the shoulders that ends at the neckline, with a collar there."""
    x, y, z = lowered(body, h)
    arms = ellipsoid(
        (x, jnp.maximum(y, -2.45), z), (0.0, -2.45, -0.38), (h["shoulder"], 0.85, 0.58)
    )
    rim = y - neckline(body, h)
    collar = h["collar"] * jnp.exp(-((rim / 0.12) ** 2))
    layer = join(skin - 0.035 - collar, arms, 0.15)
    fold = h["fold"] * sine(7 * x + 3 * y + h["texture"][0]) * sine(5 * y - 2 * x)
    return jnp.maximum(layer + fold, rim) * 0.85


def neckline(body: Point, h):
    """Height of the upper edge of the clothes at a point, in the raised shoulders' frame."""
    x, _, z = body
    front = h["v_neck"] * jnp.clip(1.0 - jnp.abs(x) / 0.45, 0.0, 1.0) * (z > -0.3)
    return h["neckline"] - front + 0.25 * jnp.clip(-z - 0.3, 0, 0.4)


def necklace(body: Point, skin, h):
    x, y, z = lowered(body, h)
    line = -1.38 - h["necklace_drop"] * jnp.exp(-((x / 0.3) ** 2)) - 0.10 * (z - 0.1)
    d = jnp.sqrt((skin - 0.02) ** 2 + (y - line) ** 2) - h["necklace_wide"]
    return d + 0.008 * sine(60 * x)  # beads


def held(p: Point, h):
    """What is before the face: a hand with four fingers, or a microphone."""
    x, y, z = (a - c for a, c in zip(p, h["held_at"], strict=True))
    cos, sin = jnp.cos(h["held_turn"]), jnp.sin(h["held_turn"])
    x, y = (cos * x - sin * y) / h["held_size"], (sin * x + cos * y) / h["held_size"]
    hand = ellipsoid((x, y, z), (0.0, -0.32, 0.05), (0.25, 0.30, 0.10))
    arm = capsule((x, y, z), (0.0, -0.5, 0.05), (0.15, -1.8, 0.1), 0.15, 0.22)
    hand = join(hand, arm, 0.1)
    for i in range(4):
        at = 0.115 * (i - 1.5)
        finger = capsule(
            (x, y, z), (at, -0.15, 0.05), (1.25 * at, 0.24 - at * at, -0.02), 0.062, 0.05
        )
        hand = join(hand, finger, 0.02)
    knob = sphere((x, y, z), (0.0, 0.0, 0.0), 0.17)
    stick = capsule((x, y, z), (0.0, -0.1, 0.0), (0.1, -1.2, 0.15), 0.10, 0.08)
    return jnp.where(h["held"] < 1.5, hand, jnp.minimum(knob, stick)) * 0.8
