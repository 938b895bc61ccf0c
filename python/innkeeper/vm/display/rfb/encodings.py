"""Rectangles as a client has them. Spec: RFC 6143, "Encodings"; rfbproto, "Tight Encoding"."""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from innkeeper._core import Screen

RAW: Final = 0
TIGHT: Final = 7
ZRLE: Final = 16
DESKTOP_SIZE: Final = -223
QEMU_KEYS: Final = -258
EXTENDED_SIZE: Final = -308
CURSOR: Final = -239
ALPHA_CURSOR: Final = -314

Part = tuple[int, int, int, int]
Format = tuple[int, int, bool, tuple[int, int, int], tuple[int, int, int]]

NATIVE: Final[Format] = (32, 24, False, (255, 255, 255), (16, 8, 0))
# Screens are flat: the first levels find most of it, and others take several times as long.
_LEVEL: Final = 2
# A rectangle of Tight is no wider, and has no more pixels than this, so that its length has room.
_WIDEST: Final = 2048
_MOST_PIXELS: Final = 1 << 20
_COPY, _PALETTE, _FILL = 0x00, 0x04, 0x80
# Data of fewer bytes goes as it is.
_SHORT: Final = 12


class Encoder:
    """One client's: its streams of zlib remember what it was sent."""

    def __init__(self) -> None:
        self.format = NATIVE
        # By name, each made when it is first used: it has a quarter of a megabyte.
        self._streams: dict[str, zlib._Compress] = {}
        self._encode: Callable[[Screen, Part], Iterator[bytes]] = self._raw

    def choose(self, encodings: tuple[int, ...]) -> None:
        """The first that we know."""
        known = {RAW: self._raw, TIGHT: self._tight_parts, ZRLE: self._zrle_part}
        found = [known[each] for each in encodings if each in known]
        self._encode = found[0] if found else self._raw

    def rectangles(self, screen: Screen, parts: list[Part]) -> list[bytes]:
        return [each for part in parts for each in self._encode(screen, part)]

    def _raw(self, screen: Screen, part: Part) -> Iterator[bytes]:
        yield head(part, RAW) + screen.raw(part, self.format)

    def _zrle_part(self, screen: Screen, part: Part) -> Iterator[bytes]:
        data = self._squeezed("zrle", screen.zrle(part, self.format))
        yield head(part, ZRLE) + struct.pack(">I", len(data)) + data

    def _tight_parts(self, screen: Screen, part: Part) -> Iterator[bytes]:
        for each in _split(part):
            colours, palette, data = screen.tight(each, self.format)
            yield head(each, TIGHT) + self._tight_data(colours, palette, data)

    def _tight_data(self, colours: int, palette: bytes, data: bytes) -> bytes:
        if colours == 1:
            return bytes((_FILL,)) + palette
        # A stream for each kind of data.
        stream = 0 if not colours else 1 if colours == 2 else 2
        control = bytes((stream << 4,))
        if colours:
            control = bytes((stream << 4 | _PALETTE << 4, 1, colours - 1)) + palette
        if len(data) < _SHORT:
            return control + data
        squeezed = self._squeezed(f"tight {stream}", data)
        return control + _compact(len(squeezed)) + squeezed

    def _squeezed(self, name: str, data: bytes) -> bytes:
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = zlib.compressobj(_LEVEL)
        return stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)


Pointer = tuple[int, tuple[int, int], int, int, bytes]


def pointer(looks: Pointer, pixels: Format, *, alpha: bool) -> bytes:
    """How the guest's pointer looks, for a client that draws it: with shades of what is below, or
    of the client's own pixels and a mask.
    """
    _, (x, y), width, height, rgba = looks
    place = (x, y, width, height)
    if alpha:
        return head(place, ALPHA_CURSOR) + struct.pack(">i", RAW) + rgba
    bits, _, big, largest, shifts = pixels
    size = bits // 8
    values = bytearray()
    mask = bytearray((width + 7) // 8 * height)
    for number in range(width * height):
        colours = rgba[4 * number : 4 * number + 3]
        value = 0
        for colour, most, shift in zip(colours, largest, shifts, strict=True):
            value |= (colour * most + 127) // 255 << shift
        values += value.to_bytes(size, "big" if big else "little")
        if rgba[4 * number + 3] >= 0x80:
            row, column = divmod(number, width)
            mask[row * ((width + 7) // 8) + column // 8] |= 0x80 >> column % 8
    return head(place, CURSOR) + bytes(values) + bytes(mask)


def head(part: Part, encoding: int) -> bytes:
    return struct.pack(">HHHHi", *part, encoding)


def _compact(length: int) -> bytes:
    """Seven bits a byte, the lowest first; a third byte has eight."""
    if length < 1 << 7:
        return bytes((length,))
    if length < 1 << 14:
        return bytes((length & 0x7F | 0x80, length >> 7))
    return bytes((length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14))


def _split(part: Part) -> Iterator[Part]:
    x, y, width, height = part
    for left in range(x, x + width, _WIDEST):
        wide = min(_WIDEST, x + width - left)
        rows = max(1, _MOST_PIXELS // wide)
        for top in range(y, y + height, rows):
            yield left, top, wide, min(rows, y + height - top)
