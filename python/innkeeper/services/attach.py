"""Guests that run already: commands in them, their console, what goes on inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from innkeeper.guest import attached
from innkeeper.guest.frames import Exec
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.ending import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """What `inn exec` was asked for. `terminal` is (columns, rows); `timeout`, in seconds, is how
    long the guest gets to boot; `user` and `cwd` are as in `Exec`.
    """

    argv: tuple[str, ...]
    stdin: bool = False
    terminal: tuple[int, int] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""
    timeout: float | None = None


def execute(name: str, request: ExecRequest) -> Ending:
    """Runs a command in the guest with the streams of this process.

    Raises:
        GuestNotFound; GuestNotRunning: also when it is paused.
    """
    command = Exec(
        argv=request.argv,
        env=request.env,
        cwd=request.cwd,
        user=request.user,
        terminal=request.terminal,
    )
    with registry().open(name) as home:
        return attached.execute(home, command, stdin=request.stdin, timeout=request.timeout)


def top(name: str, arguments: Sequence[str]) -> Ending:
    """Prints the guest's processes, as its own ps(1) does.

    Raises:
        As `execute`.
    """
    options = tuple(arguments) or ("-e", "-o", "pid,ppid,user,pcpu,pmem,rss,stat,time,args")
    return execute(name, ExecRequest(argv=("ps", *options)))


def console(name: str, *, read_only: bool) -> None:
    """Joins this terminal to the guest's console.

    Raises:
        GuestNotFound, GuestNotRunning.
    """
    with registry().open(name) as home:
        attached.console(home, read_only=read_only)


def wait_ready(name: str, patience: float | None) -> bool:
    """Whether the guest's agent answers, after at most so many seconds.

    Raises:
        GuestNotFound; GuestNotRunning: when it ends first.
    """
    with registry().open(name) as home, attached.agent(home) as channel:
        try:
            channel.wait_ready(patience)
        except TimeoutError:
            return False
    return True
