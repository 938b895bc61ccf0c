"""A machine in a fork of this process, for whoever attends to it: a flaw in a device, an engine or
a library would give code of the guest's no more than the jail of that process leaves.

The fork is made before this process has threads or anything of the guest's open, and waits. What
the machine is connected to comes to it by the socket that it is asked by (innkeeper.vm.child).
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import answers, child, scratch, sent_order
from innkeeper.vm.bridge import host
from innkeeper.vm.child import Order
from innkeeper.vm.ending import EndKind
from innkeeper.vm.running import RunningMachine
from innkeeper.vm.warm import RecordFiles, WarmStart
from innkeeper.vm.wiring import Wiring

if TYPE_CHECKING:
    from innkeeper.vm.statistics import GuestStatistics

# Seconds for the process to end.
_PATIENCE: Final = 5.0


class Apart:
    """The process that waits for its machine, and ends with the block."""

    def __init__(self, *, jail: bool = True) -> None:
        self._jail = jail

    def __enter__(self) -> Self:
        """
        Raises:
            HostFailure: when the host has no process left, or no place for its files.
        """
        with contextlib.ExitStack() as stack:
            self._own = stack.enter_context(scratch.place())
            self._socket, theirs = socket.socketpair()
            with theirs:
                # Else it would be said twice.
                sys.stdout.flush()
                try:
                    pid = os.fork()
                except OSError as error:
                    self._socket.close()
                    said = f"cannot start the guest's process: {error.strerror}"
                    raise HostFailure(said) from error
                if pid == 0:
                    self._socket.close()
                    _be(theirs)
            stack.callback(_end, pid)
            stack.callback(self._socket.close)
            self._left = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def machine(
        self,
        spec: MachineSpec,
        wiring: Wiring,
        on_end: Callable[[], None] = lambda: None,
        *,
        warm: WarmStart | None = None,
    ) -> "MachineApart":
        """The machine, once it is made; `warm` is as `Order` has it. Closing what is in `wiring`
        and in `warm` stays the caller's.

        Raises:
            InvalidInput, EngineUnavailable, HostFailure, DeviceFailed: as `RunningMachine`.
        """
        order = Order(
            spec=spec,
            wiring=wiring,
            jail=self._jail,
            own=self._own,
            warm=warm,
        )
        return MachineApart(self._socket, order, on_end)


class ControlApart:
    """What may be asked of a machine that is elsewhere. Harmless when it is gone."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def stop(self) -> None:
        self._ask(child.STOP)

    def power_button(self) -> None:
        self._ask(child.POWER_BUTTON)

    def resize_console(self, columns: int, rows: int) -> None:
        self._ask(child.RESIZE + child.SIZE.pack(min(columns, 0xFFFF), min(rows, 0xFFFF)))

    def _ask(self, request: bytes) -> None:
        with contextlib.suppress(OSError):
            self._channel.sendall(request)


class MachineApart:
    """As `RunningMachine`, for those who attend to it."""

    def __init__(self, channel: socket.socket, order: Order, on_end: Callable[[], None]) -> None:
        self._channel = channel
        self._lines = channel.makefile("rb")
        self._network = order.spec.network
        self._on_end = on_end
        self._ended = threading.Event()
        self._answer: dict[str, object] = {}
        self.control = ControlApart(channel)
        # Once it has ended, where `spec.times` asks for it.
        self.statistics: GuestStatistics | None = None
        # Where that fails, its last words come below.
        with contextlib.suppress(OSError):
            sent_order.send(channel, order)
        answer = self._read()
        if "made" not in answer:
            self._tidy()
            raise _failure(answer)
        self._thread = threading.Thread(target=self._wait, name="machine", daemon=True)

    def start(self) -> None:
        self._thread.start()
        with contextlib.suppress(OSError):
            self._channel.sendall(child.GO)

    def record(self, files: RecordFiles) -> None:
        """Records it as it is then. Closing what is in `files` stays the caller's."""
        with contextlib.suppress(OSError):
            socket.send_fds(self._channel, [child.RECORD], files.all())

    def wait(self, timeout: float | None = None) -> bool:
        """As `RunningMachine.wait`."""
        return RunningMachine.patiently(self._ended, timeout)

    @property
    def outcome(self) -> tuple[EndKind, int | None, str | None]:
        """As `RunningMachine.outcome`."""
        if "kind" not in self._answer:
            raise _failure(self._answer)
        return answers.outcome(self._answer)

    def _wait(self) -> None:
        try:
            self._answer = self._read()
            with contextlib.suppress(HostFailure):
                self.statistics = answers.statistics(self._answer.get("statistics"))
        finally:
            # Whatever was said, it has ended.
            try:
                self._tidy()
            finally:
                self._ended.set()
                self._on_end()

    def _read(self) -> dict[str, object]:
        try:
            answer = answers.parsed(self._lines.readline(answers.LONGEST))
        except (OSError, HostFailure):
            return {}
        return answer if isinstance(answer, dict) else {}

    def _tidy(self) -> None:
        """What the guest published on a bridge goes: from its jail, its process cannot do that."""
        network = self._network
        if network is not None and network.bridge is not None and network.ports:
            with contextlib.suppress(HostFailure):
                host.tidy(network)


def _failure(answer: dict[str, object]) -> InnkeeperError:
    if "error" not in answer:
        return HostFailure("the guest's process ended unexpectedly")
    return answers.failure(answer)


def _end(pid: int) -> None:
    """It ends once its socket is closed; if it is stuck in the middle of Rust, otherwise."""
    until = time.monotonic() + _PATIENCE
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.002)


def _be(owner: socket.socket) -> None:
    """The fork, to its end."""
    status = 1
    try:
        # What is typed is its owner's.
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        child.serve(owner, sent_order.arrive)
        status = 0
    # Whatever it is: a fork must not go on as its parent.
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        # What devices in Python have printed.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)
