"""`classes.txt`: which classes own labels have, and how label files are read with it."""

import colorsys
import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int16, UInt8

from faceparse_jax import images, labels
from faceparse_jax.errors import InputError
from faceparse_jax.images.read import load

FILE = "classes.txt"
_EXPECTED = "NAME, NAME #rrggbb, LEFT <-> RIGHT, or scheme, left or ignore = VALUE"
_AGAIN = "mend it as tfds_builders/folder/README.md says"
_CLASS = re.compile(r"(\S+)(?:\s+(#[0-9a-fA-F]{6}))?")
_PAIR = re.compile(r"(\S+)\s*<->\s*(\S+)")
_SETTING = re.compile(r"(scheme|left|ignore)\s*=\s*(\S+)")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NOTHING = -1
_LEFT_RIGHT = {"left_": "right_", "l_": "r_"}


@dataclasses.dataclass(frozen=True)
class Classes:
    """What `classes.txt` says.

    Attributes:
        scheme: the label scheme.
        by_colour: the class id of each colour 0xRRGGBB that label files may have, with
            `labels.IGNORE` for pixels that are ignored; empty where label files hold ids.
    """

    scheme: labels.Scheme
    by_colour: Mapping[int, int]

    @functools.cached_property
    def of_colour(self) -> Int16[np.ndarray, "16777216"]:
        """`by_colour` for every colour, with `_NOTHING` for those that no class has."""
        table = np.full(2**24, _NOTHING, np.int16)
        table[list(self.by_colour)] = list(self.by_colour.values())
        return table


def parse(text: str, where: str, name: str) -> Classes:
    """The classes of a file's text.

    Args:
        where: what errors call the file.
        name: of the scheme, where it is not a known one.

    Raises:
        InputError: a line that is none of `_EXPECTED`, or classes that contradict each other.
    """
    classes: dict[str, str | None] = {}
    pairs: list[tuple[str, str]] = []
    settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        setting, pair, of_class = (form.fullmatch(line) for form in (_SETTING, _PAIR, _CLASS))
        if setting and setting[1] not in settings:
            settings[setting[1]] = setting[2]
        elif pair:
            pairs.append((pair[1], pair[2]))
        elif of_class and of_class[1] not in classes:
            classes[of_class[1]] = of_class[2]
        else:
            told = f"{line[:60]!r}" + (" a second time" if setting or of_class else "")
            raise InputError(f"{where}, line {number}", told, _EXPECTED, _AGAIN)
    try:
        scheme = _scheme(name, classes, pairs, settings)
        return Classes(scheme, _by_colour(scheme, classes, settings))
    except ValueError as error:
        expected = "the classes of the labels, each once, from the background on"
        raise InputError(where, str(error), expected, _AGAIN) from error


def _scheme(
    name: str,
    classes: Mapping[str, str | None],
    pairs: Sequence[tuple[str, str]],
    settings: Mapping[str, str],
) -> labels.Scheme:
    if known := settings.get("scheme"):
        if known not in labels.SCHEMES:
            raise ValueError(f"scheme = {known} instead of one of {', '.join(labels.SCHEMES)}")
        if classes or pairs or "left" in settings:
            raise ValueError("classes, pairs or left beside a scheme that has its own")
        return labels.SCHEMES[known]
    names = list(classes)
    sided = _mirror_pairs(names, pairs)
    prefix_of_subject = any(left.startswith("l_") for left, _ in sided)
    if prefix_of_subject and "left" not in settings and any(n.startswith("left_") for n in names):
        raise ValueError("l_ and left_ without a line left = subject or left = viewer")
    return labels.Scheme(
        name=name,
        classes=tuple(names),
        colours=_colours(classes),
        swap_pairs=tuple((names.index(left), names.index(right)) for left, right in sided),
        left_of=settings.get("left", "subject" if prefix_of_subject else "viewer"),
        depth_classes=tuple(range(1, len(names))),
    )


def _mirror_pairs(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of the file, and of the other classes those that their names make.

    Raises:
        ValueError: a pair of a class that is not there, or a ``left_`` or ``right_`` alone.
    """
    told = {name for pair in pairs for name in pair}
    if foreign := sorted(told - set(names)):
        raise ValueError(f"a pair with {foreign[0]!r}, which is no class")
    found = [(left, right) for left, right in pairs if left != right]
    for left, right in _LEFT_RIGHT.items():
        for name in (name for name in names if name not in told and name.startswith(left)):
            partner = right + name.removeprefix(left)
            if partner in names and partner not in told:
                found.append((name, partner))
    alone = set(names) - told - {name for pair in found for name in pair}
    if wrong := [name for name in names if name in alone and name.startswith(("left_", "right_"))]:
        raise ValueError(
            f"{wrong[0]!r} without its other side, which a line {wrong[0]} <-> OTHER names "
            f"({wrong[0]} <-> {wrong[0]} where there is none)"
        )
    return found


def _colours(classes: Mapping[str, str | None]) -> tuple[tuple[int, int, int], ...]:
    """The colours of the file, or as many hues, evenly spaced, with a black background.

    Raises:
        ValueError: colours for some of the classes alone, or one for two of them.
    """
    given = dict(classes)
    if any(given.values()):
        given["background"] = given.get("background") or "#000000"
        if bare := [name for name, colour in given.items() if not colour]:
            raise ValueError(f"no colour for {bare[0]!r}, while other classes have one")
        values = [colour.lower() for colour in given.values()]
        if twice := [value for value in values if values.count(value) > 1]:
            raise ValueError(f"the colour {twice[0]} for two classes")
        return tuple(tuple(bytes.fromhex(value[1:])) for value in values)
    count = max(len(classes) - 1, 1)
    drawn = (colorsys.hsv_to_rgb(i / count, 0.75, 1 - 0.4 * (i % 2)) for i in range(count))
    return ((0, 0, 0), *(tuple(round(255 * value) for value in colour) for colour in drawn))


def _by_colour(
    scheme: labels.Scheme, classes: Mapping[str, str | None], settings: Mapping[str, str]
) -> dict[int, int]:
    """See `Classes.by_colour`.

    Raises:
        ValueError: an ignored colour that is none, or is that of a class.
    """
    known = not labels.is_own(scheme)
    table = {}
    if known or any(classes.values()):
        table = {_packed(colour): value for value, colour in enumerate(scheme.colours)}
    if (ignored := settings.get("ignore")) is not None:
        if not _COLOUR.fullmatch(ignored) or not table:
            raise ValueError(f"ignore = {ignored} instead of #rrggbb, beside classes with colours")
        if table.setdefault(int(ignored[1:], 16), labels.IGNORE) != labels.IGNORE:
            raise ValueError(f"the colour {ignored} for a class and for what is ignored")
    return table


def _packed(colour: Sequence[int]) -> int:
    red, green, blue = (int(value) for value in colour)
    return red << 16 | green << 8 | blue


def read_label(data: bytes, where: str, classes: Classes) -> UInt8[np.ndarray, "h w"]:
    """Class ids of a label file: its values or the indices of its palette, or by its colours.

    Args:
        data: the bytes of the file.
        where: what errors call it.

    Raises:
        InputError: no lossless picture, colours that no class has, or a palette that gives an
            index the colour of another class.
    """
    image = load(data, where)
    if image.format == "JPEG" or image.mode not in ("P", "RGB", "RGBA"):
        return images.read_label(data, where)
    if image.mode == "P":
        label = images.read_label(data, where)
        palette = np.array(image.convert("RGB")).reshape(-1, 3)
        values, first = np.unique(label, return_index=True)
        for value, colour in zip(values.tolist(), palette[first], strict=True):
            if classes.by_colour.get(_packed(colour), value) != value:
                other = classes.by_colour[_packed(colour)]
                raise InputError(
                    where,
                    f"a palette in which {value} has the colour of class {other}",
                    f"the ids of {FILE} as indices, or a picture in colours without a palette",
                    f"save it in RGB, or mend the order of the classes in {FILE}",
                )
        return label
    if not classes.by_colour:
        pixels = np.array(image.convert("RGB"))
        if image.mode == "RGB" and (pixels == pixels[..., :1]).all():
            return images.read_label(data, where)
        raise InputError(
            where,
            "a picture in colours",
            f"class ids in one channel of 8 bits, or a colour for each class in {FILE}",
            f"add the colours to {FILE}, as in: hair #5a4628",
        )
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        raise InputError(
            where, "transparent pixels", "an opaque label map", "save it without alpha"
        )
    pixels = np.array(image.convert("RGB")).astype(np.int32)
    packed = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    label = classes.of_colour[packed]
    if (label == _NOTHING).any():
        colours, counts = np.unique(packed[label == _NOTHING], return_counts=True)
        more = f", and {len(colours) - 1:,} more such colours" if len(colours) > 1 else ""
        raise InputError(
            where,
            f"the colour #{colours[counts.argmax()]:06x} in {counts.max():,} pixels{more}",
            f"the colours of {FILE} alone",
            f"add what lacks to {FILE}; where colours mix at edges, save the label again without "
            "smoothing",
        )
    return label.astype(np.uint8)
