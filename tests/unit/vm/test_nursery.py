"""Processes that are forked from one which has loaded all that they take."""

import errno
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine import MachineSpec
from innkeeper.machine.spec import DiskSpec
from innkeeper.vm import nursery as nurseries
from innkeeper.vm.nursery import Nursery, Nursling
from innkeeper.vm.process import GuestProcess
from innkeeper.vm.wiring import Wiring

PATIENCE = 60.0


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as found:
        yield found


def begun(nursery: Nursery) -> tuple[socket.socket, Nursling]:
    """A process that waits for its order."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return ours, nursery.fork(theirs)
        except HostFailure:
            ours.close()
            raise


def test_one_ends_when_nobody_wants_it_any_more(nursery: Nursery) -> None:
    (one, first), (other, second) = begun(nursery), begun(nursery)
    assert first.pid != second.pid
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(timeout=0.01)
    # One has no descriptor of the other's.
    one.close()
    assert first.wait(PATIENCE) == 1
    assert first.wait() == 1
    first.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=0.01)
    other.close()
    assert second.wait(PATIENCE) == 1


def test_one_is_killed(nursery: Nursery) -> None:
    owner, process = begun(nursery)
    with owner:
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL


def test_an_order_and_its_descriptors_arrive(nursery: Nursery) -> None:
    # Its loading fails, and says so by the machine's own words.
    spec = MachineSpec(memory=1 << 26, disks=(DiskSpec(path=Path("/nowhere/at/all")),))
    guest = GuestProcess(spec, Wiring(), nursery=nursery)
    try:
        with pytest.raises(InvalidInput, match="/nowhere/at/all"):
            guest.wait(PATIENCE)
    finally:
        guest.close()


def test_a_nursery_that_was_killed_forks_none() -> None:
    with Nursery() as nursery:
        owner, process = begun(nursery)
        alive = os.pidfd_open(process.pid)
        os.kill(nursery._process.pid, signal.SIGKILL)
        # Nobody can tell how it ended, or whether.
        assert process.wait(PATIENCE) == -signal.SIGKILL
        with pytest.raises(HostFailure, match="cannot start"):
            begun(nursery)
        owner.close()
    # It ends all the same, once nobody wants it.
    assert select.select([alive], [], [], PATIENCE)[0]
    os.close(alive)


class Thread:
    """In place of a nursery's process."""

    def __init__(self, _: list[str], *, pass_fds: tuple[int, ...], **__: object) -> None:
        owner = socket.socket(fileno=os.dup(pass_fds[0]))
        self._thread = threading.Thread(target=self._serve, args=(owner,))
        self._thread.start()

    def _serve(self, owner: socket.socket) -> None:
        with owner:
            nurseries._Forks(owner).serve()

    def wait(self, timeout: float | None = None) -> int:
        self._thread.join(timeout)
        return 0


def test_a_host_without_processes_says_so_and_may_have_one_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, "no process")

    monkeypatch.setattr(nurseries.subprocess, "Popen", Thread)
    monkeypatch.setattr(os, "fork", refuse)
    with Nursery() as nursery:
        for _ in range(2):
            with pytest.raises(HostFailure, match="Resource temporarily unavailable"):
                begun(nursery)
