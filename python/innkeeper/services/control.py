"""What one can do with guests that are there, whether they run or not.

Nothing here waits without an end for a process that does not answer. It loads nothing of what it
takes to make a guest.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import Final

from innkeeper.errors import GuestNotRunning, HostFailure
from innkeeper.vm.detached import journal, processes, standing, supervisor
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client

GRACE: Final = 10.0  # seconds that a guest gets to power off
# Seconds that a process gets to end once it cannot do otherwise.
_PATIENCE: Final = 10.0


def stop(name: str, grace: float = GRACE) -> None:
    """Asks the guest to power off, and after `grace` seconds ends it. One that has ended is left.

    Raises:
        GuestNotFound; HostFailure: when it cannot be ended.
    """
    with registry().open(name) as home:
        if not home.is_taken():
            return
        journal.tell(home, "stop")
        try:
            with Client(home) as client:
                client.execute("cont")
                client.execute("system_powerdown")
                if _is_free(home, grace):
                    return
                client.execute("quit")
        except (GuestNotRunning, HostFailure):
            # It starts, restarts, ends just now, or does not answer.
            _signal(standing.supervisor_of(home), signal.SIGTERM)
        if not _is_free(home, _PATIENCE):
            kill_processes(home)


def kill(name: str) -> None:
    """Ends a guest at once, as pulling its plug would.

    Raises:
        GuestNotFound, GuestNotRunning, HostFailure.
    """
    with registry().open(name) as home:
        if not home.is_taken():
            raise GuestNotRunning(f"the guest {name!r} is not running")
        journal.tell(home, "kill")
        kill_processes(home)


def wait(name: str, patience: float | None) -> int | None:
    """The exit status of a guest once it has ended; None when it has not after `patience` seconds.

    Raises:
        GuestNotFound; GuestNotRunning: when it was never started, and has no end to be waited for.
    """
    with registry().open(name) as home:
        if not _is_free(home, threading.TIMEOUT_MAX if patience is None else patience):
            return None
        found = standing.look(home)
        if found.state == standing.CREATED:
            raise GuestNotRunning(f"the guest {name!r} was never started")
        return 1 if found.status is None else found.status


def pause(name: str) -> None:
    """Its processors stand still until `resume`."""
    _tell(name, "stop")


def resume(name: str) -> None:
    _tell(name, "cont")


def rename(old: str, new: str) -> None:
    """Whether it runs or not; one of an image hears of its new name when it starts again.

    Raises:
        GuestNotFound, NameInUse, InvalidInput, HostFailure.
    """
    registry().rename(old, new)
    with registry().open(new) as home:
        journal.tell(home, "rename", old=old)


def _tell(name: str, command: str) -> None:
    with registry().open(name) as home, Client(home) as client:
        client.execute(command)


def kill_processes(home: Home) -> None:
    """Ends all that runs of a guest, and waits for it.

    Raises:
        HostFailure: when it cannot be ended.
    """
    # First whoever would start it again.
    watcher, guest = standing.supervisor_of(home), standing.process_of(home)
    _signal(watcher, supervisor.NOT_AGAIN)
    _signal(guest, signal.SIGKILL)
    if _is_free(home, _PATIENCE):
        return
    _signal(watcher, signal.SIGKILL)
    _signal(standing.process_of(home), signal.SIGKILL)
    if not _is_free(home, _PATIENCE):
        raise HostFailure(f"the processes of the guest {home.name!r} do not end")


def await_release(home: Home) -> None:
    """Until the processes of a guest, which are about to end, have ended; or for some seconds."""
    _is_free(home, _PATIENCE)


def _signal(process: tuple[int, int] | None, number: signal.Signals) -> None:
    if process is not None:
        processes.send(*process, number)


def _is_free(home: Home, patience: float) -> bool:
    """Whether all processes of the guest have ended, after at most so many seconds."""
    return wait_until(lambda: not home.is_taken(), patience)


def wait_until(holds: Callable[[], bool], patience: float) -> bool:
    """Looks again and again, less and less often."""
    deadline = time.monotonic() + patience
    pause = 0.0005
    while not holds():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, 0.1)
    return True
