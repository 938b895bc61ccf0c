"""A connection in the loop: what comes is handed on at once, what goes waits in a bounded box."""

import array
import contextlib
import fcntl
import os
import select
import socket
import termios
from collections.abc import Callable
from typing import Final

from innkeeper.vm.detached.loop import READ, WRITE, Loop

CHUNK: Final = 64 * 1024
_MOST_DESCRIPTORS: Final = 16  # that come with one piece
_GONE: Final = select.EPOLLHUP | select.EPOLLERR


class Stream:
    """Owns `channel`. `on_data` gets what comes, `on_end` is called once, however it ends.

    Whoever does not take what it is sent until `limit` bytes wait for it is cut off: neither this
    process's memory nor the others who talk to it are at its mercy.
    """

    def __init__(
        self,
        loop: Loop,
        channel: socket.socket,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
        limit: int,
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._on_data = on_data
        self._on_end = on_end
        self.limit = limit
        self._outbox = bytearray()
        self._open = True
        self._closing = False
        self._on_descriptors: Callable[[list[int]], None] | None = None
        channel.setblocking(False)  # noqa: FBT003 - the one argument it has
        self._watch()

    def take_descriptors(self, on_descriptors: Callable[[list[int]], None]) -> None:
        """What comes with data is told before that. Without, it is closed."""
        self._on_descriptors = on_descriptors

    @property
    def open(self) -> bool:
        return self._open

    @property
    def waiting(self) -> int:
        """Bytes that have not been taken yet."""
        return len(self._outbox)

    @property
    def unread(self) -> int:
        """Bytes that the other end has not read yet. Spec: unix(7), "Ioctls"."""
        if not self._open:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._channel, termios.TIOCOUTQ, count)
        return len(self._outbox) + count[0]

    def push(self) -> None:
        """Sends what waits, as far as it is taken now."""
        if self._open and self._outbox:
            self._flush()

    def send(self, data: bytes) -> None:
        if not self._open or self._closing:
            return
        was_empty = not self._outbox
        self._outbox += data
        if was_empty:
            self._flush()
        if len(self._outbox) > self.limit:
            self.close()
        elif self._open and was_empty and self._outbox:
            self._watch()

    def finish(self) -> None:
        """Closes once all is taken. What comes meanwhile is nobody's."""
        self._closing = True
        if not self._outbox:
            self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.forget(self._channel.fileno())
            self._channel.close()
            self._on_end()

    def _watch(self) -> None:
        events = READ | (WRITE if self._outbox else 0)
        self._loop.watch(self._channel.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & (READ | _GONE):
            self._receive()
        if self._open and events & WRITE:
            self._flush()
            if not self._open:
                return
            if self._closing and not self._outbox:
                self.close()
            else:
                self._watch()

    def _receive(self) -> None:
        try:
            data = self._read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif not self._closing:
            self._on_data(data)

    def _read(self) -> bytes:
        if self._on_descriptors is None or self._closing:
            return self._channel.recv(CHUNK)
        flags = socket.MSG_CMSG_CLOEXEC
        data, descriptors, _, _ = socket.recv_fds(self._channel, CHUNK, _MOST_DESCRIPTORS, flags)
        if descriptors:
            self._on_descriptors(descriptors)
        return data

    def _flush(self) -> None:
        try:
            while self._outbox:
                sent = self._channel.send(self._outbox[:CHUNK])
                del self._outbox[:sent]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()


class Listener:
    """A socket of the name `place`, or one that is bound already, which hands each who connects to
    `on_connection`.

    No more than `most` are there at a time: whoever comes then waits until one has `left`.
    """

    def __init__(
        self,
        loop: Loop,
        place: str | socket.socket,
        most: int,
        on_connection: Callable[[socket.socket], None],
    ) -> None:
        self._loop = loop
        self._room = most
        self._on_connection = on_connection
        self._socket = _bound(place) if isinstance(place, str) else place
        self._socket.listen(64)
        self._listen()

    def left(self) -> None:
        """One who had come has gone."""
        self._room += 1
        if self._room == 1 and self._socket.fileno() >= 0:
            self._listen()

    def close(self) -> None:
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def _listen(self) -> None:
        self._loop.watch(self._socket.fileno(), READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            # It has gone again, or there is no descriptor left: the next may have more luck.
            return
        self._room -= 1
        if self._room == 0:
            self._loop.forget(self._socket.fileno())
        self._on_connection(connection)


def _bound(path: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    bound.bind(path)
    return bound
