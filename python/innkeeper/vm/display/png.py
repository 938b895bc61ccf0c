"""Pictures as PNG. Spec: Portable Network Graphics, third edition."""

import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_RGB: Final = 2


def encode(width: int, height: int, rgb: bytes) -> bytes:
    """`rgb` has three bytes a pixel, row by row."""
    pitch = 3 * width
    # Each row without a filter: screens are mostly flat, and this is quick.
    rows = b"".join(b"\0" + rgb[at : at + pitch] for at in range(0, pitch * height, pitch))
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 3)), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
