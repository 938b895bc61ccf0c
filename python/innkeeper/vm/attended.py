"""A machine that somebody waits for: signals and a time limit end it, and it ends in any case."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Final

from innkeeper.vm.apart import MachineApart
from innkeeper.vm.ending import TIMED_OUT, Ending, EndKind, ending
from innkeeper.vm.signals import Caught, ending_signals

# Seconds for a machine to stop; past them something is stuck that nobody can wait for.
_PATIENCE: Final = 15.0


class Attention:
    """Why the guest was ended from outside, if it was."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.timed_out = False
        self.left = False
        self.caught = Caught()

    def leave(self) -> None:
        """A person has left the guest's terminal, and wants nothing more of it."""
        self.left = True

    def ending(self, machine: MachineApart, *, log_says_panic: bool) -> Ending:
        """How `machine` ended, seen from outside.

        Raises:
            DeviceFailed, HostFailure: as `MachineApart.outcome`.
        """
        if self.caught.number is not None:
            return Ending(128 + self.caught.number)
        if self.timed_out:
            return Ending(TIMED_OUT, f"the guest did not end within {self.timeout:g} s")
        if self.left:
            return Ending(0)
        kind, code, what = machine.outcome
        if kind in (EndKind.RESET, EndKind.TRIPLE_FAULT) and log_says_panic:
            kind = EndKind.PANIC
        return ending(kind, code, what)


@contextlib.contextmanager
def attended(machine: MachineApart, timeout: float | None) -> Iterator[Attention]:
    """Starts `machine`; it has ended when the block is left, however that happens."""
    attention = Attention(timeout)

    def too_late() -> None:
        attention.timed_out = True
        machine.control.stop()

    timer = threading.Timer(timeout or 0, too_late)
    timer.daemon = True
    with ending_signals(machine.control.stop) as attention.caught:
        machine.start()
        if timeout is not None:
            timer.start()
        try:
            yield attention
        finally:
            timer.cancel()
            machine.control.stop()
            if not machine.wait(_PATIENCE):
                os._exit(TIMED_OUT)
