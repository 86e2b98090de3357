"""Pictures of labels, depth and predictions: arrays in, one array out.

NumPy and Pillow alone, so that drawing needs neither JAX nor a display.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from faceparse_jax.labels import IGNORE, Scheme, is_own

Picture = UInt8[np.ndarray, "_ _ 3"]

NO_DEPTH = (28, 24, 84)
"""Colour of pixels without depth: outside the grey ramp, so never taken for near or far."""

_PAPER = (250, 250, 250)
_INK = (20, 20, 20)
_QUIET = (110, 110, 110)
_GAP = 6

# What the names of CelebAMask-HQ's parts leave open; sides are told separately.
_MEANING = {
    "eye_g": "glasses",
    "ear_r": "earring",
    "neck_l": "necklace",
    "mouth": "inside of the mouth",
    "u_lip": "upper lip",
    "l_lip": "lower lip",
}


def colourise(label: UInt8[np.ndarray, "h w"], scheme: Scheme) -> UInt8[np.ndarray, "h w 3"]:
    """A label map in the scheme's colours; `IGNORE` and unknown values are white."""
    return scheme.palette[label]


def overlay(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    scheme: Scheme,
    alpha: float = 0.5,
) -> UInt8[np.ndarray, "h w 3"]:
    """The label's colours over the image, and a line where two classes meet.

    Args:
        alpha: weight of the colours, 0 to 1; background and `IGNORE` stay as in the image.
    """
    colours = colourise(label, scheme)
    part = ((label != 0) & (label != IGNORE))[..., None]
    alpha = np.float32(alpha)
    mixed = np.where(part, (1 - alpha) * image + alpha * colours, image)
    thick = max(1, round(max(label.shape) / 400))
    # Each side of the line keeps its class's colour, apart from the image by a white seam.
    mixed = np.where(_borders(label, 2 * thick)[..., None] & part, colours, mixed)
    mixed[_borders(label, max(1, thick // 2))] = 255
    return np.rint(mixed).astype(np.uint8)


def _borders(label: UInt8[np.ndarray, "h w"], thick: int) -> Bool[np.ndarray, "h w"]:
    """Pixels with another class within `thick` rows or columns."""
    near = np.zeros(label.shape, bool)
    for shift in range(1, thick + 1):
        rows = label[shift:] != label[:-shift]
        columns = label[:, shift:] != label[:, :-shift]
        near[shift:] |= rows
        near[:, shift:] |= columns
        if thick > 1:
            near[:-shift] |= rows
            near[:, :-shift] |= columns
    return near


def colour_depth(
    depth: UInt8[np.ndarray, "h w"], none: tuple[int, int, int] = NO_DEPTH
) -> UInt8[np.ndarray, "h w 3"]:
    """Depth as grey, darker = nearer, as the benchmarks show it; 0 (no depth) in `none`."""
    return np.where((depth > 0)[..., None], depth[..., None], np.uint8(none))


def class_names(scheme: Scheme) -> list[str]:
    """A line for each class: id, name, and what the name leaves open (meaning, side)."""
    sided = {c for pair in scheme.swap_pairs for c in pair}
    sides = {"l_": f"{scheme.left_of}'s left", "r_": f"{scheme.left_of}'s right"}
    meaning = {} if is_own(scheme) else _MEANING
    lines = []
    for c, name in enumerate(scheme.classes):
        note = sides.get(name[:2], "") if c in sided else meaning.get(name, "")
        lines.append(f"{c} {name}" + (f" ({note})" if note else ""))
    return lines


def legend(scheme: Scheme, present: Iterable[int], height: int) -> Picture:
    """A strip with colour, id, name and side of the classes `present`.

    Args:
        present: class ids; values that the scheme has no class for are left out.
        height: of the picture beside it, in pixels; sets the size of the text. The strip
            is this high, or higher where its lines need it.
    """
    names = class_names(scheme)
    ids = [c for c in sorted(set(present)) if c < scheme.num_classes]
    line = min(max(height // 24, 18), 120)
    gap, swatch = line // 3, round(line * 0.75)
    font = ImageFont.load_default(line * 0.7)
    width = 3 * gap + swatch + max((round(font.getlength(names[c])) for c in ids), default=0)
    canvas = Image.new("RGB", (width, max(height, line * len(ids) + 2 * gap)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for row, c in enumerate(ids):
        top = gap + row * line
        draw.rectangle((gap, top, gap + swatch, top + swatch), scheme.colours[c], _QUIET)
        draw.text((2 * gap + swatch, top + swatch // 2), names[c], _INK, font, anchor="lm")
    return np.array(canvas)


def with_legend(picture: Picture, label: UInt8[np.ndarray, "_ _"], scheme: Scheme) -> Picture:
    """A picture with the legend of the classes in `label` at its right."""
    strip = legend(scheme, np.unique(label).tolist(), picture.shape[0])
    missing = strip.shape[0] - picture.shape[0]
    paper = ((0, missing), (0, 0), (0, 0))
    return np.concatenate([np.pad(picture, paper, constant_values=_PAPER[0]), strip], axis=1)


def prediction_picture(
    image: UInt8[np.ndarray, "h w 3"],
    label: UInt8[np.ndarray, "h w"],
    scheme: Scheme,
    least: int = 384,
) -> Picture:
    """An image with its label over it and the legend beside it.

    Args:
        least: images lower than this many pixels are enlarged by a whole factor first,
            so that lines stay thin and the text is no larger than the face.
    """
    factor = -(-least // label.shape[0])
    image, label = (a.repeat(factor, axis=0).repeat(factor, axis=1) for a in (image, label))
    return with_legend(overlay(image, label, scheme), label, scheme)


def contact_sheet(
    rows: Sequence[Sequence[Picture | None]],
    titles: Sequence[str],
    captions: Sequence[str] | None = None,
) -> Picture:
    """Pictures in rows under column titles; None leaves a place empty.

    Args:
        rows: as many pictures in each as there are titles.
        titles: broken into lines where they are wider than their column.
        captions: a text at the left of each row.
    """
    cells = [cell for row in rows for cell in row if cell is not None]
    high = max((cell.shape[0] for cell in cells), default=64)
    wide = max((cell.shape[1] for cell in cells), default=64)
    font = ImageFont.load_default(min(max(wide / 9, 13), 36))
    titles = [_broken(title, font, wide) for title in titles]
    line = round(font.size * 1.3)
    head = 2 * _GAP + line * max((text.count("\n") + 1 for text in titles), default=0)
    captions = captions or [""] * len(rows)
    longest = max((font.getlength(text) for text in captions), default=0)
    side = _GAP + round(longest) + (_GAP if longest else 0)

    size = (side + len(titles) * (wide + _GAP), head + len(rows) * (high + _GAP))
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, text in enumerate(titles):
        x = side + column * (wide + _GAP) + wide // 2
        draw.multiline_text((x, head - _GAP), text, _INK, font, anchor="md", align="center")
    for number, (row, caption) in enumerate(zip(rows, captions, strict=True)):
        y = head + number * (high + _GAP)
        draw.text((_GAP, y + high // 2), caption, _INK, font, anchor="lm")
        for column, (cell, _) in enumerate(zip(row, titles, strict=True)):
            x = side + column * (wide + _GAP)
            if cell is None:
                draw.rectangle((x, y, x + wide - 1, y + high - 1), outline=(215, 215, 215))
                draw.text((x + wide // 2, y + high // 2), "none", _QUIET, font, anchor="mm")
            else:
                left, top = (wide - cell.shape[1]) // 2, (high - cell.shape[0]) // 2
                canvas.paste(Image.fromarray(cell), (x + left, y + top))
    return np.array(canvas)


def resized(picture: Picture, side: int) -> Picture:
    """The longer side becomes `side`, by nearest neighbour: label colours must not mix."""
    h, w = picture.shape[:2]
    if max(h, w) == side:
        return picture
    shape = (max(1, round(w * side / max(h, w))), max(1, round(h * side / max(h, w))))
    return np.array(Image.fromarray(picture).resize(shape, Image.Resampling.NEAREST))


def _broken(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Breaks a text between words into lines no wider than `width`, where it can."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)
