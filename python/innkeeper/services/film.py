"""`inn record`: what a guest shows, as a moving picture.

The recorder is a viewer as any other, so a guest has no more work with it, and what changes between
two pictures is all that is written.
"""

import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput
from innkeeper.vm.detached.home import VNC, Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.display.apng import Animation, Part

FASTEST: Final = 30
_RAW: Final = 0
# Bytes of a pixel as they come, and as they are written.
_PIXEL, _RGB = 4, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """Up to `rate` pictures a second, for `seconds`, or until the guest ends or Ctrl-C comes."""

    rate: int = 10
    seconds: float | None = None


def record(name: str, path: Path, wanted: Film) -> int:
    """Writes an animated PNG. How many pictures it has.

    Raises:
        GuestNotFound, GuestNotRunning; InvalidInput: when the guest has no display.
        HostFailure: when the file cannot be written.
    """
    if not 1 <= wanted.rate <= FASTEST:
        raise InvalidInput(f"a recording has 1 to {FASTEST} pictures a second, not {wanted.rate}")
    with registry().open(name) as home, _connected(home, name) as viewer:
        try:
            with path.open("wb") as file:
                return _record(viewer, file, wanted)
        except OSError as error:
            raise HostFailure(f"cannot write {path}: {error.strerror}") from error


def _connected(home: Home, name: str) -> socket.socket:
    if not home.is_taken():
        raise GuestNotRunning(f"the guest {name!r} is not running")
    place = home.socket_path(VNC)
    if not os.path.exists(place):  # noqa: PTH110 - a path through a descriptor
        raise InvalidInput(f"the guest {name!r} has no display; see inn run --display")
    viewer = socket.socket(socket.AF_UNIX)
    try:
        viewer.connect(place)
    except OSError as error:
        viewer.close()
        raise GuestNotRunning(f"the guest {name!r} does not show its screen") from error
    return viewer


class _Gone(Exception):
    """The guest has ended."""


class _Watcher:
    """A viewer that has a copy of the screen."""

    def __init__(self, viewer: socket.socket) -> None:
        self._socket = viewer
        self._file = viewer.makefile("rb")
        self._take(12)
        viewer.sendall(b"RFB 003.008\n\1\1")
        self._take(6)
        self.size: tuple[int, int] = struct.unpack(">HH", self._take(4))
        self._take(16)
        self._take(int.from_bytes(self._take(4)))
        viewer.sendall(struct.pack(">BxHi", 2, 1, _RAW))
        self._rgb = bytearray(_RGB * self.size[0] * self.size[1])

    def _take(self, count: int) -> bytes:
        try:
            data = self._file.read(count)
        except OSError as error:
            raise _Gone from error
        if len(data) < count:
            raise _Gone
        return data

    def next(self) -> Part:
        """Waits for what changes, and answers where that was."""
        try:
            self._socket.sendall(struct.pack(">BBHHHH", 3, 1, 0, 0, *self.size))
        except OSError as error:
            raise _Gone from error
        (count,) = struct.unpack(">xxH", self._take(4))
        parts = [self._rectangle() for _ in range(count)]
        left, top = (min(part[axis] for part in parts) for axis in (0, 1))
        right, bottom = (max(part[axis] + part[axis + 2] for part in parts) for axis in (0, 1))
        return left, top, right - left, bottom - top

    def _rectangle(self) -> Part:
        x, y, width, height = struct.unpack(">HHHH4x", self._take(12))
        raw = self._take(_PIXEL * width * height)
        rgb = bytearray(_RGB * width * height)
        # Blue, green, red.
        for colour in range(_RGB):
            rgb[colour::_RGB] = raw[2 - colour :: _PIXEL]
        pitch = _RGB * width
        for row in range(height):
            at = _RGB * ((y + row) * self.size[0] + x)
            self._rgb[at : at + pitch] = rgb[row * pitch : (row + 1) * pitch]
        return x, y, width, height

    def part(self, part: Part) -> bytes:
        x, y, width, height = part
        starts = (_RGB * (row * self.size[0] + x) for row in range(y, y + height))
        return b"".join(self._rgb[at : at + _RGB * width] for at in starts)


def _record(viewer: socket.socket, file: BinaryIO, wanted: Film) -> int:
    watcher = _Watcher(viewer)
    animation = Animation(file, *watcher.size)
    end = None if wanted.seconds is None else time.monotonic() + wanted.seconds
    last = time.monotonic()
    with contextlib.suppress(_Gone, KeyboardInterrupt, TimeoutError):
        while True:
            now = time.monotonic()
            if end is not None:
                if now >= end and animation.started:
                    break
                # The first picture is waited for.
                viewer.settimeout(max(end - now, 0.01) if animation.started else None)
            part = watcher.next()
            now = time.monotonic()
            animation.picture(part, watcher.part(part), round(1000 * (now - last)))
            last = now
            time.sleep(1 / wanted.rate)
    animation.close()
    return animation.pictures
