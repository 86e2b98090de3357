"""Photographs, masks and depth maps from files; what cannot be read is one sentence.

Pillow and NumPy only. A source is a path or the bytes of a file; with bytes, `name` is
what errors call it. Photographs and depth maps may also be pictures of Pillow. Every reader
raises `InputError` for a file that is missing, no image, truncated or above `MAX_PIXELS`.
"""

import io
import os
import stat
import struct
import zlib

import numpy as np
from jaxtyping import Bool, Shaped, UInt8, UInt16
from PIL import ExifTags, Image, features

from faceparse_jax.errors import InputError
from faceparse_jax.runtime import machine

MAX_BYTES = 2**29
"""Largest file that is read; `MAX_PIXELS` of 16-bit colour, uncompressed, are less."""

MAX_PIXELS = 8192 * 8192
"""Largest picture that is decoded, against files that inflate to fill the memory."""

BEHIND = (124, 116, 104)
"""What transparent pixels of a photograph lie over: the mean colour of ImageNet, which the
networks also get round a picture."""

# Pillow's other formats are seldom photographs, and some of them start other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

PHONES = {".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF"}
"""Formats of phones by the suffix of files, which `to_install` may be needed for."""

# What the file says that it is, in its first bytes.
_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
}
UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
# Above Pillow's own limit, which acts before the size is told.
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# What undoes each EXIF orientation.
_TURNS = dict(
    zip(
        range(2, 9),
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        strict=True,
    )
)

Source = os.PathLike | str | bytes


def contents(source: Source, name: str = "") -> tuple[bytes, str]:
    """The bytes of a source and what errors call it.

    Raises:
        InputError: no plain file, or one above `MAX_BYTES`.
    """
    if isinstance(source, bytes):
        return source, name or "image"
    name = name or os.fspath(source)
    path = machine.expanded(source)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ValueError("a directory")
        # A pipe or a device may never end.
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            raise ValueError(f"no plain file of at most {MAX_BYTES:,} bytes")
        return path.read_bytes(), name
    except (OSError, ValueError) as error:
        raise InputError(
            name,
            (getattr(error, "strerror", None) or str(error)).lower(),
            "a file that can be read",
            "check the path and its permissions",
        ) from error


def check_pixels(height: int, width: int, name: str) -> None:
    """Raises InputError for a picture above `MAX_PIXELS`; `name` is what errors call it."""
    if height * width > MAX_PIXELS:
        raise InputError(
            name,
            f"{width}x{height} pixels",
            f"at most {MAX_PIXELS:,} pixels",
            "scale the file down and run again",
        )


def to_install(form: str) -> str | None:
    """What installs the reader of one of the formats `PHONES`; None where it is there."""
    if form == "AVIF":
        return None if features.check("avif") else "pip install --upgrade pillow"
    try:
        import pillow_heif
    except ImportError:
        return "pip install pillow-heif"
    pillow_heif.register_heif_opener()
    return None


def lacks_reader(name: str, form: str, install: str) -> InputError:
    """What to raise for a photograph of a phone that cannot be read here."""
    return InputError(
        name,
        f"a photograph in {form}, which needs {install!r}",
        "a format that can be read here",
        "install that, or export the photograph as JPEG",
    )


def _opened(data: bytes, name: str) -> Image.Image:
    """The picture of a file, not decoded yet.

    Raises:
        InputError: it is of a phone's format that cannot be read here.
    """
    box = data[8 : int.from_bytes(data[:4])] if data[4:8] == b"ftyp" else b""
    brands = {box[at : at + 4] for at in range(0, min(len(box), 256), 4)}
    form = next((form for form, named in _BRANDS.items() if brands & {*named}), None)
    if form and (install := to_install(form)):
        raise lacks_reader(name, form, install)
    return Image.open(io.BytesIO(data), formats=(*FORMATS, form) if form else FORMATS)


def load(data: bytes | Image.Image, name: str, low_bytes: bool = False) -> Image.Image:
    """The decoded picture of a file, or of Pillow, which decodes late.

    Args:
        low_bytes: of a PNG whose channels have 16 bits, keep the lower 8 instead of the upper.

    Raises:
        InputError: no image, a damaged one, or one above `MAX_PIXELS`.
    """
    try:
        image = data
        if not isinstance(data, Image.Image):
            image = _opened(data, name)
        check_pixels(image.height, image.width, name)
        if low_bytes:
            # Read as little-endian, the "high" byte that Pillow keeps is the low one.
            image.tile = [t._replace(args=t.args.replace("16B", "16L")) for t in image.tile]
        image.load()
    except _TOO_LARGE as error:
        raise InputError(
            name,
            "a picture that is larger than its format is trusted with",
            f"at most {MAX_PIXELS:,} pixels",
            "scale the file down and run again",
        ) from error
    except UNREADABLE as error:
        reason = "an empty file" if not data else "a truncated, damaged or foreign file"
        raise InputError(
            name,
            reason,
            f"an image that can be decoded ({', '.join(FORMATS)})",
            "fetch or export the file again",
        ) from error
    return image


def fits_sixteen_bit(image: Image.Image) -> bool:
    """Whether all values of a picture of one channel lie in 0..65535."""
    least, most = image.getextrema()
    return least >= 0 and most <= 65535


def sixteen_bit(image: Image.Image, name: str) -> UInt16[np.ndarray, "h w"]:
    """The values of a picture of one of the modes `SIXTEEN_BIT`.

    Raises:
        InputError: values that 16 bits do not hold.
    """
    values = np.asarray(image)
    if not fits_sixteen_bit(image):
        raise InputError(
            name,
            f"values from {values.min()} to {values.max()}",
            "values from 0 to 65535",
            "export the file with 8 or 16 bits",
        )
    return values.astype(np.uint16)


def wrong_mode(name: str, mode: str, expected: str) -> InputError:
    """What to raise for a picture whose Pillow mode cannot be used."""
    return InputError(name, f"pixels of Pillow mode {mode}", expected, "convert the file")


def turn_of(source: Source | Image.Image) -> Image.Transpose | None:
    """What turns or mirrors a picture the way its EXIF orientation asks for, if it does."""
    try:
        if not isinstance(source, Image.Image):
            source = _opened(*contents(source))
        return _TURNS.get(source.getexif().get(ExifTags.Base.Orientation))
    except (*UNREADABLE, *_TOO_LARGE, TypeError):
        # The pixels may be there; damaged EXIF is no reason to refuse them.
        return None


def turned(picture: Shaped[np.ndarray, "_ _"], turn: Image.Transpose) -> Shaped[np.ndarray, "_ _"]:
    """One channel, turned or mirrored as Pillow's ``transpose`` does."""
    quarters = {
        Image.Transpose.ROTATE_90: 1,
        Image.Transpose.ROTATE_180: 2,
        Image.Transpose.ROTATE_270: 3,
        Image.Transpose.TRANSVERSE: 2,
    }
    picture = np.rot90(picture, quarters.get(turn, 0))
    if turn in (Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE):
        return picture.T
    if turn == Image.Transpose.FLIP_LEFT_RIGHT:
        return picture[:, ::-1]
    return picture[::-1] if turn == Image.Transpose.FLIP_TOP_BOTTOM else picture


def read_image(
    source: Source | Image.Image, name: str = "", upright: bool = True
) -> UInt8[np.ndarray, "h w 3"]:
    """An sRGB picture in 0..255 from a file or a picture of Pillow, of any common mode.

    Grey, palette and CMYK are converted, transparent pixels are laid over `BEHIND`, 16-bit
    values are divided by 257 and rounded. The first frame counts.

    Args:
        source: a path, the bytes of a file, or a picture of Pillow.
        name: what errors call the file; the path where there is one.
        upright: turn the picture as its EXIF orientation says.
    """
    if not isinstance(source, Image.Image):
        source, name = contents(source, name)
    image = load(source, name or "image")
    if upright and (turn := turn_of(image)) is not None:
        image = image.transpose(turn)
    if image.mode in SIXTEEN_BIT:
        grey = np.round(sixteen_bit(image, name) / 257.0).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode == "F":
        raise wrong_mode(name, image.mode, "8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*BEHIND, 255))
        image = Image.alpha_composite(behind, image)
    return np.array(image.convert("RGB"))


def read_mask(source: Source, name: str = "") -> Bool[np.ndarray, "h w"]:
    """A part mask: true where any colour channel is not zero, whatever the file's mode."""
    data, name = contents(source, name)
    image = load(data, name)
    if image.mode not in ("1", "L", "F", *SIXTEEN_BIT):
        image = image.convert("RGBA").convert("RGB")
    values = np.asarray(image) != 0
    return values.any(-1) if values.ndim == 3 else values


def read_label(source: Source, name: str = "") -> UInt8[np.ndarray, "h w"]:
    """Class ids from a grey or palette file of 8 bits or fewer; a palette gives its indices.

    Raises:
        InputError: also for colours, alpha and 16 bits: they are no class ids.
    """
    data, name = contents(source, name)
    image = load(data, name)
    if image.format == "JPEG":
        raise InputError(
            name, "a JPEG", "a lossless label map (PNG)", "look whether this is the photograph"
        )
    if image.mode == "1":
        image = image.convert("L").point(lambda value: value // 255)
    if image.mode == "RGB":
        return one_channel(np.array(image), name)
    if image.mode not in ("L", "P"):
        raise wrong_mode(name, image.mode, "class ids in one channel of 8 bits")
    return np.array(image)


def one_channel(values: Shaped[np.ndarray, "..."], name: str) -> Shaped[np.ndarray, "h w"]:
    """The only channel of an array, or the first of three equal ones.

    Raises:
        InputError: channels that differ, another shape, or more than `MAX_PIXELS`.
    """
    if values.ndim == 3 and values.shape[-1] in (1, 3):
        if (values != values[..., :1]).any():
            raise InputError(
                name,
                "three channels that differ",
                "depth as one channel, or three equal ones",
                "export the depth without a colour map",
            )
        values = values[..., 0]
    if values.ndim != 2 or not values.size:
        raise InputError(
            name,
            f"an array of shape {values.shape}",
            "[height, width], [height, width, 1] or [height, width, 3]",
            "save the depth in one of these shapes",
        )
    check_pixels(*values.shape, name)
    return values
