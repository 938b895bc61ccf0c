"""Moving pictures as PNG: what browsers and image viewers show, of the parts that changed.

Spec: Portable Network Graphics, third edition, "Animation".
"""

import struct
from typing import BinaryIO, Final

from innkeeper.vm.display.png import SIGNATURE, chunk, header, squeezed

# Milliseconds that a picture stays at most: the field has sixteen bits.
_LONGEST: Final = 0xFFFF
_LAST: Final = 1000
_ONCE: Final = 1
# A picture is left as it is by the next, which replaces what it covers.
_LEAVE, _REPLACE = 0, 0

Part = tuple[int, int, int, int]


class Animation:
    """Writes to `file`, which can be gone back in. It is whole when `close` has ended it."""

    def __init__(self, file: BinaryIO, width: int, height: int) -> None:
        self._file = file
        self._size = width, height
        self.pictures = 0
        self._chunks = 0
        # The last picture waits: how long it is shown, the next one says.
        self._waiting: tuple[Part, bytes] | None = None
        file.write(SIGNATURE + header(width, height))
        self._count_at = file.tell()
        self._write_count()

    @property
    def started(self) -> bool:
        """It has a picture."""
        return self.pictures > 0 or self._waiting is not None

    def picture(self, part: Part, rgb: bytes, milliseconds: int) -> None:
        """The part x, y, width, height looks so, `milliseconds` after the last. First is all."""
        self._flush(milliseconds)
        if self.pictures == 0 and part != (0, 0, *self._size):
            raise ValueError("the first picture is whole")
        self._waiting = part, squeezed(part[2], part[3], rgb)

    def close(self) -> None:
        self._flush(_LAST)
        self._file.write(chunk(b"IEND", b""))
        self._file.seek(self._count_at)
        self._write_count()

    def _write_count(self) -> None:
        self._file.write(chunk(b"acTL", struct.pack(">II", self.pictures, _ONCE)))

    def _flush(self, milliseconds: int) -> None:
        if self._waiting is None:
            return
        (x, y, width, height), data = self._waiting
        self._waiting = None
        delay = min(max(milliseconds, 1), _LONGEST)
        place = struct.pack(">IIII", width, height, x, y)
        shown = struct.pack(">HHBB", delay, 1000, _LEAVE, _REPLACE)
        self._file.write(chunk(b"fcTL", self._number() + place + shown))
        if self.pictures == 0:
            self._file.write(chunk(b"IDAT", data))
        else:
            self._file.write(chunk(b"fdAT", self._number() + data))
        self.pictures += 1

    def _number(self) -> bytes:
        self._chunks += 1
        return struct.pack(">I", self._chunks - 1)
