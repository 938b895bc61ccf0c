"""A viewer that takes pictures and looks at none: how many come, in how many bytes."""

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RAW: Final = 0
TIGHT: Final = 7
ZRLE: Final = 16
# Bytes of Tight's data below which it is not compressed.
_SHORT: Final = 12
_FILL, _EXPLICIT = 8, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came in so many seconds."""

    seconds: float
    updates: int
    bytes: int


class Viewer:
    def __init__(self, path: Path, encoding: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        self._count = 0
        self._take(12)
        self._socket.sendall(b"RFB 003.008\n\1\1")
        self._take(2 + 4)
        self.size = struct.unpack(">HH", self._take(4))
        self._take(16)
        self._take(int.from_bytes(self._take(4)))
        self._socket.sendall(struct.pack(">BxHi", 2, 1, encoding))

    def close(self) -> None:
        self._socket.close()

    def _take(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise SystemExit("the guest's screen has gone")
        self._count += count
        return data

    def watch(self, seconds: float) -> Seen:
        """Takes all that is new for so long, after a whole picture."""
        self._ask(incremental=False)
        self._update()
        self._count = 0
        began = time.monotonic()
        updates = 0
        while (spent := time.monotonic() - began) < seconds:
            self._ask(incremental=True)
            self._update()
            updates += 1
        return Seen(seconds=spent, updates=updates, bytes=self._count)

    def _ask(self, *, incremental: bool) -> None:
        self._socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, *self.size))

    def _update(self) -> None:
        _, count = struct.unpack(">BxH", self._take(4))
        for _ in range(count):
            _, _, width, height, encoding = struct.unpack(">HHHHi", self._take(12))
            if encoding == RAW:
                self._take(4 * width * height)
            elif encoding == ZRLE:
                self._take(int.from_bytes(self._take(4)))
            elif encoding == TIGHT:
                self._tight(width, height)

    def _tight(self, width: int, height: int) -> None:
        control = self._take(1)[0] >> 4
        if control == _FILL:
            self._take(3)
            return
        size = 3 * width * height
        if control & _EXPLICIT and self._take(1)[0] == 1:
            colours = self._take(1)[0] + 1
            self._take(3 * colours)
            size = (width + 7) // 8 * height if colours == 2 else width * height
        if size < _SHORT:
            self._take(size)
            return
        length = shift = 0
        while True:
            byte = self._take(1)[0]
            length |= (byte if shift == 14 else byte & 0x7F) << shift
            shift += 7
            if shift > 14 or not byte & 0x80:
                break
        self._take(length)
