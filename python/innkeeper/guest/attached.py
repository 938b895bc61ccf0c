"""Commands and the console of a guest that runs already, for who sits at this terminal."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Final

from innkeeper import stored
from innkeeper.errors import CommandNotStarted, GuestNotRunning, HostFailure
from innkeeper.guest.agent import Agent, Job
from innkeeper.guest.frames import Exec
from innkeeper.guest.streams import not_started, run_joined
from innkeeper.guest.surroundings import joined
from innkeeper.vm import terminal
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.ending import GUEST_LOST, Ending
from innkeeper.vm.qmp.client import Client
from innkeeper.vm.surroundings import Surroundings

# Seconds for the hello of an agent that may not be there.
_OTHERS_PATIENCE: Final = 60.0
# What Ctrl-C and its like are for a command in a guest, they are for that command.
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def connect(home: Home, name: str) -> socket.socket:
    """
    Raises:
        GuestNotRunning: when nobody listens at the guest's socket `name`.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(home.socket_path(name))
    except OSError as error:
        channel.close()
        raise GuestNotRunning(f"the guest {home.name!r} is not running") from error
    return channel


@contextlib.contextmanager
def agent(home: Home) -> Iterator[Agent]:
    """A connection to the guest's agent, which need not answer yet.

    Raises:
        GuestNotRunning: when the guest does not run.
    """
    found = Agent(connect(home, files.AGENT))
    try:
        yield found
    finally:
        found.close()


def require_going(home: Home) -> None:
    """
    Raises:
        GuestNotRunning: when the guest is paused: its agent takes no more than a few words then,
            and answers none.
    """
    if _is_paused(home):
        raise GuestNotRunning(f"the guest {home.name!r} is paused: inn resume {home.name}")


def _is_paused(home: Home) -> bool:
    return standing.look(home).state == standing.PAUSED


def execute(home: Home, command: Exec, *, stdin: bool, timeout: float | None) -> Ending:
    """Runs a command with the streams of this process, once the guest has booted.

    Raises:
        GuestNotRunning: when the guest does not run, or is paused.
    """
    require_going(home)
    with agent(home) as channel:
        try:
            channel.wait_ready(patience(home, timeout))
            command = joined(command, surroundings(home))
            with _signals_passed_on(home) as hear:
                status = run_joined(channel, command, on_job=hear, stdin=stdin)
                return Ending(status.returncode)
        except CommandNotStarted as error:
            return not_started(command.argv, error, command.cwd)
        except GuestNotRunning:
            return Ending(GUEST_LOST, f"the guest {home.name!r} ended before the command did")
        except TimeoutError:
            return Ending(GUEST_LOST, silent(home))


def surroundings(home: Home) -> Surroundings:
    """What the guest's image says of its commands."""
    told = (home.read(files.ORDER) or {}).get("surroundings", {})
    try:
        return stored.decode(Surroundings, told)
    except stored.Unreadable as error:
        raise HostFailure(f"{home.path}/{files.ORDER} is damaged: {error}") from error


def patience(home: Home, timeout: float | None) -> float | None:
    """Seconds for an agent's hello: an image of ours has one, any other may have none."""
    order = home.read(files.ORDER)
    is_ours = order is None or order.get("image") is not False
    return timeout if timeout is not None or is_ours else _OTHERS_PATIENCE


def silent(home: Home) -> str:
    """What is said where that was not enough."""
    order = home.read(files.ORDER)
    if order is None or order.get("image") is not False:
        return f"the agent of the guest {home.name!r} does not answer"
    return (
        f"no agent answers in the guest {home.name!r}: "
        "it needs innkeeper-agent or qemu-guest-agent, see docs/guides/agent.md"
    )


def capture(home: Home, argv: Sequence[str], timeout: float | None) -> tuple[int, bytes, bytes]:
    """Runs a command without input; its status and what it printed.

    Raises:
        GuestNotRunning, CommandNotStarted, TimeoutError.
    """
    stdout, stderr = bytearray(), bytearray()
    with agent(home) as channel:
        channel.wait_ready(patience(home, timeout))
        job = channel.start(Exec(argv=argv, env={}), stdout.extend, stderr.extend)
        job.end_input()
        return job.wait(timeout).returncode, bytes(stdout), bytes(stderr)


def console(home: Home, *, read_only: bool) -> None:
    """Joins this terminal to the guest's console, until Ctrl-] or the guest's end.

    Raises:
        GuestNotRunning: when the guest does not run.
    """
    with connect(home, files.CONSOLE) as channel, contextlib.ExitStack() as stack:
        person = terminal.is_interactive() and not read_only
        if person:
            stack.enter_context(terminal.raw_mode(0))
            resize = partial(_resize, home)
            resize(*terminal.size())
            stack.enter_context(terminal.on_resize(resize))
        if not read_only and terminal.may_read(0):
            arguments = (channel, person)
            threading.Thread(target=_type, args=arguments, name="keys", daemon=True).start()
        with contextlib.suppress(ConnectionError):
            while data := channel.recv(1 << 16):
                terminal.write_all(1, data)


def _type(channel: socket.socket, person: bool) -> None:  # noqa: FBT001 - for a thread
    """Standard input to the console. A script's input ends without the console's end: a serial
    line has none."""
    with contextlib.suppress(OSError):
        while data := os.read(0, 1 << 12):
            escaped = False
            if person:
                data, escaped = terminal.split_at_escape(data)
            channel.sendall(data)
            if escaped:
                break
        if person:
            channel.shutdown(socket.SHUT_RDWR)


def _resize(home: Home, columns: int, rows: int) -> None:
    # A terminal may not know its size. A guest that is just ending has no use for it.
    if columns and rows:
        with contextlib.suppress(GuestNotRunning), Client(home) as client:
            client.execute("x-resize-console", columns=columns, rows=rows)


@contextlib.contextmanager
def _signals_passed_on(home: Home) -> Iterator[partial[None]]:
    """Hand the job to what this yields. A second signal ends this process, as it ends any other;
    so does the first while the guest is paused, which would hear nothing of it.
    """
    jobs: list[Job] = []
    caught: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        if caught or not jobs or _is_paused(home):
            os._exit(128 + number)
        caught.append(number)
        # Apart: the channel may be busy, and its lock held by the very code that this interrupts.
        threading.Thread(target=jobs[0].signal, args=(number,), daemon=True).start()

    previous = {}
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield partial(jobs.append)
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
