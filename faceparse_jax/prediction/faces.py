"""Where the faces of a photograph lie: the RGB parser looks for their parts.

It is trained on faces that fill a square in one way: eyes, nose and mouth are where a portrait of
CelebAMask-HQ has them. So the whole picture and squares of half its side are parsed first, in any
of which a face may show. From the parts of each face follows the square in which it would lie as
in training (a fit of a similarity by least squares), which is parsed again, twice, and once from
farther away. What still looks like a face is one. Where there is none, squares that might hold
one are turned, and at last the whole picture is, and squares of a quarter of its side are parsed.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from faceparse_jax.labels import HELEN, Scheme, conversion
from faceparse_jax.prediction.squares import Square

Look = Callable[[Sequence[UInt8[np.ndarray, "s s 3"]]], Float32[np.ndarray, "n s s k"]]
"""Parses squares: probabilities of each class."""

# Centre (in sides, from the centre of the square) and share of the square of each part, in the
# 900 training labels of CelebAMask-HQ that results.md describes. An eye is at one place to a
# hundredth.
_PARTS: Mapping[str, tuple[tuple[str, ...], complex, float]] = {
    # Glasses hide the eyes and stand for both, where they have a class of their own.
    "glasses": (("eye_g",), -0.002 - 0.019j, 0.0561),
    "left eye": (("left_eye",), -0.122 - 0.022j, 0.0022),
    "right eye": (("right_eye",), 0.120 - 0.022j, 0.0022),
    "left brow": (("left_eyebrow",), -0.130 - 0.086j, 0.0041),
    "right brow": (("right_eyebrow",), 0.126 - 0.086j, 0.0041),
    "nose": (("nose",), -0.002 + 0.077j, 0.0204),
    "mouth": (("upper_lip", "inner_mouth", "lower_lip"), -0.001 + 0.250j, 0.0130),
}
_SEEN = (
    ("left eye", "left brow", "glasses"),
    ("right eye", "right brow", "glasses"),
    ("nose",),
    ("mouth",),
)
"""Of each of these one must be seen; an eye may be behind hair or glasses, a brow under a hat."""
_CLASSES = (*HELEN.classes, "eye_g")
_FACE = tuple(_CLASSES.index(name) for name in _CLASSES if name not in ("background", "hair"))
_SHARE = 0.30
"""What a face covers of its square."""
_OVAL = (0.08, 0.17, 0.22)
"""Centre below that of the square, and half axes, of an oval that lies in every face."""
_MISFIT = 0.06
"""Parts that are so far from their places, in sides, make a face less likely by 1/e."""

LEAST = 0.4
"""A square with a lower score is no face."""
_SURE = 0.5
"""From this score on a square holds a face, it seems."""
_KEPT = (0.2, 0.4)
"""Scores that the first and the second look at a square must give."""
_ANGLES = 8
_TRIES = (12, 4)
"""So many squares in which there might be a face are looked at more closely, and at each angle."""
_FARTHER = 1.4
"""From so much farther away a face must still be one."""
_AS_TRAINED = (0.25, 0.08, math.radians(10))
"""A face whose square differs from the picture's by less than this, in its side, in its place and
in its angle, is parsed with the whole picture."""
_SMALL = 0.35
"""Where several faces are found and one has a square smaller than this share of the picture's side,
there may be more of that size, and smaller squares are parsed as well."""
MOST = 64
"""Faces of one photograph, at most."""


@dataclasses.dataclass(frozen=True)
class Face:
    """A face of a photograph.

    Attributes:
        square: in which it lies as the networks expect it.
        score: from 0 to 1; None where the square was given.
    """

    square: Square
    score: float | None = None


def to_parts(scheme: Scheme) -> np.ndarray | None:
    """What each class is a part of, in `_CLASSES`; None where faces cannot be found by classes."""
    if not conversion.exists(scheme, HELEN):
        return None
    glasses = np.array([name == "eye_g" for name in scheme.classes])
    return np.where(glasses, _CLASSES.index("eye_g"), conversion.class_table(scheme, HELEN))


def of_face(parts: np.ndarray | None, classes: int) -> Bool[np.ndarray, " k"]:
    """Which classes are those of a face's parts; none where they are not known."""
    return np.zeros(classes, bool) if parts is None else np.isin(parts, _FACE)


def find_faces(
    look: Look, photo: UInt8[np.ndarray, "h w 3"], size: int, parts: np.ndarray
) -> list[Face] | None:
    """The faces of a photograph, the likeliest first; None for one that fills it as in training.

    Args:
        look: parses squares with the RGB parser.
        size: of the squares, in pixels.
        parts: as `to_parts` gives them.
    """

    def parsed(squares: Sequence[Square]) -> Iterator[tuple[Square, *_Seen]]:
        if squares:
            answers = look([square.image(photo, size) for square in squares])
            for square, answer in zip(squares, answers, strict=True):
                yield square, *_seen(answer, parts)

    def candidates(squares: Sequence[Square]) -> list[Face]:
        return [face for seen in parsed(squares) for face in _candidates(*seen)]

    def settled(squares: Sequence[Square]) -> list[Face]:
        """The faces to which these squares lead."""
        found: list[Face] = []
        for least in _KEPT:
            fits = [_fitted(*seen) for seen in parsed(squares)]
            found = _apart([face for face in fits if face and face.score > least])
            squares = [face.square for face in found]
        farther = parsed([square.grown(_FARTHER) for square in squares])
        again = [_fitted(*seen, region=own) for seen in farther]
        scores = [face.score if face else 0.0 for face in again]
        pairs = zip(found, scores, strict=True)
        lower = [dataclasses.replace(face, score=min(face.score, score)) for face, score in pairs]
        return _apart([face for face in lower if face.score > LEAST])

    shape = photo.shape[:2]
    own = np.abs(_places(size)) < 0.5 / _FARTHER  # others stand beside a face
    (whole,) = _windows(shape, 1)
    seen = candidates([whole])
    if len(seen) == 1 and lies_as_trained(seen[0], whole):
        return None
    seen = _apart(seen + candidates(_windows(shape, 2)))
    turns = [2 * math.pi * step / _ANGLES for step in range(1, _ANGLES)]
    upright, doubtful = _first_and_next(seen)
    faces = settled(upright)
    if not faces:
        faces = settled([square.turned(turn) for square in doubtful for turn in turns])
    if not faces:
        turned = [whole.turned(turn) for turn in turns]
        again = candidates([*turned, *_windows(shape, 4)])
        faces = settled(_first_and_next(_apart(again))[0])
    elif len(faces) > 1 and min(face.square.side for face in faces) < _SMALL * whole.side:
        more = _apart(candidates(_windows(shape, 4)))
        new = [face for face in more if not any(_same(face, one) for one in faces)]
        faces = _apart(faces + settled(_first_and_next(new)[0]))
    if len(faces) == 1 and lies_as_trained(faces[0], whole):
        return None
    return faces[:MOST]


def _first_and_next(seen: Sequence[Face]) -> tuple[list[Square], list[Square]]:
    """Squares that are worth a closer look, and those that may stand at another angle."""
    sure = [face.square for face in seen if face.score > _SURE][:MOST]
    doubtful = [face.square.grown(1.3) for face in seen if face.score <= _SURE]
    upright, turned = _TRIES
    return sure + doubtful[:upright], sure[:turned] + doubtful[:turned]


_Seen = tuple[UInt8[np.ndarray, "s s"], Float32[np.ndarray, "s s"]]
"""What each pixel of a square is (of `_CLASSES`), and the probability that it is a face's."""


def _seen(probabilities: Float32[np.ndarray, "s s k"], parts: np.ndarray) -> _Seen:
    face = probabilities[..., of_face(parts, len(parts))].sum(-1)
    return parts[probabilities.argmax(-1)].astype(np.uint8), face


def _windows(shape: tuple[int, int], parts: int) -> list[Square]:
    """Squares of a part of the picture's longer side, which overlap by half and cover it."""
    height, width = shape
    side = max(shape) / parts

    def centres(length):
        steps = max(math.ceil((length - side) / (side / 2)), 0) + 1
        return np.linspace(side / 2, length - side / 2, steps) if steps > 1 else [length / 2]

    return [Square(x, y, side) for y in centres(height) for x in centres(width)]


def _candidates(square: Square, label, face) -> Iterator[Face]:
    """What might be a face: each patch of it, by its parts, else by its size alone."""
    size = len(label)
    patches, _ = ndimage.label(np.isin(label, _FACE))
    for number, (rows, columns) in enumerate(ndimage.find_objects(patches), 1):
        patch = patches[rows, columns] == number
        area = patch.sum() / size**2
        if area < 0.002:
            continue
        region = np.zeros(label.shape, bool)
        region[rows, columns] = ndimage.binary_fill_holes(patch)
        region = ndimage.binary_dilation(region, iterations=2)
        ys, xs = np.nonzero(region)
        side = math.sqrt(area / _SHARE)
        x, y = ((of.mean() + 0.5) / size - 0.5 for of in (xs, ys))
        side = min(side, 1.0)
        by_size = Square(*square.point(x, y - 0.05 * side), side * square.side, square.angle)
        by_parts = _fitted(square, label, face, region)
        if by_parts and 0.4 < by_parts.square.side / by_size.side < 2.5:
            yield by_parts
        else:
            yield Face(by_size, 0.0)


def _fitted(
    square: Square,
    label: UInt8[np.ndarray, "s s"],
    face: Float32[np.ndarray, "s s"],
    region: Bool[np.ndarray, "s s"] | None = None,
) -> Face | None:
    """The face whose parts a square shows, in the square in which they lie as in training.

    Args:
        label: of `_CLASSES`.
        face: probability that a pixel is a face's.
        region: where its parts are looked for; else in the circle that the square holds.
    """
    size = len(label)
    places = _places(size)
    if region is None:
        region = np.abs(places) < 0.5
    found = {}
    for name, (classes, place, share) in _PARTS.items():
        pixels = region & np.isin(label, [_CLASSES.index(of) for of in classes])
        if (count := pixels.sum()) >= 3:
            found[name] = (places[pixels].mean(), place, count / size**2 / share)
    if {"left eye", "right eye"} & found.keys():
        found.pop("glasses", None)  # worn lower or higher
    if len(found) < 2:
        return None
    there, place, area = map(np.array, zip(*found.values(), strict=True))
    # The similarity z * place + shift that comes nearest to the parts, the large ones first.
    weight = np.minimum(np.sqrt(area), 3)
    weight = weight / weight.sum()
    centre, origin = (weight * there).sum(), (weight * place).sum()
    spread = (weight * np.abs(place - origin) ** 2).sum()
    z = (weight * np.conj(place - origin) * (there - centre)).sum() / spread
    scale = abs(z)
    if scale * size < 4:
        return None
    shift = centre - z * origin
    misfit = math.sqrt((weight * np.abs(there - shift - z * place) ** 2).sum()) / scale

    below, across, down = _OVAL
    upright = (places - shift) / z
    oval = (upright.real / across) ** 2 + ((upright.imag - below) / down) ** 2 < 1
    if oval.sum() < 8:
        return None
    seen = {name: min(its[2] / scale**2, 1.0) for name, its in found.items()}
    score = np.mean([max(seen.get(name, 0.0) for name in names) for names in _SEEN])
    score *= math.exp(-((misfit / _MISFIT) ** 2)) * face[oval].mean() ** 2
    moved = square.point(shift.real, shift.imag)
    angle = square.angle + math.atan2(z.imag, z.real)
    return Face(Square(*map(float, moved), float(scale * square.side), angle), float(score))


def _places(size: int) -> np.ndarray:
    """Where the pixels of a square lie from its centre, in sides: x + iy."""
    line = (np.arange(size) + 0.5) / size - 0.5
    return line + 1j * line[:, None]


def _same(one: Face, other: Face) -> bool:
    """Whether two squares hold one face, or the smaller one a part of what is a face."""
    small, large = sorted((one, other), key=lambda face: face.square.side)
    near, far = small.square, large.square
    distance = math.hypot(near.x - far.x, near.y - far.y) / far.side
    if near.side > far.side / 2:
        return distance < 0.3
    return large.score > LEAST and distance < 0.6


def _apart(faces: Sequence[Face]) -> list[Face]:
    """The likeliest first, then the largest, without those that are the same as one before."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (-face.score, -face.square.side)):
        if not any(_same(face, one) for one in kept):
            kept.append(face)
    return kept


def lies_as_trained(face: Face, whole: Square) -> bool:
    """Whether a face fills the square of its picture as those of the training fill theirs."""
    larger, moved, turned = _AS_TRAINED
    square = face.square
    angle = (square.angle + math.pi) % (2 * math.pi) - math.pi
    return (
        face.score > _SURE
        and abs(square.side / whole.side - 1) < larger
        and math.hypot(square.x - whole.x, square.y - whole.y) < moved * whole.side
        and abs(angle) < turned
    )
