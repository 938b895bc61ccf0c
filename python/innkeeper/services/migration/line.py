"""Bytes to and from another host, without a thread for each way: TLS can have only one at a time.

First words, each a length of four bytes and JSON of that length; then whatever the guest's
processes send each other.
"""

import contextlib
import json
import os
import select
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from innkeeper.errors import HostFailure

_LONGEST: Final = 1 << 20
_CHUNK: Final = 256 << 10
_ROOM: Final = 1 << 20
# Seconds: for a word of the other side, and after which a network that is silent is no more.
PATIENCE: Final = 60.0
# Seconds in which it is known who is at the other end.
_GREETING: Final = 10.0
# Seconds for which it is waited why the other side hears nothing any more.
_LAST_WORD: Final = 2.0
_SILENCE: Final = 10


class Line:
    """Owns what it is made of. `tls` reads and writes in place of the descriptors."""

    def __init__(
        self,
        reader: int,
        writer: int,
        tls: ssl.SSLSocket | None = None,
        process: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._tls = tls
        self._process = process
        for descriptor in (reader, writer):
            os.set_blocking(descriptor, False)

    @classmethod
    def secured(cls, connection: socket.socket, context: ssl.SSLContext, *, server: bool) -> Self:
        """
        Raises:
            OSError: also when the two do not trust each other.
        """
        _hurry(connection)
        connection.settimeout(_GREETING)
        tls = context.wrap_socket(connection, server_side=server)
        # Python waits by itself otherwise, whatever the descriptor is.
        tls.settimeout(0.0)
        return cls(tls.fileno(), tls.fileno(), tls)

    @classmethod
    def spoken_to(cls, words: list[str]) -> Self:
        """To a process of this host, by its standard input and output.

        Raises:
            HostFailure: when it cannot be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                descriptor = theirs.fileno()
                process = subprocess.Popen(words, stdin=descriptor, stdout=descriptor)
            except OSError as error:
                ours.close()
                raise HostFailure(f"cannot start {words[0]}: {error.strerror}") from error
        descriptor = ours.detach()
        return cls(descriptor, descriptor, None, process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._tls is not None:
            self._tls.close()
        else:
            for descriptor in {self._reader, self._writer}:
                os.close(descriptor)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
                return
            self._process.kill()
            self._process.wait()

    @property
    def certificate(self) -> bytes | None:
        """The other's."""
        return None if self._tls is None else self._tls.getpeercert(binary_form=True)

    # Words.

    def say(self, word: Mapping[str, object]) -> None:
        """
        Raises:
            HostFailure: when nobody takes it.
        """
        data = json.dumps(word).encode()
        self.send(len(data).to_bytes(4, "big") + data)

    def hear(self, patience: float = PATIENCE) -> dict[str, Any]:
        """
        Raises:
            HostFailure: when nothing is said that could be meant.
        """
        until = time.monotonic() + patience
        length = int.from_bytes(self.receive(4, until), "big")
        if length > _LONGEST:
            raise HostFailure("the other host speaks of nothing that is known here")
        try:
            word = json.loads(self.receive(length, until))
        except (ValueError, RecursionError) as error:
            raise HostFailure("the other host speaks of nothing that is known here") from error
        if not isinstance(word, dict):
            raise HostFailure("the other host speaks of nothing that is known here")
        return word

    def send(self, data: bytes) -> None:
        """
        Raises:
            HostFailure: when nobody takes it.
        """
        until = time.monotonic() + PATIENCE
        view = memoryview(data)
        while view:
            sent = self._write(view[:_CHUNK])
            view = view[sent:]
            if sent:
                until = time.monotonic() + PATIENCE
            else:
                self._wait(select.POLLOUT, until)

    def receive(self, count: int, until: float | None = None) -> bytes:
        """
        Raises:
            HostFailure: when less comes.
        """
        until = time.monotonic() + PATIENCE if until is None else until
        data = bytearray()
        while len(data) < count:
            found = self._read(min(count - len(data), _CHUNK))
            if found is None:
                self._wait(select.POLLIN, until)
            elif not found:
                raise HostFailure("the other host has hung up")
            else:
                data += found
        return bytes(data)

    def _wait(self, events: int, until: float) -> None:
        left = until - time.monotonic()
        poll = select.poll()
        poll.register(self._reader if events == select.POLLIN else self._writer, events)
        if left <= 0 or not poll.poll(left * 1000):
            raise HostFailure("the other host does not answer")

    # What the guest's processes send.

    def relay(self, guest: socket.socket, done: Callable[[], bool] = lambda: False) -> None:
        """Hands on all that comes, either way, until one of the two has gone or it is `done`. What
        one said last, the other hears.
        """
        guest.setblocking(False)  # noqa: FBT003 - the one argument it has
        inward, outward = bytearray(), bytearray()
        try:
            self._exchange(guest, inward, outward, done)
        except HostFailure:
            # It hears nothing any more. Why, it may have said before.
            inward += self._rest()
        with contextlib.suppress(OSError, HostFailure):
            guest.setblocking(True)  # noqa: FBT003 - the one argument it has
            guest.settimeout(PATIENCE)
            guest.sendall(inward)
        guest.setblocking(False)  # noqa: FBT003 - the one argument it has
        with contextlib.suppress(OSError, HostFailure):
            while (told := _pull(guest)) is not None and told:
                outward += told
            self.send(bytes(outward))

    def _exchange(
        self, guest: socket.socket, inward: bytearray, outward: bytearray, done: Callable[[], bool]
    ) -> None:
        while not done():
            if len(inward) < _ROOM and (found := self._read(_CHUNK)) is not None:
                if not found:
                    break
                inward += found
                _push(guest, inward)
            elif len(outward) < _ROOM and (told := _pull(guest)) is not None:
                if not told:
                    break
                outward += told
                self._push(outward)
            else:
                self._idle(guest, inward, outward)
                _push(guest, inward)
                self._push(outward)

    def _rest(self) -> bytes:
        """What the other host has said by now, or says within a moment."""
        data = bytearray()
        until = time.monotonic() + _LAST_WORD
        with contextlib.suppress(HostFailure):
            while len(data) < _ROOM:
                found = self._read(_CHUNK)
                if found is None:
                    self._wait(select.POLLIN, until)
                elif not found:
                    break
                else:
                    data += found
        return bytes(data)

    def _idle(self, guest: socket.socket, inward: bytearray, outward: bytearray) -> None:
        poll = select.poll()
        ours = select.POLLIN if len(inward) < _ROOM else 0
        theirs = select.POLLIN if len(outward) < _ROOM else 0
        poll.register(guest, theirs | (select.POLLOUT if inward else 0))
        if self._reader == self._writer:
            poll.register(self._reader, ours | (select.POLLOUT if outward else 0))
        else:
            poll.register(self._reader, ours)
            if outward:
                poll.register(self._writer, select.POLLOUT)
        poll.poll(1000)

    def _push(self, data: bytearray) -> None:
        while data:
            sent = self._write(memoryview(bytes(data[:_CHUNK])))
            if not sent:
                return
            del data[:sent]

    def _read(self, count: int) -> bytes | None:
        """Nothing at all when there is nothing now; no bytes when nothing will come."""
        try:
            return os.read(self._reader, count) if self._tls is None else self._tls.recv(count)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError:
            return b""

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._writer, data) if self._tls is None else self._tls.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError as error:
            raise HostFailure("the connection to the other host is gone") from error


def _pull(guest: socket.socket) -> bytes | None:
    try:
        return guest.recv(_CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _push(guest: socket.socket, data: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data:
            sent = guest.send(data[:_CHUNK])
            del data[:sent]


def _hurry(connection: socket.socket) -> None:
    """A network that is cut is noticed, also while there is nothing to say. Spec: tcp(7)."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENCE // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _SILENCE // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE * 1000)
