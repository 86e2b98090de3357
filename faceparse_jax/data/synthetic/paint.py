"""Which class a surface point belongs to, and what colour it has.

The face's parts are painted in the head's own frontal coordinates, so they follow the
pose; separate things (hair, hat, glasses...) are told apart by their distances.
"""

from typing import NamedTuple

import jax.numpy as jnp

from faceparse_jax.data.synthetic.body import lowered, opening, seam
from faceparse_jax.data.synthetic.shapes import sine
from faceparse_jax.data.synthetic.worn import lens_edge, neckline
from faceparse_jax.labels import CELEBAMASK_HQ

CLASS = {name: i for i, name in enumerate(CELEBAMASK_HQ.classes)}


class Surface(NamedTuple):
    """Paint of every pixel: class id, linear RGB, gloss in 0..1, whether a lens is before it."""

    label: object
    albedo: tuple
    gloss: object
    lens: object = False


class Face(NamedTuple):
    """Coordinates on the face: x, its magnitude m, y without jaw length, z, front mask."""

    x: object
    m: object
    y: object
    z: object
    front: object


def noise(p, seed, scale, octaves=3):
    """Smooth noise of about unit size from products of sines; cheap and repeatable."""
    x, y, z = (scale * a for a in p)
    total = 0.0
    for i in range(octaves):
        f = 2.0**i
        a = sine(f * (1.7 * x + 2.3 * y) + seed[0] + i)
        b = sine(f * (2.1 * y - 1.3 * z) + 1.7 * seed[1])
        c = sine(f * (1.9 * z + 1.1 * x) + seed[2])
        d = sine(f * (2.7 * x - 1.7 * y) + 2 * i)
        total = total + (a * b + c * d) / f
    return 0.5 * total


def smooth(low, high, x):
    """0 below `low`, 1 above `high` (or the other way round), smooth between."""
    t = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def bump(x, centre, width, power=2):
    return jnp.exp(-(jnp.abs((x - centre) / width) ** power))


def mix(a, b, weight):
    return tuple(p + weight * (q - p) for p, q in zip(a, b, strict=True))


def scaled(colour, factor):
    return tuple(c * factor for c in colour)


def choose(condition, a, b):
    return tuple(jnp.where(condition, p, q) for p, q in zip(a, b, strict=True))


def paint(d, head_point, body_point, ray, h) -> Surface:
    """Paints surface points.

    Args:
        d: distances of the parts, as `scene.parts` gives them.
        head_point, body_point: the points in the head's and the body's frame.
        ray: direction from the camera, in the head's frame.
        h: the head's parameters.
    """
    x, y, z = head_point
    fx = x / h["face_width"]
    fy = jnp.where(y < 0, y / h["face_length"], y)
    face = Face(fx, jnp.abs(fx), fy, z, z > 0.2)
    left = x > 0

    surface = _skin(face, head_point, d, h)
    surface = _brows(surface, face, left, h)
    surface = _nose(surface, face, h)
    surface = _mouth(surface, face, h)
    surface = _eyes(surface, face, left, h)
    return _things(surface, d, head_point, body_point, ray, left, h)


def _skin(face, p, d, h) -> Surface:
    """Skin with blush, eye sockets, freckles, wrinkles, beard, and the shade of the hair."""
    skin, seed = h["skin"], h["texture"]
    grain = 1 + 0.05 * noise(p, seed, 9) + 0.05 * h["pores"] * noise(p, seed, 57, 2)
    grain += 0.06 * noise(p, seed, 2.5, 2)
    colour = tuple(skin[i] * grain for i in range(3))

    red = (skin[0] * 1.02, skin[1] * 0.72, skin[2] * 0.70)
    blush = bump(face.m, 0.40, 0.17) * bump(face.y, -0.28, 0.15)
    blush += 0.6 * bump(face.x, 0, 0.12) * bump(face.y, -0.33, 0.10)
    colour = mix(colour, red, 1.6 * h["blush"] * blush * face.front)
    socket = bump(face.m, h["eye_apart"], 0.2) * bump(face.y, -0.02, 0.13)
    colour = mix(colour, scaled(skin, 0.62), 0.35 * socket * face.front)
    spots = smooth(0.35, 0.6, noise(p, seed, 30, 2)) * bump(face.y, -0.2, 0.2) * face.front
    colour = mix(colour, scaled(skin, 0.55), 0.6 * h["freckles"] * spots)

    bag = bump(face.m, h["eye_apart"] - 0.02, 0.11) * bump(face.y, -0.11, 0.035)
    colour = mix(colour, scaled(skin, 0.6), (0.15 + 0.4 * h["wrinkles"]) * bag * face.front)
    lid = bump(face.m, h["eye_apart"] + 0.02, 0.15, 4) * bump(face.y, 0.06, 0.06) * face.front
    colour = mix(colour, h["shadow_colour"], h["eye_shadow"] * lid)

    brow_lines = bump(sine(34 * (face.y + 0.06 * face.x**2)), 0, 0.35)
    brow_lines *= bump(face.y, 0.48, 0.12) * (face.m < 0.4)
    folds = bump(face.m, 0.20 + 0.35 * (-0.35 - face.y), 0.014)
    folds *= smooth(-0.34, -0.38, face.y) * smooth(-0.64, -0.58, face.y)
    feet = bump(sine(30 * (face.y - 0.3 * face.m)), 0, 0.4)
    feet *= bump(face.m, 0.53, 0.05) * bump(face.y, 0, 0.09)
    aged = 0.22 * brow_lines + 0.25 * feet
    lines = h["wrinkles"] * aged + jnp.maximum(h["wrinkles"], 0.8 * h["grin"]) * 0.45 * folds
    colour = scaled(colour, 1 - lines * face.front)

    cheeks = 0.5 * jnp.clip(face.m - 0.45, 0, 1)
    zone = smooth(-0.28, -0.45, face.y - cheeks) * smooth(0.02, 0.15, face.z + 0.25 * face.m)
    around_lips = bump(face.m, 0, 0.2) * bump(face.y, -0.5, 0.07)
    beard = zone * (1 - around_lips * (1 - h["moustache"]))
    moustache = bump(face.x, 0, 0.26, 4) * bump(face.y, -0.49, 0.07, 4) * face.front
    hairs = 0.75 + 0.25 * sine(90 * face.x + 12 * noise(p, seed, 8) + 35 * face.y)
    cover = jnp.maximum(beard, moustache * h["moustache"]) * h["beard"]
    colour = mix(colour, h["brow_colour"], jnp.clip(cover, 0, 0.92) * hairs)

    # Hair thins out over the skin instead of ending at a line.
    roots = jnp.exp(-jnp.maximum(d["hair"], 0) / 0.035) * smooth(-0.3, 0.6, noise(p, seed, 40, 2))
    colour = mix(colour, h["hair_colour"], 0.8 * roots * (face.y > -0.3))
    gloss = h["shine"] * (1 - 0.7 * jnp.clip(cover, 0, 1))
    return Surface(jnp.full(face.x.shape, CLASS["skin"]), colour, gloss)


def _brows(s: Surface, face, left, h) -> Surface:
    u = (face.m - h["eye_apart"] - 0.03) / h["brow_width"]
    middle = 0.120 + h["brow_raise"] + h["brow_arch"] * (1 - (u - 0.05) ** 2)
    middle += 0.1 * h["eye_slant"] * u
    half = h["brow_thick"] * (1.15 - 0.5 * jnp.clip(u, -1, 1)) * jnp.clip(1 - u**4, 0, 1)
    off = face.y - middle
    inside = (jnp.abs(u) < 1) & (jnp.abs(off) < half) & face.front
    strands = 0.8 + 0.35 * sine(120 * face.m - 60 * off)
    cover = bump(off, 0, 1.15 * half + 1e-3, 4) * (jnp.abs(u) < 1.05) * face.front
    label = jnp.where(left, CLASS["l_brow"], CLASS["r_brow"])
    return Surface(
        jnp.where(inside, label, s.label),
        mix(s.albedo, tuple(c * strands for c in h["brow_colour"]), h["brow_dense"] * cover),
        s.gloss,
    )


def _nose(s: Surface, face, h) -> Surface:
    length = h["nose_length"]
    along = jnp.clip((0.06 - face.y) / (length + 0.06), 0, 1)
    half = 0.078 + 0.115 * along**2.4 + 0.02 * smooth(0.75, 0.9, along)
    half = half * h["nose_width"] / 0.115
    low = -length - 0.075 + 0.15 * face.m + 5 * jnp.maximum(face.m - 0.06, 0) ** 2
    inside = (face.m < half) & (face.y < 0.045) & (face.y > low)
    holes = bump(face.m, 0.058, 0.026) * bump(face.y, -length - 0.045, 0.018) * (face.z > 0.55)
    return Surface(
        jnp.where(inside & (face.z > 0.5), CLASS["nose"], s.label),
        scaled(s.albedo, 1 - 0.7 * holes),
        s.gloss,
    )


def _mouth(s: Surface, face, h) -> Surface:
    width = h["mouth_width"]
    line, gap = seam(face.x, h), opening(face.x, h)
    taper = jnp.clip(1 - (face.x / width) ** 2, 0, 1)
    is_open = gap > 0.02
    bow = 1 - 0.28 * bump(face.x, 0, 0.035)
    top = line + 1.25 * h["upper_lip"] * taper**0.75 * bow
    upper_edge = line - 0.25 * gap * is_open
    lower_edge = line - gap * is_open
    bottom = lower_edge - 1.35 * h["lower_lip"] * taper**0.6
    here = (face.m < width) & (face.z > 0.35)
    upper = here & (face.y <= top) & (face.y > upper_edge)
    inner = here & (face.y <= upper_edge) & (face.y > lower_edge) & is_open
    lower = here & (face.y <= lower_edge) & (face.y > bottom)

    lips = tuple(c * (1 + 0.08 * sine(70 * face.x)) for c in h["lip_colour"])
    albedo = choose(upper | lower, lips, s.albedo)
    closed = bump(face.y, line, 0.010) * here * ~is_open * jnp.clip(3 * taper, 0, 1)
    albedo = scaled(albedo, 1 - 0.75 * closed)
    # Light hardly reaches into the geometry's gap, so the teeth are painted brighter than white.
    tooth = 1.25 + 0.15 * jnp.abs(sine(45 * face.x)) - 0.5 * jnp.clip(face.m / width, 0, 1)
    teeth = (face.y > upper_edge - h["teeth"]) & (face.m < 0.8 * width)
    inside = choose(teeth, (tooth, 0.95 * tooth, 0.87 * tooth), (0.09, 0.018, 0.018))
    albedo = choose(inner, inside, albedo)
    label = jnp.where(inner, CLASS["mouth"], s.label)
    label = jnp.where(upper, CLASS["u_lip"], jnp.where(lower, CLASS["l_lip"], label))
    return Surface(label, albedo, jnp.where(upper | lower, 0.25, s.gloss))


def _eyes(s: Surface, face, left, h) -> Surface:
    apart, opened = h["eye_apart"], h["eye_open"]
    u = (face.m - apart) / h["eye_width"]
    v = face.y - 0.15 * h["eye_slant"] * u
    arch = jnp.clip(1 - u * u, 0, 1) ** 0.6
    upper, lower = opened * arch * (1 - 0.15 * u), -0.62 * opened * arch
    front = face.z > 0.35
    inside = (jnp.abs(u) < 1) & (v < upper) & (v > lower) & front

    gx = face.x - jnp.sign(face.x) * apart - h["gaze"][0]
    gy = face.y - 0.004 - h["gaze"][1]
    radius = jnp.sqrt(gx * gx + gy * gy + 1e-9)
    rays = 1 + 0.25 * sine(26 * jnp.arctan2(gy, gx))
    ring = jnp.where(radius > 0.049, 0.5, 0.6 + 0.8 * radius / 0.058)
    iris = tuple(c * ring * rays for c in h["iris"])
    eye = choose(radius < 0.058, iris, (0.50, 0.46, 0.44))
    eye = choose(radius < 0.023, (0.004, 0.004, 0.004), eye)
    eye = scaled(eye, 0.40 + 0.60 * smooth(0, 0.055, upper - v))  # the lid's shadow
    eye = mix(eye, (0.45, 0.18, 0.16), 0.6 * bump(u, -0.95, 0.1))  # tear duct
    glint = bump(gx, -0.02, 0.010) * bump(gy, 0.02, 0.010)
    eye = tuple(c + 0.7 * glint for c in eye)

    near = (jnp.abs(u) < 1.05) & front & ~inside
    lashes = (
        (0.4 + 0.55 * h["liner"]) * bump(v, upper + 0.006, 0.007 + 0.009 * h["liner"]) * arch**0.3
    )
    lashes = jnp.maximum(lashes, 0.5 * bump(v, lower - 0.005, 0.008))
    crease = 0.35 * bump(v, upper + 0.045, 0.010)
    albedo = scaled(s.albedo, 1 - jnp.maximum(lashes, crease) * near)
    label = jnp.where(left, CLASS["l_eye"], CLASS["r_eye"])
    return Surface(
        jnp.where(inside, label, s.label),
        choose(inside, eye, albedo),
        jnp.where(inside, 0.6, s.gloss),
    )


def _lens(s: Surface, p, ray, h) -> Surface:
    """The lenses of glasses: the label is theirs, while colour and depth are of what is behind."""
    x, y, z = p
    back = (0.79 - 0.25 * x * x - z) / jnp.minimum(ray[2], -0.2)
    x, y = x + back * ray[0], y + back * ray[1]
    inside = (lens_edge(jnp.abs(x), y, h) < 0) & (z > 0.3) & (h["glasses"] > 0)
    albedo = mix(s.albedo, h["lens_colour"], h["lens_tint"])
    glare = h["lens_glare"] * smooth(0.25, 0.6, sine(7 * x + 9 * y + h["texture"][0]))
    albedo = mix(albedo, (0.9, 0.95, 1.0), glare)
    return Surface(
        jnp.where(inside, CLASS["eye_g"], s.label),
        choose(inside, albedo, s.albedo),
        jnp.where(inside, 0.5, s.gloss),
        inside,
    )


def _things(s: Surface, d, p, body, ray, left, h) -> Surface:
    """Neck, ears, hair and everything worn, each where it is the nearest."""
    skin, seed = h["skin"], h["texture"]
    x, y, z = p
    red = (skin[0] * 0.96, skin[1] * 0.80, skin[2] * 0.78)
    bare = jnp.minimum(jnp.minimum(d["head"], d["ear"]), d["neck"])
    worn = {k: d[k] for k in ("hair", "cloth", "hat", "glasses", "earring", "necklace", "held")}
    outermost = jnp.minimum(bare, jnp.min(jnp.stack(list(worn.values())), axis=0))

    def put(s, where, label, colour, gloss):
        albedo = choose(where, colour, s.albedo)
        label = jnp.where(where, label, s.label)
        return Surface(label, albedo, jnp.where(where, gloss, s.gloss), s.lens & ~where)

    s = _lens(s, p, ray, h)
    grain = 1 + 0.05 * noise(p, seed, 9)
    s = put(s, d["neck"] < d["head"], CLASS["neck"], scaled(skin, 0.97 * grain), 0.06)
    is_ear = (d["ear"] < d["head"] - 0.004) & (d["ear"] < d["neck"])
    s = put(s, is_ear, jnp.where(left, CLASS["l_ear"], CLASS["r_ear"]), red, 0.08)

    angle = jnp.arctan2(x, z + 0.2)
    falling = 80 * angle + 5 * noise((x, 0.6 * y, z), seed, 2)
    growing = 65 * angle + 25 * y + 7 * noise(p, seed, 3)
    flow = jnp.where(h["hair_length"] > 0, falling, growing)
    strands = 0.64 + 0.14 * sine(flow) + 0.12 * sine(2.7 * flow + 3 * noise(p, seed, 9))
    strands += 0.10 * noise(p, seed, 57, 2) + 0.22 * noise((x, 0.3 * y, z), seed, 7)
    curls = 0.7 + 0.5 * noise(p, seed, 16)
    strands = jnp.clip(strands + h["curl"] * (curls - strands), 0.2, 1.5)

    bx, by, _ = body
    stripes = jnp.where(h["cloth_pattern"] < 1.5, sine(26 * by) > 0, False)
    checks = (sine(20 * bx) > 0.6) | (sine(20 * by) > 0.6)
    second = jnp.where(h["cloth_pattern"] < 1.5, stripes, checks) & (h["cloth_pattern"] > 0.5)
    weave = 1 + 0.06 * noise(body, seed, 50, 2) + 0.12 * noise(body, seed, 5, 2)
    cloth = choose(second, h["cloth_second"], h["cloth_colour"])
    low = neckline(body, h) - lowered(body, h)[1]
    lapel = (jnp.abs(bx) < h["lapel"] * (1 - low / 1.2)) & (body[2] > -0.3)
    cloth = tuple(c * weave for c in choose(lapel, h["lapel_colour"], cloth))
    knit = 1 + 0.12 * sine(60 * angle) * (h["hat"] < 1.5)

    paints = {
        "hair": ("hair", tuple(c * strands for c in h["hair_colour"]), h["hair_gloss"]),
        "cloth": ("cloth", cloth, 0.03),
        "hat": ("hat", tuple(c * knit for c in h["hat_colour"]), 0.05),
        "glasses": ("eye_g", tuple(h["frame_colour"]), 0.6),
        "earring": ("ear_r", tuple(h["metal"]), 1.0),
        "necklace": ("neck_l", tuple(h["metal"]), 1.0),
        "held": (
            "background",
            tuple(c * (1 + 0.05 * noise(p, seed, 20)) for c in h["held_colour"]),
            0.1,
        ),
    }
    for part, (name, colour, gloss) in paints.items():
        where = (worn[part] <= outermost) & (worn[part] < bare)
        s = put(s, where, CLASS[name], colour, gloss)
    return s
