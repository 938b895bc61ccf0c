"""The control socket of a running guest: sessions, and events for those that have negotiated."""

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from innkeeper.vm.detached.home import CONTROL, Home
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream
from innkeeper.vm.qmp import schema
from innkeeper.vm.qmp.session import Handler, Session, encode

MOST: Final = 32  # clients at a time
_BEHIND: Final = 1 << 20  # bytes that a client may be behind


class Server:
    """`handlers` are of every command in the schema but those that are about the schema itself."""

    def __init__(
        self,
        loop: Loop,
        home: Home,
        handlers: Mapping[str, Handler],
        version: Mapping[str, object],
    ) -> None:
        self._loop = loop
        self._handlers = {
            **handlers,
            "query-commands": lambda _: [{"name": name} for name in schema.COMMANDS],
            "query-qmp-schema": lambda _: schema.introspect(),
            "query-version": lambda _: version,
        }
        self._version = version
        self._clients: dict[int, tuple[Stream, Session]] = {}
        self._number = 0
        self._descriptor: int | None = None
        self._listener = Listener(loop, home.socket_path(CONTROL), MOST, self._come)

    def event(self, name: str, **data: object) -> None:
        """Tells all clients. `data` is as `schema.EVENTS` says."""
        now = time.time_ns()
        stamp = {"seconds": now // 10**9, "microseconds": now // 1000 % 10**6}
        message: dict[str, object] = {"event": name, "timestamp": stamp}
        if data:
            message["data"] = data
        told = encode(message)
        for stream, session in list(self._clients.values()):
            if session.negotiated:
                stream.send(told)

    @property
    def waiting(self) -> int:
        """Bytes that clients have not taken yet."""
        return sum(stream.waiting for stream, _ in self._clients.values())

    def take_descriptor(self) -> int | None:
        """The one that came with the command that is just run."""
        taken, self._descriptor = self._descriptor, None
        return taken

    def _came_along(self, descriptor: int) -> None:
        if (unwanted := self.take_descriptor()) is not None:
            os.close(unwanted)
        self._descriptor = descriptor

    def close(self) -> None:
        self._listener.close()
        for stream, _ in list(self._clients.values()):
            stream.close()

    def _come(self, connection: socket.socket) -> None:
        self._number += 1
        number = self._number

        def receive(data: bytes) -> None:
            self._clients[number][1].receive(data)

        def leave() -> None:
            self._clients.pop(number, None)
            self._listener.left()

        stream = Stream(
            self._loop, connection, receive, leave, limit=_BEHIND, on_descriptor=self._came_along
        )
        session = Session(self._handlers, self._version, stream.send, stream.finish)
        self._clients[number] = (stream, session)
