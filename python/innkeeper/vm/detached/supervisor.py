"""The small parent of a guest's process: waits for it, writes down how it ended, starts it again.

The first guest's process is a fork of this one, which has loaded next to nothing by then; so is
each that follows (innkeeper.vm.detached.alone). It keeps no descriptor but the guest's directory
and lock. When it is killed itself, its guest runs on: what the guest does is worth more than to be
watched.

It also connects whom the guest calls by its socket device (innkeeper.vm.vsock), since the guest's
own process may not. A question comes as SIGIO, so that one wait is for all.

SIGTERM: the guest shall end and not be started again. It is passed on. SIGUSR1: the guest shall
not be started again when it ends.
"""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable

from innkeeper.vm.detached import alone, journal, processes, promises, share
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home
from innkeeper.vm.vsock import Switchboard, remove

NEVER = "no"
ON_FAILURE = "on-failure"
ALWAYS = "always"

VERSION = 1
NOT_AGAIN = signal.SIGUSR1
_SIGNALS = frozenset(
    (
        signal.SIGCHLD,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGIO,
        NOT_AGAIN,
    )
)
# Not news of what shall become of the guest.
_ROUTINE = frozenset((signal.SIGCHLD, signal.SIGIO))
# Answered at once, before the guest's end is looked for.
_QUESTIONS = 64
# What the guest's process waits for: by then it is written down, and kept to its share.
_BEGIN = b"\n"
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 60.0
# A guest that ran for so long, in seconds, did start: the next pause is the first again.
_SETTLED = 10.0

Become = Callable[[Home, "int | None", "int | None"], int]


def supervise(home: Home, ready: int, become_guest: Become) -> None:
    """Runs the guest in `home`, whose lock this process holds, until it shall not run any more.

    `become_guest` is called in the new process; what it answers is that one's exit status. The
    first one is given `ready`, to tell whoever waits there how the start went; each, where it asks
    for connections of its guest.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    order = home.read(files.ORDER) or {}
    _Supervisor(home, order, become_guest).run(ready)


class _Supervisor:
    def __init__(self, home: Home, order: "dict[str, object]", become_guest: Become) -> None:
        self._home = home
        self._policy = str(order.get("restart", NEVER))
        self._vsock_path = vsock_path(home, order)
        self._switchboard: Switchboard | None = None
        self._become_guest = become_guest
        self._promise: promises.Promise | None = None
        self._restarts = 0
        self._unwanted = False
        # Why it can not have its children's children, where it is to.
        self._orphans = alone.adopt() if order.get("jail") is True else None

    def run(self, ready: int) -> None:
        pause = _FIRST_PAUSE
        first: int | None = ready
        while True:
            began = time.monotonic()
            ending = self._one_run(first)
            if ending.get("failed_to_start") and first is not None:
                break
            first = None
            if not self._goes_on(ending):
                break
            if time.monotonic() - began > _SETTLED:
                pause = _FIRST_PAUSE
            if not self._wait_to_restart(pause):
                break
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._restarts += 1
            journal.tell(self._home, "restart", count=self._restarts)
        self._home.remove(files.RUN)
        self._home.remove(files.SUPERVISOR)
        self._home.remove(files.SUPERVISOR_PID)
        if self._home.read(files.ENDING) is None:
            # There may be room by now.
            self._keep(ending)

    def _one_run(self, ready: "int | None") -> "dict[str, object]":
        self._home.make_own()
        self._home.remove(files.ENDING)
        pid = self._fork(ready)
        status = self._wait(pid)
        ending = _plausible(self._home.read(files.ENDING))
        if ending is None:
            ending = unexpected(status)
            self._keep(ending)
        share.forget(self._home)
        if self._promise is not None:
            self._promise.end()
            self._promise = None
        if self._switchboard is not None:
            self._switchboard.close()
            remove(self._switchboard.path)
            self._switchboard = None
        self._tidy_network()
        for name in files.SOCKETS:
            self._home.remove(name)
        journal.tell(self._home, "exit", status=ending["status"], sentence=ending["sentence"])
        return ending

    def _keep(self, ending: "dict[str, object]") -> None:
        """A full disk must not keep the guest from being started again."""
        with contextlib.suppress(OSError):
            self._home.write(files.ENDING, ending)

    def _fork(self, ready: "int | None") -> int:
        """The guest's process, which begins once it is written down. Where that cannot be, the
        first one is an error, and each later one ends without having begun.
        """
        begin, tell = os.pipe2(os.O_CLOEXEC)
        order = self._home.read(files.ORDER) or {}
        if self._vsock_path is not None:
            self._switchboard = Switchboard(self._vsock_path)
        pid = alone.fork(order, self._orphans)
        if pid == 0:
            os._exit(self._child(ready, begin, tell))
        os.close(begin)
        if self._switchboard is not None:
            self._listen(self._switchboard)
        is_written = self._is_written(pid, needed=ready is not None)
        self._settle(pid)
        if is_written:
            # It may have been killed by then.
            with contextlib.suppress(BrokenPipeError):
                os.write(tell, _BEGIN)
        os.close(tell)
        if ready is not None:
            os.close(ready)
        return pid

    def _child(self, ready: "int | None", begin: int, tell: int) -> int:
        """In the new process. Its exit status."""
        try:
            os.close(tell)
            if os.read(begin, 1) != _BEGIN:
                return 1
            os.close(begin)
            return self._guest(ready)
        # Whatever it is: a fork must not go on as its parent.
        except BaseException:
            import traceback

            traceback.print_exc()
            return 1

    def _settle(self, pid: int) -> None:
        """Its share of the host, which may have changed since the run before."""
        order = self._home.read(files.ORDER) or {}
        self._promise = promises.make(str(order.get("id", pid)), share.promised(order))
        # Processors that were there when somebody looked may have gone.
        with contextlib.suppress(OSError):
            document = share.settle_ordered(order, pid)
            self._home.write(files.SHARE, document)

    def _listen(self, board: Switchboard) -> None:
        """The kernel tells of questions; of those that are there already we tell ourselves."""
        board.theirs.close()
        asked = board.ours.fileno()
        fcntl.fcntl(asked, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(asked, fcntl.F_SETFL, fcntl.fcntl(asked, fcntl.F_GETFL) | os.O_ASYNC)
        os.kill(os.getpid(), signal.SIGIO)

    def _tidy_network(self) -> None:
        """What it published on a bridge goes: from inside of its jail it could not see to that.
        In a process of its own, for what that loads.
        """
        spec = (self._home.read(files.ORDER) or {}).get("spec")
        network = spec.get("network") if isinstance(spec, dict) else None
        if not isinstance(network, dict) or not network.get("bridge") or not network.get("ports"):
            return
        pid = os.fork()
        if pid == 0:
            status = 1
            with contextlib.suppress(BaseException):
                from innkeeper import stored
                from innkeeper.machine.network import NetworkSpec
                from innkeeper.vm.bridge.host import tidy

                tidy(stored.decode(NetworkSpec, network))
                status = 0
            os._exit(status)
        os.waitpid(pid, 0)

    def _guest(self, ready: "int | None") -> int:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        outward: int | None = None
        if self._switchboard is not None:
            self._switchboard.ours.close()
            outward = self._switchboard.theirs.detach()
        return self._become_guest(self._home, ready, outward)

    def _wait(self, pid: int) -> int:
        while True:
            number = signal.sigwait(_SIGNALS)
            if number == signal.SIGIO:
                board = self._switchboard
                if board is not None and not board.answer_all(_QUESTIONS):
                    os.kill(os.getpid(), signal.SIGIO)
                continue
            if number != signal.SIGCHLD:
                self._unwanted = True
                if number != NOT_AGAIN:
                    os.kill(pid, signal.SIGTERM)
                continue
            found, status = os.waitpid(pid, os.WNOHANG)
            if found == pid:
                return os.waitstatus_to_exitcode(status)

    def _goes_on(self, ending: "dict[str, object]") -> bool:
        if self._unwanted or ending.get("asked"):
            return False
        # It may run on another host, or does.
        if self._home.read(files.MOVED) is not None or not files.came_whole(self._home):
            return False
        return self._policy == ALWAYS or (self._policy == ON_FAILURE and ending["status"] != 0)

    def _wait_to_restart(self, pause: float) -> bool:
        """False when somebody wants it to end meanwhile."""
        self._is_written(None, needed=False)
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0:
            caught = signal.sigtimedwait(_SIGNALS, left)
            if caught is not None and caught.si_signo not in _ROUTINE:
                return False
        return True

    def _is_written(self, guest: "int | None", *, needed: bool) -> bool:
        try:
            self._write(guest)
        except OSError:
            if needed:
                raise
            return False
        return True

    def _write(self, guest: "int | None") -> None:
        pid = os.getpid()
        document: dict[str, object] = {
            "version": VERSION,
            **_process(pid),
            "guest": None if guest is None else _process(guest),
            "restart": self._policy,
            "restarts": self._restarts,
        }
        self._home.write(files.SUPERVISOR, document)
        self._home.write_bytes(files.SUPERVISOR_PID, f"{pid}\n".encode())


def vsock_path(home: Home, order: "dict[str, object]") -> "str | None":
    """The name of the guest's socket device on the host, where it has one."""
    spec = order.get("spec")
    asked = spec.get("vsock") if isinstance(spec, dict) else None
    if not isinstance(asked, dict):
        return None
    path = asked.get("path")
    return path if isinstance(path, str) else home.socket_path(files.VSOCK)


def _process(pid: int) -> "dict[str, object]":
    return {"pid": pid, "start_time": processes.start_time(pid)}


def _plausible(ending: "dict[str, object] | None") -> "dict[str, object] | None":
    """What the guest's process says of its end, which it may have been taken over to say."""
    if ending is None or not isinstance(ending.get("status"), int):
        return None
    sentence = ending.get("sentence")
    return ending if sentence is None or isinstance(sentence, str) else None


def unexpected(status: int) -> "dict[str, object]":
    """The ending of a process that could not tell its own. `status` is as of a `Popen`."""
    if status < 0:
        name = signal.Signals(-status).name
        sentence, shown = f"its process was killed by {name}", 128 - status
    else:
        sentence, shown = f"its process ended unexpectedly with status {status}", status or 1
    return {
        "version": VERSION,
        "time": time.time(),
        "status": shown,
        "sentence": sentence,
        "asked": False,
    }
