"""A guest's console for as many as like to sit at it: all read the same, all may type."""

import socket
from collections.abc import Callable
from typing import Final

from innkeeper.vm.detached.home import CONSOLE, Home
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream

MOST: Final = 32  # who sit at it
_BEHIND: Final = 4 << 20  # bytes that a reader may be behind
# A serial line has no flow control: what the guest does not take of what is typed is lost.
_UNTAKEN: Final = 64 * 1024
_LINE: Final = 4096


class Console:
    """`on_data` sees all that the guest says, `on_reader` hears when the first reader comes."""

    def __init__(
        self,
        loop: Loop,
        home: Home,
        on_data: Callable[[bytes], None] = lambda _data: None,
        on_reader: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._on_data = on_data
        self._on_reader = on_reader
        self._readers: dict[int, Stream] = {}
        self._number = 0
        self._link: Stream | None = None
        self._line = bytearray()
        self._listener = Listener(loop, home.socket_path(CONSOLE), MOST, self._come)

    @property
    def readers(self) -> int:
        return len(self._readers)

    def connect(self) -> socket.socket:
        """The end for a machine; those who read stay when the machine is another one."""
        if self._link is not None:
            self._link.close()
        ours, theirs = socket.socketpair()
        # A machine does not read what it has no room for, and is not cut off for that.
        self._link = Stream(self._loop, ours, self._said, lambda: None, limit=1 << 30)
        return theirs

    def dismiss(self) -> None:
        """Sends the readers away: there is nobody any more to talk to."""
        for reader in list(self._readers.values()):
            reader.finish()

    def close(self) -> None:
        self._listener.close()
        self.dismiss()
        if self._link is not None:
            self._link.close()

    def _said(self, data: bytes) -> None:
        self._on_data(data)
        self._line = (self._line + data)[-_LINE:].rpartition(b"\n")[2]
        for reader in list(self._readers.values()):
            reader.send(data)

    def _typed(self, data: bytes) -> None:
        if self._link is not None and self._link.waiting < _UNTAKEN:
            self._link.send(data)

    def _come(self, connection: socket.socket) -> None:
        self._number += 1
        number = self._number

        def leave() -> None:
            self._readers.pop(number, None)
            self._listener.left()

        reader = Stream(self._loop, connection, self._typed, leave, limit=_BEHIND)
        self._readers[number] = reader
        # The line that it stands in, such as a prompt: or nobody knows that there is one.
        reader.send(bytes(self._line))
        self._on_reader()
