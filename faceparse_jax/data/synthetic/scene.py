"""The parts of a head in one world: their distances, and the frames of head and body."""

import jax.numpy as jnp
import numpy as np

from faceparse_jax.data.synthetic import body, worn
from faceparse_jax.data.synthetic.shapes import Point, if_there, join

_PIVOT = np.float32([0.0, -0.9, -0.35])  # about which the head turns
_NECK_TOP = np.float32([0.0, -0.45, -0.22])


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
    below = body.neck(body_point, neck_top, h)
    bone = body.head(head_point, h)
    distances = {
        "head": jnp.minimum(bone, body.eyeballs(head_point, h)),
        "ear": body.ears(head_point, h),
        "neck": below,
        "hair": if_there(h["hair"] > 0, worn.hair, head_point, bone, h),
        "cloth": worn.cloth(body_point, below, h),
        "hat": if_there(h["hat"] > 0, worn.hat, head_point, h),
        "glasses": if_there(h["glasses"] > 0, worn.glasses, head_point, h),
        "earring": if_there(h["earrings"] > 0, worn.earrings, head_point, h),
        "necklace": if_there(h["necklace"] > 0, worn.necklace, body_point, below, h),
        "held": if_there(h["held"] > 0, worn.held, p, h),
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
