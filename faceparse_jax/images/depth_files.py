"""Depth maps from files, in every layout and type of number that users have.

Sources, names and errors are those of `images.read`.
"""

import io
import math
import tempfile
import tokenize

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from PIL import Image

from faceparse_jax.errors import InputError
from faceparse_jax.images.read import (
    SIXTEEN_BIT,
    UNREADABLE,
    Source,
    contents,
    fits_sixteen_bit,
    load,
    one_channel,
    sixteen_bit,
    wrong_mode,
)


def read_depth(
    source: Source | Image.Image, name: str = "", measured: bool = False
) -> Shaped[np.ndarray, "h w"]:
    """Depth as stored: one or three equal channels of 8 or 16 bits, image or .npy.

    Pixels that are wholly transparent have no depth, 0. Pickled arrays are never loaded.

    Args:
        source: a path, the bytes of a file, or a picture of Pillow.
        name: what errors call the file; the path where there is one.
        measured: also take floats and integers of any size, from TIFF, PFM, .npy and OpenEXR
            (where the package OpenEXR is installed), as `images.depth.to_benchmark` does.

    Raises:
        InputError: also for channels that differ and for other types of number.
    """
    if isinstance(source, Image.Image):
        data, name = b"", name or "depth"
        image = load(source, name)
    else:
        data, name = contents(source, name)
        if data.startswith(b"\x93NUMPY"):
            return one_channel(_npy(data, name, measured), name)
        if data.startswith(b"\x76\x2f\x31\x01"):
            return one_channel(_exr(data, name, measured), name)
        image = load(data, name)
    if image.mode == "L" and not image.has_transparency_data:
        return np.array(image)
    # Pillow's mode I also holds the 16 bits of a PGM.
    if measured and (image.mode == "F" or (image.mode == "I" and not fits_sixteen_bit(image))):
        return np.array(image)
    if image.mode in SIXTEEN_BIT:
        return sixteen_bit(image, name)
    if image.mode not in ("L", "LA", "P", "PA", "RGB", "RGBA"):
        raise wrong_mode(name, image.mode, "8- or 16-bit depth in one or three channels")
    # A PNG's header gives the bits of a channel; Pillow cuts 16-bit colour to 8, for good where
    # the picture is Pillow's already.
    deep = image.format == "PNG" and data[24:25] == b"\x10" and image.mode in ("RGB", "RGBA")
    coloured = image.convert("RGBA")
    values = np.array(coloured.convert("RGB"))
    if deep:
        low = load(data, name, low_bytes=True).convert("RGBA").convert("RGB")
        values = values.astype(np.uint16) << 8 | np.asarray(low)
    values[np.asarray(coloured.getchannel("A")) == 0] = 0
    return one_channel(values, name)


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
    except (*UNREADABLE, TypeError, tokenize.TokenError) as error:
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
