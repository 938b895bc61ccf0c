"""What a machine's serial port says, where nobody types: a pipe into the loop."""

import os
from collections.abc import Callable
from typing import Final

from innkeeper.vm.detached.loop import READ, Loop

_CHUNK: Final = 1 << 16


class SerialLine:
    """`on_data` gets what the port says, of one machine after the other."""

    def __init__(self, loop: Loop, on_data: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._on_data = on_data
        self._fd: int | None = None

    def connect(self) -> int:
        """The end for a machine; what the one before has said is read to its end."""
        self.drain()
        self._close()
        self._fd, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # The writer waits as for any other file.
        os.set_blocking(theirs, True)
        self._loop.watch(self._fd, READ, lambda _events: self._read())
        return theirs

    def drain(self) -> None:
        """Reads all that there is now."""
        while self._read():
            pass

    def _read(self) -> bool:
        """False when there is nothing just now, or the machine that wrote is gone."""
        if self._fd is None:
            return False
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        if data:
            self._on_data(data)
        else:
            self._close()
        return bool(data)

    def _close(self) -> None:
        if self._fd is not None:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = None
