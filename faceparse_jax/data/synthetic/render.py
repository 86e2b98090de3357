"""One geometry to image, depth and label: sphere tracing and light.

Rays are traced coarsely first, then from just before the coarse hit; shadows and
occlusion, which vary slowly, stay coarse. Everything is a pure function of the head's
parameters and the size, compiled once for each size.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from faceparse_jax.data.synthetic import scene
from faceparse_jax.data.synthetic.camera import background, photograph
from faceparse_jax.data.synthetic.draws import Head
from faceparse_jax.data.synthetic.identity import sample_head
from faceparse_jax.data.synthetic.paint import CLASS, paint
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ

SIZES = (64, 512)
"""Smallest and largest side in pixels."""

_NEAR, _BEHIND = 1.9, -1.6  # z between which there is anything, in half head heights
_COARSE = 4  # pixels to a coarse ray, each way
_COARSE_STEPS, _FINE_STEPS, _LAST_STEPS = 36, 12, 9
_MARGIN = 0.10  # fine rays start this far before the coarse hits around them
_TOUCH = 0.03  # a ray that is farther than this from every surface has passed by
_DEPTH_RANGE = (-1.25, 1.10)  # distance from the head's middle that depth 1 and 255 stand for
_SOFT = np.array([CLASS[c] for c in ("skin", "nose", "neck", "l_ear", "r_ear")])


def render_head(key: int, size: int) -> dict[str, UInt8[np.ndarray, "{size} {size} _"]]:
    """A head as image, depth and label, the same for the same key and size.

    Args:
        key: a non-negative integer; it draws the whole person, pose, light and picture.
        size: side of the square picture in pixels, 64 to 512, divisible by 4.

    Returns:
        ``image`` [s s 3]; ``depth`` [s s 1], 0 = none, 1 (near) to 255 (far), on the
        classes that `labels.CELEBAMASK_HQ.depth_classes` names but an open mouth, also where
        they are seen through a clear lens;
        ``label`` [s s 1], CelebAMask-HQ's ids. Where sunglasses, frames, a hat, an
        earring or a hand cover the head there is no depth.

    Raises:
        InputError: a size or a key that is not possible.
    """
    check_size(size)
    if key < 0:
        raise InputError("key of a synthetic head", f"{key}", "at least 0", "choose another key")
    image, depth, label = jax.device_get(_compiled(size)(sample_head(key)))
    return {"image": image, "depth": depth[..., None], "label": label[..., None]}


def check_size(size: int, what: str = "size of a synthetic head") -> None:
    """Raises InputError, which names `what`, for a size that is not possible."""
    low, high = SIZES
    if not low <= size <= high or size % _COARSE:
        raise InputError(
            what, f"{size}", f"{low} to {high} and divisible by {_COARSE}", "choose for example 128"
        )


@functools.cache
def _compiled(size: int):
    return jax.jit(functools.partial(render, size=size))


def _rays(h: Head, size: int):
    """Origin and directions of one ray a pixel, such that the eyes are seen at ``eyes_at``."""
    c = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size * 2 - 1
    across, down = jnp.meshgrid(c, c)
    direction = (across * h["frame_half"], -down * h["frame_half"], -h["distance"])
    length = jnp.sqrt(sum(a * a for a in direction))
    eyes = scene.eyes_in_world(h)
    aside = h["eyes_at"] * h["frame_half"] * (1 - eyes[2] / h["distance"])
    origin = (eyes[0] - aside[0], eyes[1] - aside[1], h["distance"])
    return origin, tuple(a / length for a in direction)


def _at(origin, direction, t):
    return tuple(o + t * d for o, d in zip(origin, direction, strict=True))


def _near_plane(h, direction):
    return (_NEAR - h["distance"]) / direction[2]


def _coarse_hits(h, size: int):
    """Distance along each coarse ray to the scene, or beyond the far plane."""
    origin, direction = _rays(h, size)
    end = (_BEHIND - h["distance"]) / direction[2] + 1

    def step(_, t):
        return jnp.minimum(t + 0.95 * scene.scene(_at(origin, direction, t), h), end)

    t = jax.lax.fori_loop(0, _COARSE_STEPS, step, _near_plane(h, direction))
    return t, _at(origin, direction, t)


def _around(t, reduce, first):
    """Least or largest distance of a coarse ray and its neighbours, for every fine ray."""
    around = jax.lax.reduce_window(t, first, reduce, (3, 3), (1, 1), "SAME")
    return jnp.repeat(jnp.repeat(around, _COARSE, 0), _COARSE, 1) - _MARGIN


def _fine_hits(h, size: int, coarse):
    """Points where the rays end, and their directions.

    A ray starts before the nearest surface around it. One that has passed an edge after
    the first steps goes on from the farthest surface around it.
    """
    origin, direction = _rays(h, size)
    near = _around(coarse, jax.lax.min, jnp.inf)
    far = _around(coarse, jax.lax.max, -jnp.inf)

    def step(i, t):
        d = scene.scene(_at(origin, direction, t), h)
        passed = (i == _FINE_STEPS) & (d > _TOUCH)
        return jnp.where(passed, jnp.maximum(t, far), t + 0.95 * d)

    t = jax.lax.fori_loop(0, _FINE_STEPS + 1 + _LAST_STEPS, step, near)
    return _at(origin, direction, t), direction


def _enlarged(x, size: int):
    return jax.image.resize(x, (size, size), "linear")


def _probe(p, offsets, h):
    """Distances of the scene at points moved by each offset [n 3] of scalars or pictures."""
    return jax.lax.map(
        lambda o: scene.scene(tuple(a + b for a, b in zip(p, o, strict=True)), h), offsets
    )


def _normal(p, h, width: float):
    """Direction of the steepest rise of the distance, from four taps."""
    taps = np.float32([(1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)])
    offsets = tuple(jnp.asarray(width * taps[:, i]) for i in range(3))
    values = _probe(p, offsets, h)
    raw = [
        sum(float(tap[i]) * value for tap, value in zip(taps, values, strict=True))
        for i in range(3)
    ]
    length = jnp.sqrt(sum(a * a for a in raw) + 1e-12)
    return tuple(a / length for a in raw)


def render(h: Head, size: int):
    """A head as image u8 [s s 3], depth u8 [s s] and label u8 [s s]; see `render_head`.

    A pure function, which may be jitted and mapped over heads.

    Args:
        h: what `identity.sample_head` draws.
        size: side in pixels, which `check_size` allows.
    """
    coarse, coarse_points = _coarse_hits(h, size // _COARSE)
    shade, occlusion = _coarse_light(coarse_points, h)
    p, direction = _fine_hits(h, size, coarse)
    normal = _normal(p, h, 0.006)
    distances, in_head, in_body = scene.parts(p, h)
    hit = scene.nearest(distances) < _TOUCH
    to_head = scene.rotation(h["yaw"], h["pitch"], h["roll"])
    ray = tuple(sum(to_head[j, i] * direction[j] for j in range(3)) for i in range(3))
    shade, occlusion = _enlarged(shade, size), _enlarged(occlusion, size)

    def painted():
        return paint(distances, in_head, in_body, ray, h)

    def lit():
        return jnp.stack(_lit(surface, normal, direction, shade, occlusion, h), -1)

    surface = _kept(hit, painted)
    colour = _kept(hit, lit)
    image = jnp.where(hit[..., None], colour, jnp.stack(background(h, size), -1))
    label = jnp.where(hit, surface.label, 0)

    of_head = jnp.isin(label, np.array(CELEBAMASK_HQ.depth_classes)) & (label != CLASS["mouth"])
    has_depth = of_head | (surface.lens & hit)
    low, high = _DEPTH_RANGE
    scale = (-p[2] - low) / (high - low)
    depth = jnp.clip(jnp.round(1 + 254 * scale), 1, 255)
    return (
        photograph(image, h, size),
        jnp.where(has_depth, depth, 0).astype(jnp.uint8),
        label.astype(jnp.uint8),
    )


def _kept(hit, make):
    """What `make` gives where anything is hit, stored at once.

    Without the condition XLA computes it anew on a CPU for each of its later uses.
    """

    def nothing():
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(make))

    return jax.lax.cond(hit.any(), make, nothing)


def _coarse_light(p, h):
    """How much of the lamp and of the surroundings reaches each coarse point, 0..1."""
    normal = _normal(p, h, 0.02)
    reach = np.float32([0.12, 0.30])
    steps = np.float32([0.06, 0.14, 0.28, 0.5, 0.8])

    def offsets(i):
        outward = [r * normal[i] for r in reach]
        return jnp.stack(outward + [0.03 * normal[i] + s * h["light"][i] for s in steps])

    probed = _probe(p, tuple(offsets(i) for i in range(3)), h)
    near, wide = probed[:2]
    occlusion = jnp.clip(0.45 * near / reach[0] + 0.55 * wide / reach[1], 0, 1)
    clear = jnp.min(0.5 + h["light_hard"] * probed[2:] / steps[:, None, None], axis=0)
    return jnp.clip(clear, 0, 1), occlusion


def _lit(surface, normal, direction, shade, occlusion, h):
    """Lamp and surroundings on the painted surface, linear RGB."""
    toward = sum(n * h["light"][i] for i, n in enumerate(normal))
    view = tuple(-a for a in direction)
    half = tuple(v + h["light"][i] for i, v in enumerate(view))
    length = jnp.sqrt(sum(a * a for a in half))
    glance = jnp.clip(sum(n * a for n, a in zip(normal, half, strict=True)) / length, 0, 1)
    shine = surface.gloss * (0.35 * glance**24 + 0.10 * glance**6)
    grazing = jnp.clip(sum(n * v for n, v in zip(normal, view, strict=True)), 0, 1)
    shine = shine * shade + 0.036 * surface.gloss * (1 - grazing) ** 3
    soft = jnp.isin(surface.label, _SOFT)
    behind = sum(n * h["rim"][i] for i, n in enumerate(normal))
    sky = 0.65 + 0.35 * normal[1]
    colours = []
    for i, albedo in enumerate(surface.albedo):
        # Light that scatters in skin reddens the edge of the shade.
        wrap = jnp.where(soft, 0.45, 0.25) if i == 0 else 0.25
        lamp = h["light_colour"][i] * jnp.clip((toward + wrap) / (1 + wrap), 0, 1) * shade
        rim = h["rim_colour"][i] * jnp.clip(behind, 0, 1) * occlusion
        room = h["ambient"] * h["ambient_colour"][i] * sky * (0.35 + 0.65 * occlusion)
        colours.append(albedo * (0.55 * (lamp + rim) + room) + 0.6 * shine * h["light_colour"][i])
    return colours
