"""One agent for many clients: each speaks to the socket `agent` as if the agent were its own.

The hub gives every job a number of its own on the one channel there is, and hands on what belongs
to it. Windows go through: a client that does not read holds up its own commands and nobody else's.
When a client goes, its commands are hung up and killed. The guest is not trusted: what makes no
sense closes the channel, what goes beyond a window the client that it was meant for.
"""

import contextlib
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from innkeeper.guest.errands import Errand, ErrandFailed, outcome
from innkeeper.guest.frames import (
    ERRANDS,
    NONCE,
    OUTPUT_WINDOW,
    Ask,
    Decoder,
    Exec,
    ProtocolError,
    Tell,
    check_hello,
    console,
    credit,
    frame,
    hello,
    is_well_formed,
    meet,
    sync,
)
from innkeeper.guest.meeting import PORT, Meeting
from innkeeper.guest.qga.agent import Substitute
from innkeeper.vm.detached.home import AGENT, Home
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream

MOST: Final = 128  # clients at a time
# Bytes on the way to a client beside its commands' windows.
_BEHIND: Final = 1 << 20
# What clients may have on its way into the guest; their windows allow less.
_INTO_GUEST: Final = 32 << 20
_OF_JOBS: Final = frozenset((Ask.STDIN, Ask.STDIN_END, Ask.SIGNAL, Ask.RESIZE, Ask.CREDIT))
_OUTPUT: Final = frozenset((Tell.STDOUT, Tell.STDERR))
_LAST: Final = frozenset((Tell.EXIT, Tell.FAILED, Tell.DONE))

# Seconds in which an agent that was asked to has called by vsock, or stays where it is.
_MEETING: Final = 3.0
_BEGAN_ANEW: Final = struct.pack("<I", errno.ECONNRESET) + b"the guest's agent began anew"

# What a command of the hub's own says: a kind of frame and its payload.
Listening = Callable[[Tell, bytes], None]
# What an errand of the hub's own came to.
Answered = Callable[[bytes | ErrandFailed], None]


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
        # The guest's port, while our own agent has called by vsock and `_link` is its call.
        self._port: Stream | None = None
        self._from_port = Decoder(Tell)
        self._meeting: Meeting | None = None
        self._asked_to_meet: int | None = None  # as which job
        self._from_guest = Decoder(Tell)
        self._clients: dict[int, _Client] = {}
        # By the hub's number: whose job it is, and as which. A client may have gone meanwhile.
        self._jobs: dict[int, tuple[int, int] | Listening] = {}
        self._next = 1
        self._is_there = False  # the guest's own agent, which has said hello
        self._substitute: Substitute | None = None
        self._elsewhere: set[int] = set()  # jobs that the substitute has
        self._hunt: _Hunt | None = None
        self._listener = Listener(loop, home.socket_path(AGENT), MOST, self._come)

    @property
    def ready(self) -> bool:
        return self._is_there or (self._substitute is not None and self._substitute.ready)

    @property
    def answers_by(self) -> str | None:
        """Which agent does, and how it is spoken to; None where none does."""
        if self._is_there:
            return "vsock" if self._port is not None else "console"
        return "qemu-guest-agent" if self.ready else None

    def use(self, substitute: Substitute) -> None:
        """Where our own agent does not answer, another may: what it says comes to `told`, and
        `substitute_came` and `substitute_went` are called when it does so.
        """
        self._substitute = substitute

    def meet(self, path: str) -> None:
        """An agent that can do so may call by vsock: `path` is as `Meeting` has it.

        Raises:
            OSError: when there can be no such socket.
        """
        self._meeting = Meeting(self._loop, path, self._met)

    def connect(self) -> socket.socket:
        """The end for a machine. Whatever ran in the one before has ended with it."""
        self.disconnect()
        ours, theirs = socket.socketpair()
        self._from_guest = Decoder(Tell)
        self._link = self._stream(ours, self._heard_at_port, self._lost)
        return theirs

    def _stream(
        self, channel: socket.socket, heard: Callable[[bytes], None], lost: Callable[[], None]
    ) -> Stream:
        # Clients are held back before this limit; a guest that boots does not read yet.
        return Stream(self._loop, channel, heard, lost, limit=2 * _INTO_GUEST)

    def sync(self, keep: Mapping[int, Listening], on_ready: Callable[[], None]) -> None:
        """For a guest that was restored, whose agent has no reason to say hello: it forgets all
        that it did for those who were its clients. The jobs `keep` are ours again, by the numbers
        that `run` gave them; `on_ready` is called in place of the other.
        """
        nonce = os.urandom(NONCE)
        self._hunt = _Hunt(nonce, on_ready)
        self._jobs.update(keep)
        # What it still has to say of others is nobody's.
        self._next = struct.unpack("<I", os.urandom(4))[0] | 1
        self._ask(Ask.SYNC, 0, sync(nonce, list(keep)))

    def errand(self, errand: Errand, answered: Answered) -> None:
        """See innkeeper.guest.errands. When the guest ends first, nobody hears of it."""

        def listening(kind: Tell, payload: bytes) -> None:
            answered(outcome(errand, kind, payload))

        self._begin(errand.kind, self._own(listening), errand.payload)

    def disconnect(self) -> None:
        port, link = self._port, self._link
        self._port = None
        for stream in (link, port):
            if stream is not None:
                stream.close()

    def close(self) -> None:
        self._listener.close()
        if self._meeting is not None:
            self._meeting.close()
        self.disconnect()
        for client in list(self._clients.values()):
            client.stream.close()

    def settle(self) -> int:
        """Sends what there is to send; how much of it has not come to the machine yet, in bytes."""
        if self._link is None:
            return 0
        self._link.push()
        return 0 if self._link is None else self._link.unread

    def power_off(self) -> None:
        self._begin(Ask.POWER_OFF, 0)

    def run(self, command: Exec, listening: Listening) -> int:
        """A command of our own, and its number; its output is taken at once."""
        payload = command.encode()
        number = self._own(listening)
        self._begin(Ask.EXEC, number, payload)
        return number

    def open_console(self, device: str, listening: Listening) -> int:
        """A login shell on the guest's `device`, which does not end the guest when it ends."""
        number = self._own(listening)
        self._begin(Ask.CONSOLE, number, console(device, "linux", 0, 0))
        return number

    def _own(self, listening: Listening) -> int:
        number = self._number()
        self._jobs[number] = listening
        return number

    def _number(self) -> int:
        while True:
            number = self._next
            self._next = self._next % 0xFFFF_FFFF + 1
            if number not in self._jobs:
                return number

    def _begin(self, kind: Ask, job: int, payload: bytes = b"") -> None:
        """With whoever answers; who asks too early asks our own agent."""
        if self._substitute is not None and self._substitute.ready and not self._is_there:
            self._elsewhere.add(job)
        self._ask(kind, job, payload)
        self._elsewhere.discard(0)

    def _ask(self, kind: Ask, job: int, payload: bytes = b"") -> None:
        if job in self._elsewhere and self._substitute is not None:
            self._substitute.ask(kind, job, payload)
        elif self._link is not None:
            self._link.send(frame(kind, job, payload))

    # From the guest.

    def _heard_at_port(self, data: bytes) -> None:
        if self._port is None:
            self._heard(data)
            return
        # It is called elsewhere, and has nothing to say here but that it began anew.
        with contextlib.suppress(ProtocolError):
            if all(kind is not Tell.HELLO for kind, _, _ in self._from_port.push(data)):
                return
        self._call_is_over()

    def _met(self, call: socket.socket) -> None:
        if self._link is None or self._port is not None or self._asked_to_meet is None:
            call.close()
            return
        self._jobs.pop(self._asked_to_meet, None)
        self._port, self._from_port = self._link, Decoder(Tell)
        self._link = self._stream(call, self._heard, self._call_is_over)
        self._from_guest = Decoder(Tell)
        self.sync({}, self._on_ready)

    def _call_is_over(self) -> None:
        """Goes on at the guest's port."""
        port, self._port = self._port, None
        if port is not None:
            call, self._link = self._link, port
            if call is not None:
                call.close()
            self._meet_anew()

    def _heard(self, data: bytes) -> None:
        if self._hunt is not None:
            data = self._hunt.push(data)
            if self._hunt.began_anew() and self._link is not None and not self._link.waiting:
                # It was not there yet when it was asked.
                self._ask(Ask.SYNC, 0, sync(self._hunt.nonce, []))
        try:
            for kind, number, payload in self._from_guest.push(data):
                if kind is Tell.HELLO:
                    self._greeted(payload)
                elif number not in self._elsewhere:
                    self.told(kind, number, payload)
        except (ProtocolError, struct.error):
            if self._substitute is None:
                self.disconnect()
            else:
                self._meet_anew()

    def _meet_anew(self) -> None:
        """An agent that is a service may be started in the middle of everything."""
        self._is_there = False
        self._from_guest = Decoder(Tell)
        for number in [number for number in self._jobs if number not in self._elsewhere]:
            self.told(Tell.FAILED, number, _BEGAN_ANEW)
        self.sync({}, self._on_ready)

    def _greeted(self, payload: bytes) -> None:
        check_hello(payload)
        if self._is_there:
            raise ProtocolError("hello")
        if self._hunt is None and self._meeting is not None:
            self._ask_to_meet(self._meeting)
        else:
            self._is_here()

    def _ask_to_meet(self, meeting: Meeting) -> None:
        """It is not called ready before it has called, or cannot."""
        number = self._own(lambda _kind, _payload: self._settle(number))
        self._asked_to_meet = number
        self._ask(Ask.MEET, number, meet(PORT, meeting.expect()))
        self._loop.after(_MEETING, lambda: self._settle(number))

    def _settle(self, number: int) -> None:
        if self._asked_to_meet != number or self._is_there:
            return
        self._jobs.pop(number, None)
        self._asked_to_meet = None
        if self._meeting is not None:
            self._meeting.expect()
        if self._port is None:
            self._is_here()
        else:
            self._call_is_over()

    def _is_here(self) -> None:
        hunt, self._hunt = self._hunt, None
        was_ready, self._is_there = self.ready, True
        if was_ready:
            # In place of its substitute.
            self._on_ready()
        else:
            self._greet_all()
            (self._on_ready if hunt is None else hunt.on_found)()

    def _greet_all(self) -> None:
        for client in list(self._clients.values()):
            client.stream.send(hello())

    def substitute_came(self) -> None:
        if not self._is_there:
            self._greet_all()
            (self._on_ready if self._hunt is None else self._hunt.on_found)()

    def substitute_went(self) -> None:
        """It has told the end of all that it had begun."""
        if not self._is_there:
            for client in list(self._clients.values()):
                client.stream.finish()

    def told(self, kind: Tell, number: int, payload: bytes) -> None:
        """What comes of a job."""
        owner = self._jobs.get(number)
        if owner is None:
            return
        if kind in _LAST:
            del self._jobs[number]
            # Last, since what it still asks is asked of whoever had it.
            self._elsewhere.discard(number)
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
        call = None if self._port is None else self._link
        self._link = self._port = self._asked_to_meet = None
        if call is not None:
            call.close()
        self._hunt = None
        self._is_there = False
        self._jobs.clear()
        self._elsewhere.clear()
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
            client.stream.send(hello())

    def _asked(self, whose: int, data: bytes) -> None:
        client = self._clients[whose]
        try:
            for kind, job, payload in client.decoder.push(data):
                self._forward(whose, client, kind, job, payload)
        except ProtocolError:
            client.stream.close()

    def _is_full(self) -> bool:
        """Whether nothing more can go into the guest for now, or for ever."""
        if self._link is None:
            return not self.ready
        return self._link.waiting > _INTO_GUEST

    def _forward(self, whose: int, client: _Client, kind: Ask, job: int, payload: bytes) -> None:
        if self._is_full() or not is_well_formed(kind, payload):
            client.stream.close()
        elif (kind is Ask.EXEC or kind in ERRANDS) and job not in client.jobs:
            number = self._number()
            client.jobs[job] = number
            client.allow()
            self._jobs[number] = (whose, job)
            self._begin(kind, number, payload)
        elif kind in _OF_JOBS and job in client.jobs:
            # What else there is goes through the control socket.
            self._ask(kind, client.jobs[job], payload)


# What an agent says first.
_FRESH: Final = hello()


class _Hunt:
    """For the hello that answers a SYNC, in a stream that may begin in the middle of a frame."""

    def __init__(self, nonce: bytes, on_found: Callable[[], None]) -> None:
        self.nonce = nonce
        self._wanted = hello(nonce)
        self._bytes = bytearray()
        self._found = self._began = False
        self.on_found = on_found

    def began_anew(self) -> bool:
        """Whether, since this was last asked, an agent said hello of its own accord."""
        began, self._began = self._began, False
        return began

    def push(self, data: bytes) -> bytes:
        """What there is from that frame on."""
        if self._found:
            return data
        self._bytes += data
        at = self._bytes.find(self._wanted)
        if at < 0:
            if (fresh := self._bytes.rfind(_FRESH)) >= 0:
                self._began = True
                del self._bytes[: fresh + len(_FRESH)]
            del self._bytes[: -len(self._wanted)]
            return b""
        self._found = True
        return bytes(self._bytes[at:])
