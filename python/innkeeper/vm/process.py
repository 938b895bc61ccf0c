"""A guest in a process of its own: its crash, leak or escape stays there."""

import contextlib
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from innkeeper import errors
from innkeeper.errors import GuestNotRunning, HostFailure
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import scratch
from innkeeper.vm.changes import Change
from innkeeper.vm.child import (
    CHANGE,
    GO,
    LENGTH,
    POWER_BUTTON,
    RECORD,
    STATISTICS,
    STOP,
    Order,
    descriptors,
)
from innkeeper.vm.ending import EndKind
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.warm import RecordFiles, WarmStart
from innkeeper.vm.wiring import Wiring

# Not `-m innkeeper.vm.child`: the package has imported that module by then, and Python warns.
_CHILD: Final = "import sys; from innkeeper.vm.child import main; sys.exit(main(sys.argv))"


class GuestProcess:
    """Starts the process at once; `warm` is as `Order` has it. Closing what is
    in `wiring` and in `warm` stays the caller's.
    """

    def __init__(
        self,
        spec: MachineSpec,
        wiring: Wiring,
        *,
        jail: bool = True,
        warm: WarmStart | None = None,
    ) -> None:
        self._left = contextlib.ExitStack()
        own = self._left.enter_context(scratch.place())
        order = Order(spec=spec, wiring=wiring, jail=jail, own=own, warm=warm)
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _CHILD, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(), *descriptors(order)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            except OSError as error:
                self._socket.close()
                self._left.close()
                raise HostFailure(f"cannot start the guest's process: {error}") from error
        data = pickle.dumps(order)
        with contextlib.suppress(BrokenPipeError):
            # It may begin as soon as it can.
            self._socket.sendall(LENGTH.pack(len(data)) + data + GO)

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        self._ask(STOP)

    def power_button(self) -> None:
        self._ask(POWER_BUTTON)

    def record(self, files: RecordFiles) -> None:
        """As `MachineApart.record`."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [RECORD], files.all())

    def statistics(self) -> GuestStatistics | None:
        """What its engine did so far; None when the guest does not run any more."""
        ours, theirs = os.pipe()
        with os.fdopen(ours) as answer:
            try:
                socket.send_fds(self._socket, [STATISTICS], [theirs])
            except OSError:
                return None
            finally:
                os.close(theirs)
            told = answer.read()
        found = json.loads(told) if told else None
        return None if found is None else GuestStatistics.from_dict(found)

    def change(self, change: Change, files: Sequence[int] = ()) -> object:
        """Changes the machine while it runs; what its process says to that. `files` stay the
        caller's.

        Raises:
            GuestNotRunning: when it does not run any more.
            InnkeeperError: what its process refuses.
        """
        ours, theirs = os.pipe()
        data = pickle.dumps(change)
        with os.fdopen(ours) as answer:
            try:
                request = [CHANGE, LENGTH.pack(len(data)), data]
                socket.send_fds(self._socket, request, [theirs, *files])
            except OSError:
                raise GuestNotRunning("the guest is not running") from None
            finally:
                os.close(theirs)
            words = answer.read()
        if not words:
            raise GuestNotRunning("the guest is not running")
        told = json.loads(words)
        if "error" in told:
            raise errors.by_code(str(told["error"]))(str(told["message"]))
        return told["return"]

    def wait(self, timeout: float | None = None) -> tuple[EndKind, int | None, str | None]:
        """How the guest ended, as `RunningMachine.outcome`.

        Raises:
            TimeoutError: when it still runs after `timeout` seconds.
            InnkeeperError: what the process ended with, or HostFailure when it died.
        """
        self._socket.settimeout(timeout)
        data = b""
        # The first line says that it could be made, where it could.
        while not data.endswith(b"\n") or _is_made(data):
            received = self._socket.recv(1 << 16)
            if not received:
                status = self._process.wait()
                raise HostFailure(f"the guest's process ended unexpectedly with status {status}")
            data += received
        self._process.wait()
        return _outcome(json.loads(data.splitlines()[-1]))

    def close(self) -> None:
        """Ends the guest if it still runs, and waits until its process is gone."""
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._left.close()

    def _ask(self, request: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(request)


def _is_made(data: bytes) -> bool:
    return data.count(b"\n") == 1 and "made" in json.loads(data)


def _outcome(answer: dict[str, object]) -> tuple[EndKind, int | None, str | None]:
    if "error" in answer:
        raise errors.by_code(str(answer["error"]))(str(answer.get("message")))
    code, what = answer.get("code"), answer.get("what")
    return (
        EndKind(str(answer.get("kind"))),
        code if isinstance(code, int) else None,
        what if isinstance(what, str) else None,
    )
