"""Pictures as PNG. Spec: Portable Network Graphics, third edition."""

import struct
import zlib
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB: Final = 2


def encode(width: int, height: int, rgb: bytes) -> bytes:
    """`rgb` has three bytes a pixel, row by row."""
    data = chunk(b"IDAT", squeezed(width, height, rgb))
    return SIGNATURE + header(width, height) + data + chunk(b"IEND", b"")


def header(width: int, height: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0))


def squeezed(width: int, height: int, rgb: bytes) -> bytes:
    """A picture's data."""
    pitch = 3 * width
    # Each row without a filter: screens are mostly flat, and this is quick.
    rows = b"".join(b"\0" + rgb[at : at + pitch] for at in range(0, pitch * height, pitch))
    return zlib.compress(rows, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
