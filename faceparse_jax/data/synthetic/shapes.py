"""The head as signed distances: where each part is, in the head's and the body's frame.

Points are (x, y, z) tuples of arrays; distances are in half head heights, negative
inside. Shapes are ellipsoids, capsules and spheres joined smoothly, after Inigo Quilez's
articles on distance functions.
"""

import jax
import jax.numpy as jnp
import numpy as np

Point = tuple
FAR = 9.0

_PIVOT = np.float32([0.0, -0.9, -0.35])  # about which the head turns
_NECK_TOP = np.float32([0.0, -0.45, -0.22])


def sine(x):
    """sin(x) to 3e-6 for |x| < 100: XLA's own is 20 times slower on a CPU.

    Taylor's polynomial to the ninth power on the half wave around zero, its last term
    fitted.
    """
    half_waves = jnp.round(x * np.float32(1 / np.pi))
    r = x - half_waves * np.float32(np.pi)
    odd = half_waves - 2 * jnp.floor(half_waves / 2)
    q = r * r
    series = 1 + q * (-1 / 6 + q * (8.33333e-3 + q * (-1.98409e-4 + q * 2.7e-6)))
    return (1 - 2 * odd) * r * series


def ellipsoid(p: Point, centre, radii):
    """First-order distance to an ellipsoid; exact on its surface."""
    q = [(a - c) / r for a, c, r in zip(p, centre, radii, strict=True)]
    k0 = jnp.sqrt(sum(a * a for a in q) + 1e-9)
    k1 = jnp.sqrt(sum((a / r) ** 2 for a, r in zip(q, radii, strict=True)) + 1e-9)
    return k0 * (k0 - 1.0) / k1


def sphere(p: Point, centre, radius):
    return jnp.sqrt(sum((a - c) ** 2 for a, c in zip(p, centre, strict=True)) + 1e-9) - radius


def capsule(p: Point, a, b, radius_a, radius_b):
    """A rod whose radius goes from one end to the other."""
    pa = [x - y for x, y in zip(p, a, strict=True)]
    ba = [x - y for x, y in zip(b, a, strict=True)]
    t = sum(x * y for x, y in zip(pa, ba, strict=True)) / sum(x * x for x in ba)
    t = jnp.clip(t, 0.0, 1.0)
    gap = jnp.sqrt(sum((x - t * y) ** 2 for x, y in zip(pa, ba, strict=True)) + 1e-9)
    return gap - (radius_a + t * (radius_b - radius_a))


def join(a, b, k):
    """Smooth union with blending length k."""
    h = jnp.maximum(k - jnp.abs(a - b), 0.0) / k
    return jnp.minimum(a, b) - 0.25 * k * h * h


def carve(a, b, k):
    """a without b, smoothly."""
    return -join(-a, b, k)


def seam(x, h):
    """Height of the line between the lips."""
    t = x / h["mouth_width"]
    return -0.61 + h["smile"] * (1.6 * t * t - 0.6)


def opening(x, h):
    """Height of the gap between the lips."""
    return h["mouth_open"] * jnp.maximum(1.0 - (x / (0.85 * h["mouth_width"])) ** 2, 0.0)


def if_there(there, shape, p: Point, *others):
    """`shape` at p where the head has it, else far away; what is absent costs nothing."""
    return jax.lax.cond(
        there, shape, lambda p, *_: jnp.full(p[0].shape, FAR, jnp.float32), p, *others
    )


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
        (0.8 * width, 0.5 * h["mouth_open"] + 1e-3, 0.2),
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


def rotation(yaw, pitch, roll):
    """Head to world [3 3], angles in radians: to the subject's left, down, clockwise."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (jnp.cos, jnp.sin))
    about_y = jnp.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = jnp.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = jnp.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def eyes_in_world(h):
    """The point between the eyes, wherever the head is turned, [3]."""
    between = np.float32([0.0, 0.0, 0.65])
    return rotation(h["yaw"], h["pitch"], h["roll"]) @ (between - _PIVOT) + _PIVOT


def frames(p: Point, h):
    """World points in the head's and the body's frame, and the neck's upper end in the latter."""

    def turned_back(matrix, q):
        return tuple(sum(matrix[j, i] * q[j] for j in range(3)) for i in range(3))

    to_head = rotation(h["yaw"], h["pitch"], h["roll"])
    to_body = rotation(0.45 * h["yaw"], 0.0, 0.0)  # shoulders follow half way
    from_pivot = tuple(a - b for a, b in zip(p, _PIVOT, strict=True))
    head_point = turned_back(to_head, from_pivot)
    head_point = tuple(a + b for a, b in zip(head_point, _PIVOT, strict=True))
    top = to_body.T @ (to_head @ (_NECK_TOP - _PIVOT) + _PIVOT)
    return head_point, turned_back(to_body, p), tuple(top)


def parts(p: Point, h):
    """Distances of all parts at world points, and the points in head and body frame."""
    head_point, body_point, neck_top = frames(p, h)
    below = neck(body_point, neck_top, h)
    bone = head(head_point, h)
    distances = {
        "head": jnp.minimum(bone, eyeballs(head_point, h)),
        "ear": ears(head_point, h),
        "neck": below,
        "hair": if_there(h["hair"] > 0, hair, head_point, bone, h),
        "cloth": cloth(body_point, below, h),
        "hat": if_there(h["hat"] > 0, hat, head_point, h),
        "glasses": if_there(h["glasses"] > 0, glasses, head_point, h),
        "earring": if_there(h["earrings"] > 0, earrings, head_point, h),
        "necklace": if_there(h["necklace"] > 0, necklace, body_point, below, h),
        "held": if_there(h["held"] > 0, held, p, h),
    }
    return distances, head_point, body_point


def nearest(distances):
    """Distance to the nearest part, with soft seams where skin meets skin."""
    skin = join(distances["head"], distances["neck"], 0.06)
    skin = join(skin, distances["ear"], 0.03)
    for part in ("hair", "cloth", "hat", "glasses", "earring", "necklace", "held"):
        skin = jnp.minimum(skin, distances[part])
    return skin


def scene(p: Point, h):
    """Distance to whatever is nearest, at world points."""
    return nearest(parts(p, h)[0])
