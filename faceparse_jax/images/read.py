"""Photographs, masks and depth maps from files; what cannot be read is one sentence.

Pillow and NumPy only. A source is a path or the bytes of a file; with bytes, `name` is
what errors call it. Every reader raises `InputError` for a file that is missing, no
image, truncated or above `MAX_PIXELS`.
"""

import io
import math
import os
import pathlib
import stat
import struct
import tokenize
import zlib

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import ExifTags, Image

from faceparse_jax.errors import InputError

MAX_BYTES = 2**29
"""Largest file that is read; `MAX_PIXELS` of 16-bit colour, uncompressed, are less."""

MAX_PIXELS = 8192 * 8192
"""Largest picture that is decoded, against files that inflate to fill the memory."""

# Pillow's other formats are seldom photographs, and some of them start other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_UNREADABLE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip
# Above Pillow's own limit, which acts before the size is told.
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_SIXTEEN_BIT = ("I", "I;16", "I;16L", "I;16B", "I;16N")
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

Source = pathlib.Path | str | bytes


def contents(source: Source, name: str = "") -> tuple[bytes, str]:
    """The bytes of a source and what errors call it.

    Raises:
        InputError: no plain file, or one above `MAX_BYTES`.
    """
    if isinstance(source, bytes):
        return source, name or "image"
    name = name or os.fspath(source)
    path = pathlib.Path(source).expanduser()
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


def _check_pixels(height: int, width: int, name: str) -> None:
    if height * width > MAX_PIXELS:
        raise InputError(
            name,
            f"{width}x{height} pixels",
            f"at most {MAX_PIXELS:,} pixels",
            "scale the file down and run again",
        )


def _load(data: bytes, name: str, low_bytes: bool = False) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_pixels(image.height, image.width, name)
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
    except _UNREADABLE as error:
        reason = "an empty file" if not data else "a truncated, damaged or foreign file"
        raise InputError(
            name,
            reason,
            f"an image that can be decoded ({', '.join(FORMATS)})",
            "fetch or export the file again",
        ) from error
    return image


def _sixteen_bit(image: Image.Image, name: str) -> UInt16[np.ndarray, "h w"]:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise InputError(
            name,
            f"values from {values.min()} to {values.max()}",
            "values from 0 to 65535",
            "export the file with 8 or 16 bits",
        )
    return values.astype(np.uint16)


def _wrong_mode(name: str, mode: str, expected: str) -> InputError:
    return InputError(name, f"pixels of Pillow mode {mode}", expected, "convert the file")


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except (*_UNREADABLE, TypeError):
        # The pixels are there; damaged EXIF is no reason to refuse them.
        return image
    return image if turn is None else image.transpose(turn)


def is_turned(data: bytes) -> bool:
    """Whether an image's EXIF asks for it to be turned or mirrored."""
    try:
        orientation = Image.open(io.BytesIO(data), formats=FORMATS).getexif()
        return orientation.get(ExifTags.Base.Orientation) in _TURNS
    except (*_UNREADABLE, *_TOO_LARGE, TypeError):
        return False


def read_image(source: Source, name: str = "", upright: bool = True) -> UInt8[np.ndarray, "h w 3"]:
    """An sRGB picture in 0..255 from a file of any common mode.

    Grey, palette and CMYK are converted, alpha is dropped, 16-bit values are divided by 257
    and rounded. The first frame counts.

    Args:
        source: a path, or the bytes of a file.
        name: what errors call the file; the path where there is one.
        upright: turn the picture as its EXIF orientation says.
    """
    data, name = contents(source, name)
    image = _load(data, name)
    if upright:
        image = _upright(image)
    if image.mode in _SIXTEEN_BIT:
        grey = np.round(_sixteen_bit(image, name) / 257.0).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode == "F":
        raise _wrong_mode(name, image.mode, "8 or 16 bits")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def read_mask(source: Source, name: str = "") -> Bool[np.ndarray, "h w"]:
    """A part mask: true where any colour channel is not zero, whatever the file's mode."""
    data, name = contents(source, name)
    image = _load(data, name)
    if image.mode not in ("1", "L", "F", *_SIXTEEN_BIT):
        image = image.convert("RGBA").convert("RGB")
    values = np.asarray(image) != 0
    return values.any(-1) if values.ndim == 3 else values


def read_label(source: Source, name: str = "") -> UInt8[np.ndarray, "h w"]:
    """Class ids from a grey or palette file of 8 bits or fewer; a palette gives its indices.

    Raises:
        InputError: also for colours, alpha and 16 bits: they are no class ids.
    """
    data, name = contents(source, name)
    image = _load(data, name)
    if image.format == "JPEG":
        raise InputError(
            name, "a JPEG", "a lossless label map (PNG)", "look whether this is the photograph"
        )
    if image.mode == "1":
        image = image.convert("L").point(lambda value: value // 255)
    if image.mode == "RGB":
        return _one_channel(np.array(image), name)
    if image.mode not in ("L", "P"):
        raise _wrong_mode(name, image.mode, "class ids in one channel of 8 bits")
    return np.array(image)


def read_depth(
    source: Source, name: str = ""
) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """Depth as stored, 0 = none: one or three equal channels of 8 or 16 bits, image or .npy.

    Alpha is dropped. Pickled arrays are never loaded.

    Raises:
        InputError: also for channels that differ and for other types of number.
    """
    data, name = contents(source, name)
    if data.startswith(b"\x93NUMPY"):
        return _one_channel(_npy(data, name), name)
    image = _load(data, name)
    if image.mode == "L":
        return np.array(image)
    if image.mode in _SIXTEEN_BIT:
        return _sixteen_bit(image, name)
    if image.mode not in ("LA", "P", "PA", "RGB", "RGBA"):
        raise _wrong_mode(name, image.mode, "8- or 16-bit depth in one or three channels")
    # A PNG's header gives the bits of a channel; Pillow cuts 16-bit colour to 8.
    deep = image.format == "PNG" and data[24] == 16 and image.mode in ("RGB", "RGBA")
    values = np.array(image.convert("RGBA").convert("RGB"))
    if deep:
        low = _load(data, name, low_bytes=True).convert("RGBA").convert("RGB")
        values = values.astype(np.uint16) << 8 | np.asarray(low)
    return _one_channel(values, name)


def _npy(data: bytes, name: str) -> np.ndarray:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
            raise ValueError("the header does not fit the file")
        file.seek(0)
        array = np.load(file, allow_pickle=False)
    except (*_UNREADABLE, TypeError, tokenize.TokenError) as error:
        raise InputError(
            name,
            "a damaged or pickled .npy file",
            "a plain array written by numpy.save",
            "save the array again with numpy.save",
        ) from error
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise InputError(
            name, f"numbers of type {array.dtype}", "uint8 or uint16", "convert and save again"
        )
    return array.astype(array.dtype.newbyteorder("="))


def _one_channel(values: np.ndarray, name: str) -> np.ndarray:
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
    _check_pixels(*values.shape, name)
    return values


def depth_to_u8(
    depth: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], name: str = "depth"
) -> UInt8[np.ndarray, "h w"]:
    """8-bit depth: 16-bit values are divided by 257 and rounded, and none but 0 becomes 0.

    Raises:
        InputError: as `check_depth_range`.
    """
    check_depth_range(depth, name)
    if depth.dtype == np.uint8:
        return depth
    scaled = np.round(depth / 257.0).astype(np.uint8)
    return np.where(depth > 0, np.maximum(scaled, 1), 0).astype(np.uint8)


def check_depth_range(
    depth: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], name: str = "depth"
) -> None:
    """Refuses 16-bit depth below 4096 throughout: millimetres, or 8-bit values in 16 bits.

    Depth is relative to the range of its type; such a map would keep few of its levels.
    """
    largest = int(depth.max(initial=0))
    if depth.dtype == np.uint16 and 0 < largest < 4096:
        raise InputError(
            name,
            f"16-bit depth of at most {largest}",
            "16-bit depth that uses the range up to 65535",
            "scale the values, or save them with 8 bits, and run again",
        )
