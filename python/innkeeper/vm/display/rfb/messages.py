"""What clients say, taken apart as it comes. Spec: RFC 6143, "Client-to-Server Messages"; rfbproto,
"QEMU Client Message", "SetDesktopSize", "Extended Clipboard Pseudo-Encoding".
"""

import struct
from dataclasses import dataclass
from typing import Final

MOST_ENCODINGS: Final = 1024
# Bytes of a clipboard, more than which nobody reads.
MOST_TEXT: Final = 1 << 20


class Nonsense(Exception):
    """What no client says, in words."""


@dataclass(frozen=True, slots=True)
class SetPixelFormat:
    """Bits, depth, whether big-endian, largest values and shifts: as `_core.Screen` takes it. None:
    one that we have none of, as a colour map is.
    """

    format: tuple[int, int, bool, tuple[int, int, int], tuple[int, int, int]] | None


@dataclass(frozen=True, slots=True)
class SetEncodings:
    encodings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UpdateRequest:
    incremental: bool


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """`number` is the key's, where the client tells it: as QEMU counts keys."""

    down: bool
    symbol: int
    number: int | None


@dataclass(frozen=True, slots=True)
class PointerEvent:
    buttons: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class CutText:
    text: bytes


@dataclass(frozen=True, slots=True)
class ExtendedCut:
    """What the extension of clipboards says, from its flags on."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SetDesktopSize:
    width: int
    height: int


Message = (
    SetPixelFormat
    | SetEncodings
    | UpdateRequest
    | KeyEvent
    | PointerEvent
    | CutText
    | ExtendedCut
    | SetDesktopSize
)

# Bytes with which each begins; what else it has, its beginning tells.
_HEADS: Final = {0: 20, 2: 4, 3: 10, 4: 8, 5: 6, 6: 8, 251: 8, 255: 2}
_QEMU_KEY: Final = 12


def take(data: bytearray) -> Message | None:
    """Takes the first message out of `data`; None when it has not come whole.

    Raises:
        Nonsense: when there is no such message.
    """
    if not data:
        return None
    head = _HEADS.get(data[0])
    if head is None:
        raise Nonsense(f"there is no message {data[0]}")
    if len(data) < head:
        return None
    length = _length(data)
    if len(data) < length:
        return None
    message = bytes(data[:length])
    del data[:length]
    return _read(message)


def _length(data: bytearray) -> int:
    kind = data[0]
    if kind == 2:
        (count,) = struct.unpack_from(">H", data, 2)
        if count > MOST_ENCODINGS:
            raise Nonsense(f"{count} encodings are more than there are")
        return 4 + 4 * int(count)
    if kind == 6:
        (length,) = struct.unpack_from(">i", data, 4)
        # Below zero, it is an extended clipboard.
        if abs(length) > MOST_TEXT:
            raise Nonsense(f"a clipboard of {abs(length)} bytes is too long")
        return 8 + abs(int(length))
    if kind == 251:
        return 8 + 16 * data[6]
    if kind == 255:
        if data[1] != 0:
            raise Nonsense(f"there is no message 255 {data[1]}")
        return _QEMU_KEY
    return _HEADS[kind]


def _read(data: bytes) -> Message:
    kind = data[0]
    if kind == 0:
        return SetPixelFormat(_format(data[4:]))
    if kind == 2:
        count = (len(data) - 4) // 4
        return SetEncodings(struct.unpack_from(f">{count}i", data, 4))
    if kind == 3:
        return UpdateRequest(incremental=data[1] != 0)
    if kind == 4:
        down, symbol = struct.unpack_from(">xB2xI", data)
        return KeyEvent(down=down != 0, symbol=symbol, number=None)
    if kind == 5:
        return PointerEvent(*struct.unpack_from(">xBHH", data))
    if kind == 6:
        (length,) = struct.unpack_from(">i", data, 4)
        return CutText(data[8:]) if length >= 0 else ExtendedCut(data[8:])
    if kind == 251:
        return SetDesktopSize(*struct.unpack_from(">2xHH", data))
    down, symbol, number = struct.unpack_from(">2xHII", data)
    return KeyEvent(down=down != 0, symbol=symbol, number=number)


def _format(
    data: bytes,
) -> tuple[int, int, bool, tuple[int, int, int], tuple[int, int, int]] | None:
    bits, depth, big, true, red, green, blue, *shifts = struct.unpack_from(">BBBBHHHBBB", data)
    if not true:
        return None
    return bits, depth, big != 0, (red, green, blue), (shifts[0], shifts[1], shifts[2])
