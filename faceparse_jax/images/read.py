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
import tempfile
import tokenize
import zlib

import numpy as np
from jaxtyping import Bool, Shaped, UInt8, UInt16
from PIL import ExifTags, Image

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


def _fits_sixteen_bit(image: Image.Image) -> bool:
    least, most = image.getextrema()
    return least >= 0 and most <= 65535


def _sixteen_bit(image: Image.Image, name: str) -> UInt16[np.ndarray, "h w"]:
    values = np.asarray(image)
    if not _fits_sixteen_bit(image):
        raise InputError(
            name,
            f"values from {values.min()} to {values.max()}",
            "values from 0 to 65535",
            "export the file with 8 or 16 bits",
        )
    return values.astype(np.uint16)


def _wrong_mode(name: str, mode: str, expected: str) -> InputError:
    return InputError(name, f"pixels of Pillow mode {mode}", expected, "convert the file")


def turn_of(source: Source | Image.Image) -> Image.Transpose | None:
    """What turns or mirrors a picture the way its EXIF orientation asks for, if it does."""
    try:
        if not isinstance(source, Image.Image):
            source = Image.open(io.BytesIO(contents(source)[0]), formats=FORMATS)
        return _TURNS.get(source.getexif().get(ExifTags.Base.Orientation))
    except (*_UNREADABLE, *_TOO_LARGE, TypeError):
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


def read_image(source: Source, name: str = "", upright: bool = True) -> UInt8[np.ndarray, "h w 3"]:
    """An sRGB picture in 0..255 from a file of any common mode.

    Grey, palette and CMYK are converted, transparent pixels are laid over `BEHIND`, 16-bit
    values are divided by 257 and rounded. The first frame counts.

    Args:
        source: a path, or the bytes of a file.
        name: what errors call the file; the path where there is one.
        upright: turn the picture as its EXIF orientation says.
    """
    data, name = contents(source, name)
    image = _load(data, name)
    if upright and (turn := turn_of(image)) is not None:
        image = image.transpose(turn)
    if image.mode in _SIXTEEN_BIT:
        grey = np.round(_sixteen_bit(image, name) / 257.0).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if image.mode == "F":
        raise _wrong_mode(name, image.mode, "8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        behind = Image.new("RGBA", image.size, (*BEHIND, 255))
        image = Image.alpha_composite(behind, image)
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


def read_depth(source: Source, name: str = "", measured: bool = False) -> Shaped[np.ndarray, "h w"]:
    """Depth as stored: one or three equal channels of 8 or 16 bits, image or .npy.

    Pixels that are wholly transparent have no depth, 0. Pickled arrays are never loaded.

    Args:
        source: a path, or the bytes of a file.
        name: what errors call the file; the path where there is one.
        measured: also take floats and integers of any size, from TIFF, PFM, .npy and OpenEXR
            (where the package OpenEXR is installed), as `images.depth.to_benchmark` does.

    Raises:
        InputError: also for channels that differ and for other types of number.
    """
    data, name = contents(source, name)
    if data.startswith(b"\x93NUMPY"):
        return _one_channel(_npy(data, name, measured), name)
    if data.startswith(b"\x76\x2f\x31\x01"):
        return _one_channel(_exr(data, name, measured), name)
    image = _load(data, name)
    if image.mode == "L" and not image.has_transparency_data:
        return np.array(image)
    # Pillow's mode I also holds the 16 bits of a PGM.
    if measured and (image.mode == "F" or (image.mode == "I" and not _fits_sixteen_bit(image))):
        return np.array(image)
    if image.mode in _SIXTEEN_BIT:
        return _sixteen_bit(image, name)
    if image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA"):
        raise _wrong_mode(name, image.mode, "8- or 16-bit depth in one or three channels")
    # A PNG's header gives the bits of a channel; Pillow cuts 16-bit colour to 8.
    deep = image.format == "PNG" and data[24] == 16 and image.mode in ("RGB", "RGBA")
    coloured = image.convert("RGBA")
    values = np.array(coloured.convert("RGB"))
    if deep:
        low = _load(data, name, low_bytes=True).convert("RGBA").convert("RGB")
        values = values.astype(np.uint16) << 8 | np.asarray(low)
    values[np.asarray(coloured.getchannel("A")) == 0] = 0
    return _one_channel(values, name)


def _exr(data: bytes, name: str, measured: bool) -> np.ndarray:
    """The depth of an OpenEXR file: its channel Z, or its only one, or three equal ones."""
    if not measured:
        raise InputError(
            name,
            "an OpenEXR file, which holds floats",
            "8- or 16-bit depth in one or three channels",
            "convert the file",
        )
    try:
        import OpenEXR
    except ImportError as error:
        raise InputError(
            name,
            "an OpenEXR file, and no package OpenEXR here",
            "a file that can be read",
            "pip install OpenEXR, or save the depth as .npy or as a TIFF of floats",
        ) from error
    try:
        with tempfile.NamedTemporaryFile(suffix=".exr") as file:  # it reads from paths alone
            file.write(data)
            file.flush()
            channels = OpenEXR.File(file.name, separate_channels=True).channels()
        named = {key: np.array(channel.pixels) for key, channel in channels.items() if key != "A"}
    except Exception as error:  # the library has no one exception for damage
        raise InputError(
            name,
            "a damaged or foreign OpenEXR file",
            "one that can be decoded",
            "fetch or export the file again",
        ) from error
    depth = named.get("Z", named.get("Y"))
    return np.stack(list(named.values()), axis=-1) if depth is None else depth


def _npy(data: bytes, name: str, measured: bool) -> np.ndarray:
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
    if measured and array.dtype.kind in "iuf":
        return array.astype(array.dtype.newbyteorder("="))
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
    """Refuses 16-bit depth below 4096: millimetres, or 8-bit values in 16 bits.

    Depth is relative to the range of its type; such a map would keep few of its levels. A
    hundredth of the pixels that have depth may be larger.
    """
    seen = depth[depth > 0]
    largest = int(np.quantile(seen, 0.99, method="nearest")) if seen.size else 0
    if depth.dtype == np.uint16 and 0 < largest < 4096:
        raise InputError(
            name,
            f"16-bit depth of at most {largest}",
            "16-bit depth that uses the range up to 65535",
            "scale the values, or save them with 8 bits, and run again",
        )
