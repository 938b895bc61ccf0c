"""Which process is meant: a number is used again, a number and its start time are not.

Spec: proc_pid_stat(5), fields `state` and `starttime`; pidfd_open(2).
"""

import os
import signal

_STATE = 0
_START_TIME = 19  # both counted behind the name, which may hold anything


def start_time(pid: int) -> int | None:
    """When `pid` was started, in clock ticks since the host booted; None when it does not run."""
    fields = _fields(pid)
    return None if fields is None or fields[_STATE] in (b"Z", b"X") else int(fields[_START_TIME])


def lives(pid: int, started: int) -> bool:
    return pid > 0 and start_time(pid) == started


def send(pid: int, started: int, number: int) -> bool:
    """Signals the process that was meant and no other; False when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The handle is of one process: if that is the right one now, it is for ever.
        if not lives(pid, started):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _fields(pid: int) -> list[bytes] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()
    except OSError:
        return None
