"""From a face mesh to a depth map: triangles, rasterised, and the rest of the head.

Depth is in pixels of the photograph, larger = farther, NaN where there is none.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8, UInt16
from scipy import ndimage

from faceparse_jax.images.depth import FAR, NEAR

_SEAM = 0.1
"""Width of the blend between mesh and head, as a share of the mesh's width."""


def triangles(edges: Iterable[tuple[int, int]]) -> Int[np.ndarray, "t 3"]:
    """The triangles of a surface that is given by its edges, such as MediaPipe's.

    Three vertices that are neighbours are a triangle, but for those that enclose others:
    all three of their edges have a triangle on either side without them.
    """
    neighbours: dict[int, set[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    found = sorted(
        (a, b, c)
        for a in neighbours
        for b in neighbours[a]
        for c in neighbours[a] & neighbours[b]
        if a < b < c
    )
    sides: dict[tuple[int, int], int] = {}
    for corners in found:
        for edge in itertools.combinations(corners, 2):
            sides[edge] = sides.get(edge, 0) + 1
    kept = [t for t in found if min(sides[e] for e in itertools.combinations(t, 2)) <= 2]
    return np.array(kept)


def ring(edges: Iterable[tuple[int, int]]) -> list[int]:
    """The vertices of a closed outline in their order."""
    neighbours: dict[int, list[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    first = min(neighbours)
    found, last = [first], None
    while True:
        step = next(n for n in neighbours[found[-1]] if n != last)
        if step == first:
            return found
        last = found[-1]
        found.append(step)


def fan(outline: Sequence[int]) -> Int[np.ndarray, "t 3"]:
    """Triangles that fill an outline, such as the eyes' holes in a mesh."""
    return np.array([(outline[0], b, c) for b, c in itertools.pairwise(outline[1:])])


def rasterise(
    vertices: Float[np.ndarray, "v 3"],
    corners: Int[np.ndarray, "t 3"],
    shape: tuple[int, int],
) -> Float[np.ndarray, "h w"]:
    """Depth of the nearest triangle at the middle of each pixel.

    Args:
        vertices: x and y in pixels, the middle of the first at 0.5, and depth.
        corners: vertices of each triangle.
        shape: height and width.
    """
    depth = np.full(shape, np.inf)
    for a, b, c in vertices[corners]:
        low = np.maximum(np.floor(np.minimum(np.minimum(a, b), c)[:2] - 0.5), 0).astype(int)
        high = np.ceil(np.maximum(np.maximum(a, b), c)[:2] + 0.5).astype(int)
        right, bottom = np.minimum(high, (shape[1], shape[0]))
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if area == 0 or low[0] >= right or low[1] >= bottom:
            continue
        x, y = np.meshgrid(np.arange(low[0], right) + 0.5, np.arange(low[1], bottom) + 0.5)
        # Barycentric coordinates: shares of the area on the other side of each corner.
        u = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
        v = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        inside = (u >= 0) & (v >= 0) & (u + v <= 1)
        plane = a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2])
        window = depth[low[1] : bottom, low[0] : right]
        np.minimum(window, np.where(inside, plane, np.inf), out=window)
    return np.where(np.isfinite(depth), depth, np.nan)


def extend(
    face: Float[np.ndarray, "h w"], head: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w"]:
    """The face's depth, carried on over the rest of the head and cut by its outline.

    A quadric in x and y is fitted to the face and bent away from the viewer at its sides; it
    ends where it is half the face's width behind the farthest point of the mesh, as a head
    is about as deep as wide. At the seam it takes over the mesh's depth.

    Args:
        face: depth of the mesh, NaN beyond it.
        head: where the map shall have depth.
    """
    there = np.isfinite(face)
    y, x = np.nonzero(there)
    wide = np.ptp(x) + 1.0
    middle = np.array([y.mean(), x.mean()])

    def terms(rows, columns):
        v, u = (rows - middle[0]) / wide, (columns - middle[1]) / wide
        return np.stack([np.ones_like(u), u, v, u * u, v * v], axis=-1)

    weights, *_ = np.linalg.lstsq(terms(y, x), face[there], rcond=None)
    # A ball as wide as the face and a fifth more bends by x^2 / (2 radius); a head is taller.
    weights[3:] = np.maximum(weights[3:], (wide / 1.2, wide / 2))
    rows, columns = np.indices(face.shape, np.float64)
    surface = terms(rows, columns) @ weights
    distance, (near_y, near_x) = ndimage.distance_transform_edt(~there, return_indices=True)
    # Smoothed, or the edge of the mesh would be drawn out in rays.
    offset = ndimage.gaussian_filter((face - surface)[near_y, near_x], _SEAM / 3 * wide)
    offset = offset * np.exp(-distance / (_SEAM * wide))
    surface = np.minimum(surface + offset, np.nanmax(face) + 0.5 * wide)
    return np.where(head, np.where(there, face, surface), np.nan)


def to_grey(
    depth: Float[np.ndarray, "h w"], bits: int = 8
) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """Nearest to `NEAR`, farthest to `FAR`, none to 0; with 16 bits 257 times that."""
    near, far = np.nanmin(depth), np.nanmax(depth)
    share = (depth - near) / max(far - near, 1e-9)
    grey = (NEAR + (FAR - NEAR) * share) * (1 if bits == 8 else 257)
    return np.where(np.isfinite(grey), np.rint(grey), 0).astype(f"uint{bits}")
