"""A connection to the agent in a guest: commands with their streams, a console shell, power off.

One thread reads the channel and hands each frame to its job. The guest is not trusted: a frame that
makes no sense closes the channel, and every job then ends with GuestNotRunning.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from innkeeper.errors import CommandNotStarted, GuestNotRunning
from innkeeper.guest.errands import (
    Errand,
    ErrandFailed,
    Identity,
    outcome,
    refusal,
    renew,
    set_time,
)
from innkeeper.guest.frames import (
    MAX_PAYLOAD,
    NONCE,
    OUTPUT_WINDOW,
    STDIN_BEGIN,
    STDIN_WINDOW,
    Ask,
    Decoder,
    Exec,
    ProtocolError,
    Tell,
    TooLong,
    check_hello,
    console,
    credit,
    frame,
    hello,
    sync,
)

Sink = Callable[[bytes], None]

# Output is acknowledged in such portions: one frame for each that comes would be half the traffic.
_PORTION: Final = OUTPUT_WINDOW // 4
# Seconds in which a guest takes what it is sent, of which there never is more than a few windows.
_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a command ended: with `code`, or by `signal`."""

    code: int | None
    signal: int | None

    @property
    def returncode(self) -> int:
        """As a shell gives it: the exit status, or 128 and the signal's number."""
        return self.code if self.code is not None else 128 + (self.signal or 0)


class Job:
    """One command in the guest, started by `Agent.start`."""

    def __init__(
        self, agent: "Agent", number: int, stdout: Sink, stderr: Sink, *, prompt: bool = True
    ) -> None:
        self._prompt = prompt
        self._agent = agent
        self._number = number
        self._stdout = stdout
        self._stderr = stderr
        self._changed = threading.Condition()
        self._credit = STDIN_BEGIN
        self._held = 0  # bytes that a sink was given and nobody has taken
        self._taken = 0
        self._listeners: list[Callable[[], None]] = []
        self._status: ExitStatus | None = None
        self._failure: CommandNotStarted | GuestNotRunning | None = None

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Until the command has ended and all its output is delivered.

        Raises:
            CommandNotStarted: when the guest could not start it.
            GuestNotRunning: when the guest ended first.
            TimeoutError: after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(self._ended, timeout):
                raise TimeoutError(f"the command did not end in {timeout} s")
            if self._failure is not None:
                raise self._failure
            assert self._status is not None
            return self._status

    @property
    def has_ended(self) -> bool:
        return self._ended()

    def when_ended(self, listener: Callable[[], None]) -> None:
        """`listener` is called once, by the agent's thread, or at once when it is over already."""
        with self._changed:
            if not self._ended():
                self._listeners.append(listener)
                return
        listener()

    def take(self, count: int) -> None:
        """So many bytes of output have found their reader; the command may write as many more."""
        with self._changed:
            self._held -= count
            self._taken += count
            due = self._taken if self._taken >= _PORTION and not self._ended() else 0
            self._taken -= due
        if due:
            self._agent.tell(Ask.CREDIT, self._number, credit(due))

    def send(self, data: bytes) -> None:
        """Standard input; waits while the command does not take it. Dropped once it has ended."""
        view = memoryview(data)
        while view:
            with self._changed:
                self._changed.wait_for(lambda: self._credit > 0 or self._ended())
                if self._ended():
                    return
                count = min(len(view), self._credit, MAX_PAYLOAD)
                self._credit -= count
            self._agent.tell(Ask.STDIN, self._number, bytes(view[:count]))
            view = view[count:]

    def end_input(self) -> None:
        self._agent.tell(Ask.STDIN_END, self._number)

    def signal(self, number: int) -> None:
        self._agent.tell(Ask.SIGNAL, self._number, struct.pack("<B", number))

    def resize(self, columns: int, rows: int) -> None:
        self._agent.tell(Ask.RESIZE, self._number, struct.pack("<HH", columns, rows))

    def _ended(self) -> bool:
        return self._status is not None or self._failure is not None

    def on_frame(self, kind: Tell, payload: bytes) -> bool:
        """True when this was the job's last frame. Called by the agent's reader."""
        match kind:
            case Tell.STDOUT:
                self._deliver(self._stdout, payload)
            case Tell.STDERR:
                self._deliver(self._stderr, payload)
            case Tell.CREDIT:
                (count,) = struct.unpack("<I", payload)
                with self._changed:
                    self._credit = min(self._credit + count, STDIN_WINDOW)
                    self._changed.notify_all()
            case Tell.EXIT:
                signalled, value = struct.unpack("<BI", payload)
                status = ExitStatus(None, value) if signalled else ExitStatus(value, None)
                self._finish(status=status)
                return True
            case _:
                number, reason = refusal(payload)
                self._finish(failure=CommandNotStarted(reason, number))
                return True
        return False

    def _deliver(self, sink: Sink, payload: bytes) -> None:
        """
        Raises:
            ProtocolError: when the guest does not keep to the window.
        """
        with self._changed:
            self._held += len(payload)
            if self._held > OUTPUT_WINDOW:
                raise ProtocolError("more output than its window has room for")
        sink(payload)
        if self._prompt:
            self.take(len(payload))

    def on_lost(self) -> None:
        self._finish(failure=GuestNotRunning("the guest ended before the command did"))

    def _finish(
        self,
        status: ExitStatus | None = None,
        failure: CommandNotStarted | GuestNotRunning | None = None,
    ) -> None:
        with self._changed:
            self._status, self._failure = status, failure
            listeners, self._listeners = self._listeners, []
            self._changed.notify_all()
        for listener in listeners:
            listener()


class _Waiting:
    """An errand, until its answer has come."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._answered = threading.Event()
        self._answer: bytes | ErrandFailed | GuestNotRunning | None = None

    def on_frame(self, kind: Tell, payload: bytes) -> bool:
        if kind not in (Tell.DONE, Tell.FAILED):
            raise ProtocolError("an errand has no streams")
        self._answer = outcome(self._errand, kind, payload)
        self._answered.set()
        return True

    def on_lost(self) -> None:
        self._answer = GuestNotRunning("the guest ended before it had done that")
        self._answered.set()

    def wait(self, timeout: float | None) -> bytes:
        if not self._answered.wait(timeout):
            raise TimeoutError(f"{self._errand.what}: no answer in {timeout} s")
        if isinstance(self._answer, Exception):
            raise self._answer
        assert self._answer is not None
        return self._answer


class Agent:
    """Closes `channel` in the end. With `others`, somebody else has spoken to that agent before."""

    def __init__(
        self, channel: socket.socket, patience: float = _PATIENCE, *, others: bool = False
    ) -> None:
        self._channel = channel
        seconds, rest = divmod(patience, 1)
        timeout = struct.pack("@ll", int(seconds), int(rest * 1e6))
        # Of sending alone: a guest may have nothing to say for as long as it likes.
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._greeted = False
        # The frame that the agent's first words to us begin with, where others listened before.
        self._nonce = os.urandom(NONCE)
        self._hunted = hello(self._nonce) if others else b""
        self._before = bytearray()
        self._lost = False
        self._jobs: dict[int, Job | _Waiting] = {}
        self._next = 1
        self._reader = threading.Thread(target=self._read, name="agent", daemon=True)
        self._reader.start()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Until the guest has booted and its agent answers.

        Raises:
            GuestNotRunning: when the guest ended, or speaks another protocol.
            TimeoutError: after `timeout` seconds.
        """
        if not self._ready.wait(timeout):
            raise TimeoutError(f"the guest's agent did not answer in {timeout} s")
        if self._lost:
            raise GuestNotRunning("the guest ended before its agent answered")

    @property
    def was_ready(self) -> bool:
        """Whether the guest's agent has ever answered."""
        return self._greeted

    def start(self, command: Exec, stdout: Sink, stderr: Sink, *, prompt: bool = True) -> Job:
        """Starts `command`; the sinks are called by the agent's thread, in order. With `prompt`,
        what they were given is done with when they return; without, once `Job.take` says so.
        """
        with self._lock:
            job = Job(self, self._next, stdout, stderr, prompt=prompt)
            if self._lost:
                job.on_lost()
                return job
            self._jobs[self._next] = job
            number = self._next
            self._next += 1
        try:
            payload = command.encode()
        except TooLong:
            job.on_frame(Tell.FAILED, struct.pack("<I", errno.E2BIG) + b"Argument list too long")
            return job
        self.tell(Ask.EXEC, number, payload)
        return job

    def run_errand(self, errand: Errand, timeout: float | None = None) -> bytes:
        """Has the guest do it, and waits for its answer: see innkeeper.guest.errands.

        Raises:
            ErrandFailed: when the guest cannot.
            GuestNotRunning: when the guest ended first.
            TimeoutError: after `timeout` seconds.
        """
        number, waiting = self._ask(errand)
        try:
            return waiting.wait(timeout)
        finally:
            with self._lock:
                self._jobs.pop(number, None)

    def _ask(self, errand: Errand) -> tuple[int, _Waiting]:
        waiting = _Waiting(errand)
        with self._lock:
            number = self._next
            self._next += 1
            if self._lost:
                waiting.on_lost()
            else:
                self._jobs[number] = waiting
        self.tell(errand.kind, number, errand.payload)
        return number, waiting

    def awaken(self, identity: Identity, timeout: float | None = None) -> bool:
        """In place of `wait_ready`, for a guest that goes on as one that was ready and that nobody
        had asked for anything: it is given the time, and becomes itself. False for one that booted
        after all, and did likewise.

        Raises:
            ErrandFailed: when it cannot.
            GuestNotRunning: when the guest ended first.
            TimeoutError: after `timeout` seconds.
        """
        wanted = (set_time(time.time_ns()), renew(identity))
        asked = [self._ask(errand) for errand in wanted]
        for _, waiting in asked:
            try:
                waiting.wait(timeout)
            except ErrandFailed:
                # One that booted is itself.
                if not self._greeted:
                    raise
        booted = self._greeted
        if booted:
            # The time that it was told is gone.
            self.run_errand(set_time(time.time_ns()), timeout)
        self._greeted = True
        self._ready.set()
        return not booted

    def take_over(self, identity: Identity, timeout: float | None = None) -> None:
        """In place of `wait_ready`, for a guest that goes on as one that others asked for things:
        its agent forgets them, the guest is given the time, and becomes itself.

        Raises:
            ErrandFailed: when it cannot.
            GuestNotRunning: when the guest ended first, or boots.
            TimeoutError: after `timeout` seconds.
        """
        self.tell(Ask.SYNC, 0, sync(self._nonce, ()))
        self.wait_ready(timeout)
        for errand in (set_time(time.time_ns()), renew(identity)):
            self.run_errand(errand, timeout)

    @contextlib.contextmanager
    def quiet(self, timeout: float) -> Iterator[None]:
        """Nothing is on its way to the guest's agent within the block.

        Raises:
            TimeoutError: when the guest does not take what it was sent.
        """
        until = time.monotonic() + timeout
        with self._sending:
            while self._unread():
                if time.monotonic() > until:
                    raise TimeoutError("the guest's agent does not take what is sent to it")
                time.sleep(0.001)
            yield

    def _unread(self) -> int:
        """Bytes that the machine has not taken yet."""
        (count,) = struct.unpack("@i", fcntl.ioctl(self._channel, termios.TIOCOUTQ, bytes(4)))
        return int(count)

    def console(self, device: str, term: str, columns: int, rows: int) -> None:
        """Gives `device` of the guest a login shell. The guest powers off when it ends."""
        self.tell(Ask.CONSOLE, 0, console(device, term, columns, rows))

    def power_off(self) -> None:
        self.tell(Ask.POWER_OFF, 0)

    def disconnect(self) -> None:
        """Ends every wait with GuestNotRunning. From any thread, any number of times."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.disconnect()
        # Not for ever: a sink may be blocked on a standard output that nobody reads.
        self._reader.join(timeout=2)
        self._channel.close()

    def tell(self, kind: Ask, job: int, payload: bytes = b"") -> None:
        """Sends one frame. A guest that is gone is the reader's to notice."""
        with self._sending, contextlib.suppress(OSError):
            try:
                self._channel.sendall(frame(kind, job, payload))
            except BlockingIOError:
                # It speaks but does not listen, and would hold up whoever wants to end it.
                self.disconnect()

    def _read(self) -> None:
        decoder = Decoder(Tell)
        try:
            with contextlib.suppress(OSError, ProtocolError, struct.error):
                while data := self._channel.recv(1 << 16):
                    if self._hunted:
                        data = self._found(data)
                    for kind, number, payload in decoder.push(data):
                        self._dispatch(kind, number, payload)
        finally:
            self._lose()

    def _found(self, data: bytes) -> bytes:
        """From the frame on that is looked for: before it may be anything.

        Raises:
            ProtocolError: when the guest boots instead.
        """
        self._before += data
        if hello() in self._before:
            raise ProtocolError("it begins anew")
        at = self._before.find(self._hunted)
        if at < 0:
            # A part of it may have come.
            del self._before[: -len(self._hunted)]
            return b""
        found = bytes(self._before[at:])
        self._before.clear()
        self._hunted = b""
        return found

    def _lose(self) -> None:
        with self._lock:
            self._lost = True
            jobs = list(self._jobs.values())
            self._jobs.clear()
        self._ready.set()
        for job in jobs:
            job.on_lost()

    def _dispatch(self, kind: Tell, number: int, payload: bytes) -> None:
        if kind is Tell.HELLO:
            check_hello(payload)
            self._greeted = True
            self._ready.set()
            return
        with self._lock:
            job = self._jobs.get(number)
        if job is not None and job.on_frame(kind, payload):
            with self._lock:
                self._jobs.pop(number, None)
