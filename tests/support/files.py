"""Bytes of files, whole and damaged."""

import io
import struct
import zlib

import numpy as np


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def huge_png() -> bytes:
    """A header that promises ten billion pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = zlib.compress(b"\0" * 1000)
    body = struct.pack(">I", len(data)) + b"IDAT" + data
    return b"\x89PNG\r\n\x1a\n" + chunk + crc + body + struct.pack(">I", zlib.crc32(b"IDAT" + data))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]
