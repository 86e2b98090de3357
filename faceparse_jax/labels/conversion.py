"""Label maps and probabilities of one scheme in the classes of another.

A conversion exists where every class of the source lies in one class of the target, so
it only ever merges. Two schemes are compared in the coarser one.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

from faceparse_jax import labels
from faceparse_jax.errors import InputError
from faceparse_jax.labels import CELEBAMASK_HQ, CELEBAMASK_HQ_BISENET, HELEN, LAPA, Scheme

# CelebAMask-HQ's `l_` is the subject's left, the right of the picture: LaPa's `right_`.
_TO_LAPA = {
    "skin": "skin",
    "l_ear": "skin",
    "r_ear": "skin",
    "eye_g": "skin",
    "l_brow": "right_eyebrow",
    "r_brow": "left_eyebrow",
    "l_eye": "right_eye",
    "r_eye": "left_eye",
    "nose": "nose",
    "u_lip": "upper_lip",
    "mouth": "inner_mouth",
    "l_lip": "lower_lip",
    "hair": "hair",
}
_TO_HELEN = {part: name for part, name in _TO_LAPA.items() if not part.endswith("_ear")}
_SAME = {name: name for name in CELEBAMASK_HQ.classes}

_BY_NAME: Mapping[tuple[str, str], Mapping[str, str]] = {
    (CELEBAMASK_HQ.name, CELEBAMASK_HQ_BISENET.name): _SAME,
    (CELEBAMASK_HQ_BISENET.name, CELEBAMASK_HQ.name): _SAME,
    (CELEBAMASK_HQ.name, LAPA.name): _TO_LAPA,
    (CELEBAMASK_HQ_BISENET.name, LAPA.name): _TO_LAPA,
    (CELEBAMASK_HQ.name, HELEN.name): _TO_HELEN,
    (CELEBAMASK_HQ_BISENET.name, HELEN.name): _TO_HELEN,
    # LaPa's ears are skin and stay it: Helen has them as background.
    (LAPA.name, HELEN.name): {name: name for name in LAPA.classes},
}


def _names(source: Scheme, target: Scheme) -> Mapping[str, str] | None:
    """Target name by source name; what is not named becomes background. None: no conversion.

    Two datasets of a user's own are of one scheme where their classes have the same names.
    """
    if labels.is_own(source) and labels.is_own(target):
        alike = set(source.classes) == set(target.classes) and source.left_of == target.left_of
        return {name: name for name in source.classes} if alike else None
    return _BY_NAME.get((source.name, target.name))


def exists(source: Scheme, target: Scheme) -> bool:
    """Whether labels of `source` can be written in the classes of `target`."""
    return source == target or _names(source, target) is not None


def class_table(source: Scheme, target: Scheme) -> tuple[int, ...]:
    """Target id of each source id; classes that the target lacks become background.

    Raises:
        InputError: the target's classes are finer, so no conversion exists.
    """
    if source == target:
        return tuple(range(source.num_classes))
    if not exists(source, target):
        raise InputError(
            f"labels of scheme {source.name}",
            "a scheme that is not finer",
            f"one that merges into {target.name}",
            f"convert from {target.name} to {source.name} instead, if that exists",
        )
    names = _names(source, target)
    return tuple(target.classes.index(names.get(part, "background")) for part in source.classes)


def leading_classes(source: Scheme, target: Scheme) -> tuple[int, ...]:
    """For each target id the source id that stands for it where one class is to speak for all.

    Where several classes merge, it is the first of them, the one with the target's name: skin for
    skin, ears and glasses, and the background for what the target lacks.

    A user's own scheme has no conversion to or from another one. There the class of the same
    name speaks, on the same side of the face, and nothing (-1) where no class has that name.

    Raises:
        InputError: as `class_table`, where both schemes are known.
    """
    if not exists(source, target) and (labels.is_own(source) or labels.is_own(target)):
        mirrored = source.left_of != target.left_of
        own = {name: source.mirror[i] if mirrored else i for i, name in enumerate(source.classes)}
        return tuple(own.get(name, -1) for name in target.classes)
    table = class_table(source, target)
    return tuple(table.index(i) for i in range(target.num_classes))


def label_map(
    label: UInt8[np.ndarray, "*s"], source: Scheme, target: Scheme
) -> UInt8[np.ndarray, "*s"]:
    """The label in the target's ids; `labels.IGNORE` stays.

    Raises:
        InputError: no such conversion, or a value that the source does not have.
    """
    table = np.full(256, labels.IGNORE, np.uint8)
    table[: source.num_classes] = class_table(source, target)
    foreign = label[(label >= source.num_classes) & (label != labels.IGNORE)]
    if foreign.size:
        raise InputError(
            "label map",
            f"the value {int(foreign.flat[0])}",
            f"0 to {source.num_classes - 1} of {source.name}, or {labels.IGNORE}",
            "name the scheme that the map is in",
        )
    return table[label]


def class_matrix(source: Scheme, target: Scheme) -> Float[np.ndarray, "ks kt"]:
    """0 and 1: ``probabilities @ class_matrix`` sums what merges."""
    return np.eye(target.num_classes, dtype=np.float32)[list(class_table(source, target))]


def common(a: Scheme, b: Scheme) -> Scheme:
    """The one of two schemes in which both can be compared.

    Raises:
        InputError: neither converts to the other.
    """
    if exists(a, b):
        return b
    if exists(b, a):
        return a
    raise InputError(
        f"schemes {a.name} and {b.name}", "no conversion", "one that merges", "use other data"
    )
