"""All RFB clients of a guest. Each gets what it has not seen, once it has taken what it was sent
before, and looks are as far apart as they take time. So a guest that draws without end costs a
share of a processor, and a client that is slow costs nothing.

A look ends when it has taken long enough, and the next one begins with those who were not served:
many clients get fewer pictures each, and whoever else wants something of this process waits no
longer.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream
from innkeeper.vm.display.rfb.client import Client
from innkeeper.vm.display.rfb.places import Security
from innkeeper.vm.display.seat import Seat

MOST: Final = 16  # clients of each listener
# Seconds between two looks at least, and how many times as long as the last one took.
_INTERVAL: Final = 1 / 30
_REST: Final = 3.0
# Seconds after which no further client is served in a look.
_TURN: Final = 0.02
# Bytes that may wait for a client: an update without compression, and some more.
_LIMIT: Final = 16 << 20
# Seconds that a client has to say who it is.
_GREETING: Final = 30.0


class RfbServer:
    """`listeners` are sockets that listen, each with what its clients need."""

    def __init__(
        self,
        loop: Loop,
        seat: Seat,
        name: Callable[[], str],
        listeners: Sequence[tuple[str | socket.socket, Security]],
    ) -> None:
        self._loop = loop
        self._seat = seat
        self._name = name
        self._clients: dict[int, tuple[Client, Stream]] = {}
        self._number = 0
        self._looking = False
        self._listeners: list[Listener] = []
        self.on_client: Callable[[], None] | None = None
        for place, security in listeners:
            self._listen(place, security)

    @property
    def clients(self) -> int:
        return len(self._clients)

    def _listen(self, place: str | socket.socket, security: Security) -> None:
        def come(connection: socket.socket) -> None:
            self._come(connection, security, listener)

        listener = Listener(self._loop, place, MOST, come)
        self._listeners.append(listener)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        for _, stream in list(self._clients.values()):
            stream.close()

    def _come(self, connection: socket.socket, security: Security, listener: Listener) -> None:
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

        def hang_up() -> None:
            stream.finish()
            if number in self._clients:
                self._hurry(number)

        client = Client(
            self._seat,
            self._name(),
            security,
            send=stream.send,
            hang_up=hang_up,
            wants=self._wanted,
        )
        if not stream.open:
            # It had gone before it was greeted, and does not leave again.
            return
        self._clients[number] = client, stream
        self._hurry(number)
        if self.on_client is not None:
            self.on_client()

    def _hurry(self, number: int) -> None:
        """Who has not said who they are in time, or does not take their last words, is cut off."""

        def look() -> None:
            # By its number: who has left must not be kept until then.
            client, stream = self._clients.get(number, (None, None))
            if client is not None and stream is not None and not client.greeted:
                stream.close()

        self._loop.after(_GREETING, look)

    def _wanted(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.after(0, self._look)

    def _look(self) -> None:
        began, spent = time.monotonic(), time.thread_time()
        screen = self._seat.screen
        look = None if screen is None else screen.refresh()
        left = False
        for number, (client, stream) in list(self._clients.items()):
            if not client.waiting or stream.waiting:
                continue
            left = time.monotonic() - began >= _TURN
            if left:
                break
            client.update(look)
            if number in self._clients:
                # The others come first the next time.
                self._clients[number] = self._clients.pop(number)
        if not any(client.waiting for client, _ in self._clients.values()):
            self._looking = False
            return
        now = time.monotonic()
        # Of processor time: who waits for a processor that others have costs nothing.
        pause = _REST * (time.thread_time() - spent)
        self._loop.after(pause if left else max(began + _INTERVAL - now, pause), self._look)
