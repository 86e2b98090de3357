"""The label schemes: class ids, names, colours, left/right pairs, merge orders.

The one truth for training, scoring, drawing and the dataset builders. It imports
nothing but NumPy, so that builders and tools can use it without JAX or TensorFlow.

Sides. CelebAMask-HQ's ``l_`` is the subject's left, the right half of the picture; the
``left_`` of LaPa and Helen is the viewer's left.

    python -m faceparse_jax.labels     prints every scheme
"""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, UInt8

from faceparse_jax.runtime import tables

IGNORE = 255
"""Label of pixels that take no part in losses and scores."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
# Scores stand beside those of the classes under these names, and ignored pixels are no class.
_RESERVED = frozenset(("mean", "mean_depth_classes", "ignore", "ignored"))


@dataclasses.dataclass(frozen=True)
class Scheme:
    """A label scheme; the index into `classes` and `colours` is the class id.

    Attributes:
        name: the scheme's name, as stored in datasets, checkpoints and results.
        classes: class names; id 0 is the background.
        colours: sRGB in 0..255 for each class.
        swap_pairs: ids of left and right parts, exchanged when an image is mirrored.
        left_of: whose left a class name means, ``subject`` or ``viewer``.
        depth_classes: ids that the benchmark's depth maps cover.
        regions: name and ids of classes that are scored as one, besides each alone.

    Raises:
        ValueError: what contradicts this, in words that say what was found.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    swap_pairs: tuple[tuple[int, int], ...]
    left_of: str
    depth_classes: tuple[int, ...]
    regions: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self):
        count = len(self.classes)
        if not 2 <= count <= IGNORE:
            raise ValueError(f"{count} classes instead of 2 to {IGNORE}")
        if self.classes[0] != "background":
            raise ValueError(f"the first class {self.classes[0]!r} instead of 'background'")
        for name in self.classes:
            if not _NAME.fullmatch(name) or name in _RESERVED:
                raise ValueError(f"the class name {name[:60]!r}")
        if twice := [name for name in self.classes if self.classes.count(name) > 1]:
            raise ValueError(f"the class {twice[0]!r} twice")
        if len(self.colours) != count or not all(
            0 <= value < 256 for colour in self.colours for value in colour
        ):
            raise ValueError(f"colours {self.colours} for {count} classes")
        sided = [i for pair in self.swap_pairs for i in pair]
        if len(set(sided)) != len(sided) or not set(sided) <= set(range(1, count)):
            raise ValueError(f"the mirror pairs {self.swap_pairs} for {count} classes")
        if self.left_of not in ("subject", "viewer"):
            raise ValueError(f"the left of the {self.left_of!r} instead of subject or viewer")
        groups = [self.depth_classes, *(ids for _, ids in self.regions)]
        if not all(set(ids) <= set(range(1, count)) for ids in groups):
            raise ValueError(f"groups of classes {groups} for {count} classes")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def mirror(self) -> tuple[int, ...]:
        """Class ids after mirroring the image: ``mirror[c]`` replaces ``c``."""
        table = list(range(self.num_classes))
        for left, right in self.swap_pairs:
            table[left], table[right] = right, left
        return tuple(table)

    @property
    def palette(self) -> UInt8[np.ndarray, "256 3"]:
        """Colour of every possible label value; unused values and `IGNORE` are white."""
        table = np.full((256, 3), 255, np.uint8)
        table[: self.num_classes] = self.colours
        return table


# Order of the official list of parts; the official class id is the position + 1.
_OFFICIAL = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
_BISENET = (
    "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
_FARL = (
    "neck", "skin", "cloth", "l_ear", "r_ear", "l_brow", "r_brow", "l_eye", "r_eye",
    "nose", "mouth", "l_lip", "u_lip", "hair", "eye_g", "hat", "ear_r", "neck_l",
)  # fmt: skip

_COLOURS = {
    "background": (0, 0, 0),
    "skin": (232, 190, 160),
    "nose": (196, 112, 84),
    "eye_g": (0, 200, 200),
    "l_eye": (30, 90, 255),
    "r_eye": (120, 170, 255),
    "l_brow": (120, 0, 160),
    "r_brow": (200, 90, 230),
    "l_ear": (240, 150, 0),
    "r_ear": (255, 205, 70),
    "mouth": (110, 0, 0),
    "u_lip": (255, 60, 90),
    "l_lip": (190, 20, 60),
    "hair": (90, 70, 40),
    "hat": (0, 110, 60),
    "ear_r": (255, 255, 0),
    "neck_l": (160, 255, 60),
    "neck": (150, 120, 190),
    "cloth": (110, 130, 150),
}
_NO_DEPTH = frozenset(("background", "eye_g", "hat", "ear_r", "neck_l", "neck", "cloth"))


def _celebamask_hq(name: str, parts: tuple[str, ...]) -> Scheme:
    classes = ("background", *parts)
    pairs = tuple(
        (classes.index(f"l_{part}"), classes.index(f"r_{part}")) for part in ("eye", "brow", "ear")
    )
    return Scheme(
        name=name,
        classes=classes,
        colours=tuple(_COLOURS[part] for part in classes),
        swap_pairs=tuple(sorted(pairs)),
        left_of="subject",
        depth_classes=tuple(i for i, part in enumerate(classes) if part not in _NO_DEPTH),
    )


CELEBAMASK_HQ = _celebamask_hq("celebamask_hq", _OFFICIAL)
CELEBAMASK_HQ_BISENET = _celebamask_hq("celebamask_hq_bisenet", _BISENET)

_ELEVEN = (
    "background", "skin", "left_eyebrow", "right_eyebrow", "left_eye", "right_eye", "nose",
    "upper_lip", "inner_mouth", "lower_lip", "hair",
)  # fmt: skip
# The same colour for the same side of the face: the viewer's left is the subject's right.
_ELEVEN_COLOURS = tuple(
    _COLOURS[part]
    for part in (
        "background", "skin", "r_brow", "l_brow", "r_eye", "l_eye", "nose",
        "u_lip", "mouth", "l_lip", "hair",
    )
)  # fmt: skip

LAPA = Scheme(
    name="lapa",
    classes=_ELEVEN,
    colours=_ELEVEN_COLOURS,
    swap_pairs=((2, 3), (4, 5)),
    left_of="viewer",
    depth_classes=tuple(range(1, 11)),
)
HELEN = Scheme(
    name="helen",
    classes=_ELEVEN,
    colours=_ELEVEN_COLOURS,
    swap_pairs=((2, 3), (4, 5)),
    left_of="viewer",
    depth_classes=tuple(range(1, 10)),
    regions=(
        ("brows", (2, 3)),
        ("eyes", (4, 5)),
        ("mouth", (7, 8, 9)),
        ("overall", (2, 3, 4, 5, 6, 7, 8, 9)),
    ),
)
"""LaPa and Helen share ids and names, not their meaning: LaPa's skin has the ears, Helen's
has not, and Helen's depth has no hair. Helen's regions are those of Smith et al. (CVPR
2013), as they are scored since: ``overall`` is brows, eyes, nose and mouth as one."""

SCHEMES = {scheme.name: scheme for scheme in (CELEBAMASK_HQ, CELEBAMASK_HQ_BISENET, LAPA, HELEN)}

MERGE_ORDERS: Mapping[str, tuple[str, ...]] = {
    "official": _OFFICIAL,
    "bisenet": _BISENET,
    "farl": _FARL,
}
"""Orders in which CelebAMask-HQ's overlapping part masks are painted; later ones win.

``official`` is the order of the dataset's own list, ``bisenet`` that of
zllrunning/face-parsing.PyTorch (which has class ids of its own), ``farl`` that of
FaRL and SegFace (official ids). Scores under different orders cannot be compared.
"""


def merge_order_scheme(order: str) -> Scheme:
    """The label scheme whose ids a merge order writes."""
    return CELEBAMASK_HQ_BISENET if order == "bisenet" else CELEBAMASK_HQ


def merge_parts(
    parts: Mapping[str, Bool[np.ndarray, "h w"]], shape: tuple[int, int], order: str
) -> UInt8[np.ndarray, "h w"]:
    """Paints part masks over each other into one label map.

    Args:
        parts: mask by part name; absent parts are simply missing.
        shape: height and width in pixels, needed where no part is given.
        order: a key of `MERGE_ORDERS`.

    Raises:
        KeyError: a part or an order that does not exist.
    """
    unknown = set(parts) - set(MERGE_ORDERS[order])
    if unknown:
        raise KeyError(f"unknown parts {sorted(unknown)}")
    classes = merge_order_scheme(order).classes
    label = np.zeros(shape, np.uint8)
    for part in MERGE_ORDERS[order]:
        if part in parts:
            label[parts[part]] = classes.index(part)
    return label


def scheme(name: str) -> Scheme:
    """The scheme of that name.

    Raises:
        KeyError: no such scheme; the message lists those that exist.
    """
    if name not in SCHEMES:
        raise KeyError(f"no label scheme {name!r}; there are {sorted(SCHEMES)}")
    return SCHEMES[name]


def table(scheme: Scheme) -> str:
    """Id, name, side in the picture, partner on the other side, depth and colour of each class."""
    sides = ("right", "left") if scheme.left_of == "subject" else ("left", "right")
    side_of = {c: side for pair in scheme.swap_pairs for c, side in zip(pair, sides, strict=True)}
    rows = [("id", "class", "side in the picture", "mirrored to", "depth", "colour")]
    for i, name in enumerate(scheme.classes):
        other = scheme.mirror[i]
        side = side_of.get(i, "")
        partner = "" if other == i else scheme.classes[other]
        depth = "yes" if i in scheme.depth_classes else ""
        rows.append((str(i), name, side, partner, depth, f"#{bytes(scheme.colours[i]).hex()}"))
    lines = tables.aligned(rows)
    title = f"{scheme.name}: left is the {scheme.left_of}'s left"
    regions = [
        f"region {name}: {', '.join(scheme.classes[i] for i in ids)}"
        for name, ids in scheme.regions
    ]
    return "\n".join([title, *lines, *regions])
