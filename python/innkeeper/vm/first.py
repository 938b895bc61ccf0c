"""The process of a guest that somebody waits for sees no other processes: it is the first in a
namespace of its own, as one that stays is (innkeeper.vm.detached.alone).

Whoever attends to a guest is a program of somebody's, which is not asked to adopt strangers. So the
process that it has forked stays as the parent of the guest's: it holds nothing, waits, and ends as
that one did. When it is killed, so is the guest's.

To itself the guest's process is number 1. The kernel spares such a one signals that it has said
nothing about. Spec: pid_namespaces(7), PR_SET_PDEATHSIG in prctl(2), pidfd_open(2).
"""

import os
import select
import signal
import sys
from pathlib import Path
from typing import Final

from innkeeper._core import end_with_parent, separate_children
from innkeeper.machine.network import NetworkKind
from innkeeper.machine.spec import MachineSpec

_STANDARD: Final = 3


class Parent:
    """The process that waits for this one, where it is its child. `process` is a pidfd of it."""

    def __init__(self, process: int | None = None) -> None:
        self._process = process

    def stay_with(self) -> None:
        """From now on this process ends when the parent does. Said once it has its user: with
        another one, it would have to say so again.
        """
        if self._process is None:
            return
        end_with_parent()
        # The kernel tells of an end that is still to come.
        end = select.poll()
        end.register(self._process, select.POLLIN)
        if end.poll(0):
            os._exit(1)
        os.close(self._process)
        self._process = None


def become_first(spec: MachineSpec) -> Parent:
    """Returns in the guest's process: a child of this one, or this one where the host gives no such
    namespace, and where perf is to find the guest by its number.

    Raises:
        OSError: when the host has no process left.
    """
    if spec.perf_map or _separate(spec) is not None:
        return Parent()
    sys.stdout.flush()
    parent = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, _end)
        return Parent(parent)
    # What is at the other ends of these is told by their closing that the guest is gone.
    os.closerange(_STANDARD, os.sysconf("SC_OPEN_MAX"))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def number() -> int:
    """Of this process, outside. /proc is the host's, or what the jail has left of that."""
    return int(Path("/proc/self").readlink().name)


def _separate(spec: MachineSpec) -> str | None:
    network = spec.network
    has_tap = network is not None and (
        network.kind is NetworkKind.TAP or network.bridge is not None
    )
    has_sockets = network is not None and network.kind is not NetworkKind.TAP
    return separate_children(has_sockets, has_tap)


def _end(number: int, _frame: object) -> None:
    """As if nothing had been said about it."""
    sys.stderr.flush()
    os._exit(128 + number)
