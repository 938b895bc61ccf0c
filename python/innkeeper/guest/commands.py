"""Commands in a guest, for those who write Python."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from types import TracebackType

from innkeeper.errors import GuestNotRunning, InnkeeperError
from innkeeper.guest import arguments
from innkeeper.guest.agent import Agent, Job
from innkeeper.guest.frames import Exec
from innkeeper.guest.process import Process, checked_size


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command in the guest left behind. A command that a signal ended has 128 + signal."""

    argv: tuple[str, ...]
    returncode: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode(errors="replace")


class CommandFailed(InnkeeperError):
    """A command ended with another status than 0, and `check` was asked for."""

    code = "command_failed"

    def __init__(self, result: CommandResult) -> None:
        last = result.stderr.strip().splitlines()[-1:] or ["no message"]
        super().__init__(f"{result.argv[0]} ended with status {result.returncode}: {last[0]}")
        self.result = result


class Commands(ABC):
    """A guest that commands can be run in, for the length of a `with` block."""

    def __init__(self) -> None:
        self._agent: Agent | None = None

    @abstractmethod
    def close(self) -> None:
        """What the block ends with."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | str = b"",
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        check: bool = False,
        timeout: float | None = None,
    ) -> CommandResult:
        """Runs a command as root and waits for it.

        Raises:
            InvalidInput: when an argument is nothing that it can be.
            CommandNotStarted: when the guest has no such program or directory.
            CommandFailed: with `check`, when its status is not 0.
            GuestNotRunning: when the guest ended meanwhile.
            TimeoutError: after `timeout` seconds; the command is killed.
        """
        command = command_of(argv, env, cwd, None)
        data = arguments.stdin(stdin)
        timeout = arguments.seconds(timeout, "timeout")
        stdout, stderr = bytearray(), bytearray()
        job = self.agent.start(command, stdout.extend, stderr.extend)
        # Apart, since a command that does not read its input must not outlast its time.
        threading.Thread(target=_feed, args=(job, data), name="stdin", daemon=True).start()
        try:
            status = job.wait(timeout)
        except TimeoutError:
            # Apart as well: a guest may not listen.
            threading.Thread(target=job.signal, args=(9,), name="kill", daemon=True).start()
            raise
        result = CommandResult(
            argv=tuple(command.argv),
            returncode=status.returncode,
            stdout_bytes=bytes(stdout),
            stderr_bytes=bytes(stderr),
        )
        if check and result.returncode != 0:
            raise CommandFailed(result)
        return result

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/root",
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Starts a command as root, and does not wait for it. `terminal` is (columns, rows) of one
        that the command has instead of pipes; both of its streams are standard output then.

        Raises:
            InvalidInput: when an argument is nothing that it can be.
            GuestNotRunning: when there is no guest any more.
        """
        return Process(self.agent, command_of(argv, env, cwd, terminal))

    def copy_to(self, source: str | PathLike[str], target: str) -> None:
        """Copies a file or directory of the host into the guest, as inn cp does.

        Raises:
            InvalidInput: when there is no such file, or no directory to put it in.
            CopyFailed: when it could not be read here or written there.
            GuestNotRunning: when the guest ended meanwhile.
        """
        from innkeeper.guest import files

        files.send(self, fspath(source), arguments.text(target, "the target"), lambda _done: None)

    def copy_from(self, source: str, target: str | PathLike[str]) -> None:
        """Copies a file or directory of the guest to the host. It becomes ours, no link is
        followed, and what is neither file, directory nor link is left out.

        Raises:
            As `copy_to`; BadArchive: when the guest sends what is none.
        """
        from innkeeper.guest import files

        path = arguments.text(source, "the source")
        files.receive(self, path, fspath(target), lambda _done: None)

    @property
    def agent(self) -> Agent:
        """The connection to the guest's agent.

        Raises:
            GuestNotRunning: when there is no guest behind this.
        """
        if self._agent is None:
            raise GuestNotRunning("there is no guest behind this, or not any more")
        return self._agent


def command_of(
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str,
    terminal: tuple[int, int] | None,
) -> Exec:
    """
    Raises:
        InvalidInput: when an argument is nothing that it can be.
    """
    return Exec(
        argv=arguments.command(argv),
        env=arguments.variables(env or {}),
        cwd=arguments.text(cwd, "cwd"),
        terminal=None if terminal is None else checked_size(terminal),
    )


def _feed(job: Job, data: bytes) -> None:
    job.send(data)
    job.end_input()
