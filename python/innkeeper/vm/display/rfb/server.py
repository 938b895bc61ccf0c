"""All RFB clients of a guest. Each gets what it has not seen, once it has taken what it was sent
before, and looks are as far apart as they take time. So a guest that draws without end costs a
share of a processor, and a client that is slow costs nothing.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream
from innkeeper.vm.display.rfb.client import Client
from innkeeper.vm.display.seat import Seat

MOST: Final = 16  # clients of each listener
# Seconds between two looks at least, and how many times as long as the last look took.
_INTERVAL: Final = 1 / 30
_REST: Final = 3.0
# Bytes that may wait for a client: a whole picture without compression, and one again.
_LIMIT: Final = 128 << 20


class RfbServer:
    """`listeners` are sockets that listen, each with the password that its clients need."""

    def __init__(
        self,
        loop: Loop,
        seat: Seat,
        name: Callable[[], str],
        listeners: Sequence[tuple[str | socket.socket, bytes | None]],
    ) -> None:
        self._loop = loop
        self._seat = seat
        self._name = name
        self._clients: dict[int, tuple[Client, Stream]] = {}
        self._number = 0
        self._looking = False
        self._listeners: list[Listener] = []
        for place, password in listeners:
            self._listen(place, password)

    @property
    def clients(self) -> int:
        return len(self._clients)

    def _listen(self, place: str | socket.socket, password: bytes | None) -> None:
        def come(connection: socket.socket) -> None:
            self._come(connection, password, listener)

        listener = Listener(self._loop, place, MOST, come)
        self._listeners.append(listener)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for _, stream in list(self._clients.values()):
            stream.finish()

    def _come(self, connection: socket.socket, password: bytes | None, listener: Listener) -> None:
        self._number += 1
        number = self._number
        if connection.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client: Client

        def leave() -> None:
            listener.left()
            found = self._clients.pop(number, None)
            if found is not None:
                found[0].gone()

        stream = Stream(
            self._loop, connection, lambda data: client.receive(data), leave, limit=_LIMIT
        )
        client = Client(
            self._seat,
            self._name(),
            password,
            send=stream.send,
            hang_up=stream.finish,
            wants=self._wanted,
        )
        self._clients[number] = client, stream

    def _wanted(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.after(0, self._look)

    def _look(self) -> None:
        began = time.monotonic()
        ready = [
            client
            for client, stream in self._clients.values()
            if client.waiting and not stream.waiting
        ]
        for client in ready:
            client.update()
        if not any(client.waiting for client, _ in self._clients.values()):
            self._looking = False
            return
        took = time.monotonic() - began
        self._loop.after(max(_INTERVAL, _REST * took), self._look)
