"""Frames of WebSockets, as much of them as browsers send. Spec: RFC 6455, "Data Framing"."""

import base64
import hashlib
import struct
from typing import Final

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION: Final = 0
# Bytes of one frame: keys and a clipboard.
LARGEST: Final = 1 << 20
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Broken(Exception):
    """What no browser sends, in words."""


def accept(key: str) -> str:
    """What a handshake's key is answered with."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID.encode()).digest()).decode()


def frame(kind: int, data: bytes) -> bytes:
    length = len(data)
    if length < 126:
        head = struct.pack(">BB", 0x80 | kind, length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", 0x80 | kind, 126, length)
    else:
        head = struct.pack(">BBQ", 0x80 | kind, 127, length)
    return head + data


def take(data: bytearray) -> tuple[int, bytes] | None:
    """Takes the first frame out of `data`: its kind, and what is in it. None when it is not whole.

    Raises:
        Broken: when it is none of a browser's.
    """
    if len(data) < 2:
        return None
    kind, length, at = data[0] & 0x0F, data[1] & 0x7F, 2
    if data[0] & 0x70 or not data[1] & 0x80:
        raise Broken("a frame without a mask, or with an extension")
    if length >= 126:
        width, code = (2, ">H") if length == 126 else (8, ">Q")
        if len(data) < at + width:
            return None
        (length,) = struct.unpack_from(code, data, at)
        at += width
    if length > LARGEST:
        raise Broken(f"a frame of {length} bytes")
    if len(data) < at + 4 + length:
        return None
    mask = bytes(data[at : at + 4]) * (length // 4 + 1)
    body = data[at + 4 : at + 4 + length]
    del data[: at + 4 + length]
    plain = int.from_bytes(body) ^ int.from_bytes(mask[:length])
    return kind, plain.to_bytes(length)
