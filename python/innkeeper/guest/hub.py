"""One agent for many clients: each speaks to the socket `agent` as if the agent were its own.

The hub gives every job a number of its own on the one channel there is, and hands on what belongs
to it. Windows go through: a client that does not read holds up its own commands and nobody else's.
When a client goes, its commands are hung up and killed. The guest is not trusted: what makes no
sense closes the channel, what goes beyond a window the client that it was meant for.
"""

import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from innkeeper.guest.frames import (
    OUTPUT_WINDOW,
    VERSION,
    Ask,
    Decoder,
    Exec,
    ProtocolError,
    Tell,
    console,
    credit,
    frame,
    is_well_formed,
)
from innkeeper.vm.detached.home import AGENT, Home
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream

MOST: Final = 128  # clients at a time
# Bytes on the way to a client beside its commands' windows.
_BEHIND: Final = 1 << 20
# What clients may have on its way into the guest; their windows allow less.
_INTO_GUEST: Final = 32 << 20
_OUTPUT: Final = frozenset((Tell.STDOUT, Tell.STDERR))
_LAST: Final = frozenset((Tell.EXIT, Tell.FAILED))

# What a command of the hub's own says: a kind of frame and its payload.
Listening = Callable[[Tell, bytes], None]


@dataclass
class _Client:
    stream: Stream
    decoder: Decoder[Ask] = field(default_factory=lambda: Decoder(Ask))
    jobs: dict[int, int] = field(default_factory=dict)  # its numbers to the hub's

    def allow(self) -> None:
        self.stream.limit = _BEHIND + 2 * OUTPUT_WINDOW * len(self.jobs)


class AgentHub:
    """`on_ready` is called each time when an agent has said hello."""

    def __init__(self, loop: Loop, home: Home, on_ready: Callable[[], None]) -> None:
        self._loop = loop
        self._on_ready = on_ready
        self._link: Stream | None = None
        self._from_guest = Decoder(Tell)
        self._clients: dict[int, _Client] = {}
        # By the hub's number: whose job it is, and as which. A client may have gone meanwhile.
        self._jobs: dict[int, tuple[int, int] | Listening] = {}
        self._next = 1
        self.ready = False
        self._listener = Listener(loop, home.socket_path(AGENT), MOST, self._come)

    def connect(self) -> socket.socket:
        """The end for a machine. Whatever ran in the one before has ended with it."""
        self.disconnect()
        ours, theirs = socket.socketpair()
        self._from_guest = Decoder(Tell)
        # Clients are held back before this limit; a guest that boots does not read yet.
        self._link = Stream(self._loop, ours, self._heard, self._lost, limit=2 * _INTO_GUEST)
        return theirs

    def disconnect(self) -> None:
        if self._link is not None:
            self._link.close()

    def close(self) -> None:
        self._listener.close()
        self.disconnect()
        for client in list(self._clients.values()):
            client.stream.close()

    def power_off(self) -> None:
        self._ask(Ask.POWER_OFF, 0)

    def run(self, command: Exec, listening: Listening) -> None:
        """A command of our own; its output is taken at once."""
        self._ask(Ask.EXEC, self._own(listening), command.encode())

    def open_console(self, device: str, listening: Listening) -> None:
        """A login shell on the guest's `device`, which does not end the guest when it ends."""
        self._ask(Ask.CONSOLE, self._own(listening), console(device, "linux", 0, 0))

    def _own(self, listening: Listening) -> int:
        number = self._number()
        self._jobs[number] = listening
        return number

    def _number(self) -> int:
        number = self._next
        self._next = self._next % 0xFFFF_FFFF + 1
        return number

    def _ask(self, kind: Ask, job: int, payload: bytes = b"") -> None:
        if self._link is not None:
            self._link.send(frame(kind, job, payload))

    # From the guest.

    def _heard(self, data: bytes) -> None:
        try:
            for kind, number, payload in self._from_guest.push(data):
                self._dispatch(kind, number, payload)
        except (ProtocolError, struct.error):
            self.disconnect()

    def _dispatch(self, kind: Tell, number: int, payload: bytes) -> None:
        if kind is Tell.HELLO:
            if struct.unpack("<H", payload) != (VERSION,) or self.ready:
                raise ProtocolError("hello")
            self.ready = True
            for client in list(self._clients.values()):
                client.stream.send(_HELLO)
            self._on_ready()
            return
        owner = self._jobs.get(number)
        if owner is None:
            return
        if kind in _LAST:
            del self._jobs[number]
        if isinstance(owner, tuple):
            self._deliver(*owner, kind, number, payload)
        else:
            if kind in _OUTPUT:
                self._ask(Ask.CREDIT, number, credit(len(payload)))
            owner(kind, payload)

    def _deliver(self, whose: int, job: int, kind: Tell, number: int, payload: bytes) -> None:
        client = self._clients.get(whose)
        if client is None:
            # Killed, and says the rest to nobody.
            if kind in _OUTPUT:
                self._ask(Ask.CREDIT, number, credit(len(payload)))
            return
        client.stream.send(frame(kind, job, payload))
        if kind in _LAST:
            client.jobs.pop(job, None)
            client.allow()

    def _lost(self) -> None:
        self._link = None
        self.ready = False
        self._jobs.clear()
        for client in list(self._clients.values()):
            client.stream.finish()

    # From clients.

    def _come(self, connection: socket.socket) -> None:
        whose = self._number()

        def receive(data: bytes) -> None:
            self._asked(whose, data)

        def leave() -> None:
            self._listener.left()
            client = self._clients.pop(whose, None)
            for number in client.jobs.values() if client else ():
                self._ask(Ask.SIGNAL, number, bytes([signal.SIGHUP]))
                self._ask(Ask.SIGNAL, number, bytes([signal.SIGKILL]))

        client = _Client(Stream(self._loop, connection, receive, leave, limit=_BEHIND))
        self._clients[whose] = client
        if self.ready:
            client.stream.send(_HELLO)

    def _asked(self, whose: int, data: bytes) -> None:
        client = self._clients[whose]
        try:
            for kind, job, payload in client.decoder.push(data):
                self._forward(whose, client, kind, job, payload)
        except ProtocolError:
            client.stream.close()

    def _forward(self, whose: int, client: _Client, kind: Ask, job: int, payload: bytes) -> None:
        link_is_full = self._link is None or self._link.waiting > _INTO_GUEST
        if link_is_full or not is_well_formed(kind, payload):
            client.stream.close()
        elif kind is Ask.EXEC and job not in client.jobs:
            number = self._number()
            client.jobs[job] = number
            client.allow()
            self._jobs[number] = (whose, job)
            self._ask(kind, number, payload)
        elif kind not in (Ask.CONSOLE, Ask.POWER_OFF) and job in client.jobs:
            # What is about the guest as a whole goes through the control socket.
            self._ask(kind, client.jobs[job], payload)


_HELLO: Final = frame(Tell.HELLO, 0, struct.pack("<H", VERSION))
