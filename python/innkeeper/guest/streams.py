"""The streams of this process, joined to those of a command in a guest."""

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from innkeeper.errors import CommandNotStarted, HostFailure
from innkeeper.guest.agent import Agent, ExitStatus, Job, Sink
from innkeeper.guest.frames import Exec
from innkeeper.vm import terminal
from innkeeper.vm.ending import GUEST_LOST, NOT_EXECUTABLE, NOT_FOUND, Ending


def run_joined(
    agent: Agent,
    command: Exec,
    *,
    on_job: Callable[[Job], None] = lambda _job: None,
    leave: Callable[[], None] = lambda: None,
    stdin: bool = True,
) -> ExitStatus:
    """Runs `command` with our standard streams, to its end; `on_job` hears of it when it starts.

    A command with a terminal gets ours, key by key and with the window's size; Ctrl-] calls `leave`
    and hangs it up.

    Raises:
        CommandNotStarted, GuestNotRunning: as `Job.wait`.
        HostFailure: when what it wrote could not be written here.
    """
    box: list[Job] = []
    failures: list[str] = []
    sinks = (_sink(fd, box, failures) for fd in (1, 2))
    job = agent.start(command, *sinks)
    box.append(job)
    on_job(job)

    def hang_up() -> None:
        leave()
        job.signal(signal.SIGHUP)
        job.signal(signal.SIGKILL)

    with _joined(job, hang_up if command.terminal else None, stdin=stdin):
        status = job.wait()
    if failures:
        # Whatever the command's status is: who goes by it alone would take what is there for all.
        raise HostFailure(failures[0])
    return status


def not_started(argv: Sequence[str], error: CommandNotStarted, cwd: str = "") -> Ending:
    """As a shell has it: 127 for a program that is not there, 126 for one that cannot be run. The
    directory may be what was wrong, and nobody says which. One that had started may be lost as
    well, with the agent that ran it.
    """
    if error.errno == errno.ECONNRESET:
        lost = "the guest ended before the command did, or its agent began anew"
        return Ending(GUEST_LOST, lost)
    status = NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
    where = f"{cwd} of the guest" if cwd else "the guest"
    return Ending(status, f"cannot run {argv[0]!r} in {where}: {error}")


def _sink(fd: int, job: list[Job], failures: list[str]) -> Sink:
    """Writes to `fd`. When nobody reads it any more, the command learns it as it would here; so it
    does when it cannot be written to, and why goes to `failures`.
    """

    def write(data: bytes) -> None:
        try:
            terminal.write_all(fd, data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                stream = "standard output" if fd == 1 else "standard error"
                failures.append(f"cannot write to {stream}: {error.strerror}")
            for writer in job:
                writer.signal(signal.SIGPIPE)

    return write


@contextlib.contextmanager
def _joined(job: Job, leave: Callable[[], None] | None, *, stdin: bool) -> Iterator[None]:
    """With `leave`, our terminal is the command's."""
    pump = partial(_pump, job, leave)
    with contextlib.ExitStack() as stack:
        if leave is not None:
            stack.enter_context(terminal.raw_mode(0))
            stack.enter_context(terminal.on_resize(job.resize))
        if stdin and terminal.may_read(0):
            threading.Thread(target=pump, name="stdin", daemon=True).start()
        else:
            job.end_input()
        yield


def _pump(job: Job, leave: Callable[[], None] | None) -> None:
    # A standard input that was closed has no more to say than an empty one.
    with contextlib.suppress(OSError):
        while data := os.read(0, 1 << 16):
            if leave is not None:
                data, escaped = terminal.split_at_escape(data)
                if escaped:
                    leave()
                    return
            job.send(data)
    job.end_input()
