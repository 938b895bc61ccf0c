"""Processes of many guests that begin at once: forks of one that has loaded all that such a process
takes, so that this is loaded once, and is in the host's memory once.

Its owner asks for one after the other, by a socket, each with the socket of the guest's process
(innkeeper.vm.child) and with where its status is told when it has ended. The answer is the
process's number, and a pidfd of it, by which it can be killed whatever that number is by then; or
the negative number of an error.
When its own socket closes, it ends; so does each of the guests' processes, by its own.
"""

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from innkeeper.errors import HostFailure
from innkeeper.vm import child, sent_order
from innkeeper.vm.running import rehearse

_ASK: Final = b"f"
_NUMBER: Final = struct.Struct("<i")
# Seconds for a new process to be there, of a host with little to give.
_PATIENCE: Final = 60.0
# Not `-m`, as in innkeeper.vm.process.
_MAIN: Final = "import sys; from innkeeper.vm.nursery import main; main(int(sys.argv[1]))"


class Nursling:
    """A guest's process, as `subprocess.Popen` would have it."""

    def __init__(self, pid: int, process: int, status: int) -> None:
        self.pid = pid
        self._process, self._status = process, status
        self._code: int | None = None
        self._hearing = threading.Lock()
        for fd in (process, status):
            weakref.finalize(self, os.close, fd)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal; that of SIGKILL where nobody can tell.

        Raises:
            TimeoutExpired.
        """
        told = select.poll()
        told.register(self._status, select.POLLIN)
        if not told.poll(None if timeout is None else 1000 * timeout):
            raise subprocess.TimeoutExpired("the guest's process", timeout or 0.0)
        with self._hearing:
            if self._code is None:
                code = os.read(self._status, _NUMBER.size)
                whole = len(code) == _NUMBER.size
                (self._code,) = _NUMBER.unpack(code) if whole else (-signal.SIGKILL,)
        return self._code

    def kill(self) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)


class Nursery:
    """Starts at once, and ends with the block, guests' processes before. For several threads."""

    def __init__(self) -> None:
        """
        Raises:
            HostFailure: when the host has no process left.
        """
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_PATIENCE)
        self._asking = threading.Lock()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            except OSError as error:
                self._socket.close()
                raise HostFailure(f"cannot start the guests' processes: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def fork(self, owner: socket.socket) -> Nursling:
        """A process that serves `owner`, the closing of which stays the caller's.

        Raises:
            HostFailure: when there is none.
        """
        status, theirs = os.pipe()
        try:
            pid, process = self._asked([owner.fileno(), theirs])
        except OSError as error:
            os.close(status)
            said = f"cannot start the guest's process: {error.strerror or error}"
            raise HostFailure(said) from error
        finally:
            os.close(theirs)
        return Nursling(pid, process, status)

    def _asked(self, fds: Sequence[int]) -> tuple[int, int]:
        """
        Raises:
            OSError: also that of the process which was asked.
        """
        with self._asking:
            socket.send_fds(self._socket, [_ASK], fds)
            told, found, _, _ = socket.recv_fds(self._socket, _NUMBER.size, 1)
        number = _NUMBER.unpack(told)[0] if told else -errno.ECHILD
        if number < 0:
            raise OSError(-number, os.strerror(-number))
        return number, found[0]

    def close(self) -> None:
        self._socket.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main(control: int) -> None:
    """The process that is forked, until its owner is gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=control) as owner:
        os.set_inheritable(owner.fileno(), False)  # noqa: FBT003 - the one argument it has
        rehearse()
        gc.collect()
        # What a collector does not look at, it does not write to either.
        gc.freeze()
        _Forks(owner).serve()


class _Forks:
    """Those of one nursery."""

    def __init__(self, owner: socket.socket) -> None:
        self._owner = owner
        self._news = select.poll()
        self._news.register(owner, select.POLLIN)
        # By the pidfd: the number, and where the status goes.
        self._alive: dict[int, tuple[int, int]] = {}

    def serve(self) -> None:
        while True:
            for fd, _ in self._news.poll():
                if fd in self._alive:
                    self._ended(fd)
                elif not self._asked():
                    return

    def _asked(self) -> bool:
        """Whether there still is an owner."""
        try:
            request, fds, _, _ = socket.recv_fds(self._owner, len(_ASK), 2)
        except OSError:
            return False
        if request != _ASK or len(fds) != 2:
            return False
        served, status = fds
        try:
            pid = os.fork()
        except OSError as error:
            os.close(status)
            self._answer(-(error.errno or errno.EAGAIN))
        else:
            if pid == 0:
                self._become(fds)
            process = os.pidfd_open(pid)
            self._alive[process] = (pid, status)
            self._news.register(process, select.POLLIN)
            self._answer(pid, process)
        os.close(served)
        return True

    def _answer(self, number: int, *fds: int) -> None:
        # Who asked may have gone.
        with contextlib.suppress(OSError):
            socket.send_fds(self._owner, [_NUMBER.pack(number)], fds)

    def _ended(self, process: int) -> None:
        pid, status = self._alive.pop(process)
        self._news.unregister(process)
        os.close(process)
        _, how = os.waitpid(pid, 0)
        # Who wanted to know may have gone.
        with contextlib.suppress(OSError):
            os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(how)))
        os.close(status)

    def _become(self, fds: Sequence[int]) -> None:
        """In the new process, to its end."""
        code = 1
        try:
            served, status = fds
            os.close(status)
            self._owner.close()
            for process, (_, told) in self._alive.items():
                os.close(process)
                os.close(told)
            with socket.socket(fileno=served) as owner:
                child.serve(owner, sent_order.arrive)
            code = 0
        # Whatever it is: a fork must not go on as its parent.
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            # What devices in Python have printed.
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            os._exit(code)
