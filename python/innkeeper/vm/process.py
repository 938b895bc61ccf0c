"""A guest in a process of its own: its crash, leak or escape stays there."""

import contextlib
import os
import pickle
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from innkeeper.errors import GuestNotRunning, HostFailure
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import answers, scratch, sent_order
from innkeeper.vm.answers import Outcome
from innkeeper.vm.changes import Change
from innkeeper.vm.child import (
    CHANGE,
    FILES,
    GO,
    LENGTH,
    MOST_FILES,
    POWER_BUTTON,
    RECORD,
    STATISTICS,
    STOP,
    Order,
    descriptors,
)
from innkeeper.vm.nursery import Nursery, Nursling
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.tpm import TO_SAVE
from innkeeper.vm.warm import TO_STAND, RecordFiles, WarmStart
from innkeeper.vm.wiring import Wiring

# Seconds for an answer, and to take what it is sent. It does one thing after the other, so it may
# have to be recorded before, which takes longest.
_PATIENCE: Final = TO_STAND + TO_SAVE + 60.0
# Not `-m innkeeper.vm.child`: the package has imported that module by then, and Python warns.
_CHILD: Final = "import sys; from innkeeper.vm.child import main; sys.exit(main(sys.argv))"


class GuestProcess:
    """Starts the process at once, in a `nursery` or by itself; `warm` is as `Order` has it. Closing
    what is in `wiring` and in `warm` stays the caller's.
    """

    def __init__(
        self,
        spec: MachineSpec,
        wiring: Wiring,
        *,
        jail: bool = True,
        warm: WarmStart | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self._left = contextlib.ExitStack()
        own = self._left.enter_context(scratch.place())
        order = Order(spec=spec, wiring=wiring, jail=jail, own=own, warm=warm)
        self._socket, theirs = socket.socketpair()
        # Nor must it hold up whoever asks it, by not listening.
        limit = struct.pack("@ll", int(_PATIENCE), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._process: subprocess.Popen[bytes] | Nursling
        # Whoever sends something sends all of it.
        self._sending = threading.Lock()
        # What it has said and nobody has heard yet; what it said in the end.
        self._heard = bytearray()
        self._is_made = False
        self._last: Mapping[str, object] | None = None
        with theirs:
            try:
                self._process = _started(theirs, order) if nursery is None else nursery.fork(theirs)
            except HostFailure:
                self._socket.close()
                self._left.close()
                raise
        with contextlib.suppress(BrokenPipeError):
            if nursery is None:
                data = pickle.dumps(order)
                self._socket.sendall(LENGTH.pack(len(data)) + data)
            else:
                sent_order.send(self._socket, order)
            # It may begin as soon as it can.
            self._socket.sendall(GO)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._order(STOP)

    def power_button(self) -> None:
        self._order(POWER_BUTTON)

    def record(self, files: RecordFiles) -> None:
        """As `MachineApart.record`."""
        self._order(RECORD, files.all())

    def statistics(self) -> GuestStatistics | None:
        """What its engine did so far; None when the guest does not run any more.

        Raises:
            HostFailure: when its process does not answer, or answers nonsense.
        """
        words = self._ask(lambda told: self._send(STATISTICS, [told]))
        return answers.statistics(answers.parsed(words)) if words else None

    def change(self, change: Change, files: Sequence[int] = ()) -> object:
        """Changes the machine while it runs; what its process says to that. `files` stay the
        caller's.

        Raises:
            GuestNotRunning: when it does not run any more.
            HostFailure: when its process does not answer, or answers nonsense.
            InnkeeperError: what its process refuses.
        """
        data = pickle.dumps(change)

        def send(told: int) -> None:
            for begin in range(0, len(files), MOST_FILES):
                self._send(FILES, files[begin : begin + MOST_FILES])
            self._send(CHANGE, [told])
            self._socket.sendall(LENGTH.pack(len(data)) + data)

        words = self._ask(send)
        if not words:
            raise GuestNotRunning("the guest is not running")
        told = answers.mapping(answers.parsed(words))
        if "error" in told:
            raise answers.failure(told)
        return told.get("return")

    def wait(self, timeout: float | None = None) -> Outcome:
        """How the guest ended, as `RunningMachine.outcome`.

        Raises:
            TimeoutError: when it still runs after `timeout` seconds.
            InnkeeperError: what the process ended with, or HostFailure when it died.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self._last is None:
            told = answers.mapping(answers.parsed(self._line(until)))
            # The first line says that it could be made, where it could.
            if self._is_made or "made" not in told:
                self._last = told
            self._is_made = True
        self._wait_gone(until)
        return answers.outcome(self._last)

    def _line(self, until: float | None) -> bytes:
        while (end := self._heard.find(b"\n")) < 0:
            if not answers.comes(self._socket.fileno(), until):
                raise TimeoutError("the guest still runs")
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                # It died before it had heard all that we said.
                data = b""
            if not data:
                status = self._wait_gone(until)
                raise HostFailure(f"the guest's process ended unexpectedly with status {status}")
            self._heard += data
            if len(self._heard) > answers.LONGEST:
                raise answers.nonsense()
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        return line

    def _wait_gone(self, until: float | None) -> int:
        left = None if until is None else max(0.0, until - time.monotonic())
        try:
            return self._process.wait(left)
        except subprocess.TimeoutExpired:
            raise TimeoutError("the guest's process has not ended yet") from None

    def close(self) -> None:
        """Ends the guest if it still runs, and waits until its process is gone."""
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._left.close()

    def _order(self, request: bytes, files: Sequence[int] = ()) -> None:
        with self._sending, contextlib.suppress(OSError):
            self._send(request, files)

    def _ask(self, send: Callable[[int], None]) -> bytes:
        """What comes of what `send` sends, with the descriptor that it is given for the answer;
        nothing from one that has ended.
        """
        ours, theirs = os.pipe()
        try:
            try:
                with self._sending:
                    send(theirs)
            except BlockingIOError:
                raise answers.silence() from None
            except OSError:
                return b""
            finally:
                os.close(theirs)
            return answers.read(ours, _PATIENCE)
        finally:
            os.close(ours)

    def _send(self, request: bytes, files: Sequence[int]) -> None:
        socket.send_fds(self._socket, [request], files)


def _started(owner: socket.socket, order: Order) -> "subprocess.Popen[bytes]":
    """A process that serves `owner`, and has the order's descriptors.

    Raises:
        HostFailure: when the host has none left.
    """
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(owner.fileno())],
            pass_fds=(owner.fileno(), *descriptors(order)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    except OSError as error:
        raise HostFailure(f"cannot start the guest's process: {error}") from error
