"""Commands in a guest, for those who write Python."""

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from types import TracebackType
from typing import Final

from innkeeper.errors import GuestNotRunning, InnkeeperError
from innkeeper.guest import arguments, errands
from innkeeper.guest.agent import Agent, Job
from innkeeper.guest.frames import Exec
from innkeeper.guest.process import Process, checked_size
from innkeeper.guest.surroundings import joined
from innkeeper.vm.surroundings import Surroundings

# Seconds in which a guest does what takes no time.
_PATIENCE: Final = 30.0


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
        super().__init__()
        self._agent: Agent | None = None
        # What the guest's image says of its commands.
        self._surroundings = Surroundings()

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
        cwd: str | None = None,
        user: str = "root",
        check: bool = False,
        timeout: float | None = None,
    ) -> CommandResult:
        """Runs a command and waits for it: as `user`, which is USER[:GROUP] by names or numbers,
        and in `cwd`, or else where the image says, or at that user's home. A container's image
        has variables for it, too.

        Raises:
            InvalidInput: when an argument is nothing that it can be.
            CommandNotStarted: when the guest has no such program, directory or user.
            CommandFailed: with `check`, when its status is not 0.
            GuestNotRunning: when the guest ended meanwhile.
            TimeoutError: after `timeout` seconds; the command is killed.
        """
        command = self._command(argv, env, cwd, user)
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
        cwd: str | None = None,
        user: str = "root",
        terminal: tuple[int, int] | None = None,
    ) -> Process:
        """Starts a command as `run` does, and does not wait for it. `terminal` is (columns, rows)
        of one that it has instead of pipes; both of its streams are standard output then.

        Raises:
            InvalidInput: when an argument is nothing that it can be.
            GuestNotRunning: when there is no guest any more.
        """
        return Process(self.agent, self._command(argv, env, cwd, user, terminal))

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

    def set_time(self) -> float:
        """Gives the guest the host's time; by how many seconds its clock was ahead.

        Raises:
            ErrandFailed, GuestNotRunning; TimeoutError: when it does not answer.
        """
        answer = self.agent.run_errand(errands.set_time(time.time_ns()), _PATIENCE)
        return errands.time_ahead(answer) / 1e9

    def freeze(self, limit: float = 60.0) -> int:
        """Lets all file systems on the guest's disks stand still, whole, so that the disks can be
        copied; how many there are. After `limit` seconds the guest thaws them by itself.

        Raises:
            InvalidInput: when nothing can stand still for that long.
            ErrandFailed: when they cannot be frozen, or are already.
            GuestNotRunning; TimeoutError: when the guest does not answer.
        """
        asked = errands.freeze(arguments.seconds(limit, "limit") or 0.0)
        return errands.count(self.agent.run_errand(asked, limit + _PATIENCE))

    def thaw(self) -> int:
        """Lets them go on; how many still stood still. None, when their time was over before.

        Raises:
            ErrandFailed, GuestNotRunning; TimeoutError: when it does not answer.
        """
        return errands.count(self.agent.run_errand(errands.thaw(), _PATIENCE))

    @contextlib.contextmanager
    def frozen(self, limit: float = 60.0) -> Iterator[int]:
        """`freeze` and `thaw` around a block.

        Raises:
            ThawedTooSoon: when the block took longer than `limit` seconds; what was copied there
                is worth nothing.
            As `freeze` and `thaw`.
        """
        count = self.freeze(limit)
        try:
            yield count
        except BaseException:
            with contextlib.suppress(InnkeeperError, TimeoutError):
                self.thaw()
            raise
        if self.thaw() < count:
            raise errands.ThawedTooSoon

    def _command(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        cwd: str | None,
        user: str,
        terminal: tuple[int, int] | None = None,
    ) -> Exec:
        return joined(command_of(argv, env, cwd, user, terminal), self._surroundings)

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
    cwd: str | None,
    user: str,
    terminal: tuple[int, int] | None = None,
) -> Exec:
    """
    Raises:
        InvalidInput: when an argument is nothing that it can be.
    """
    return Exec(
        argv=arguments.command(argv),
        env=arguments.variables(env or {}),
        cwd="" if cwd is None else arguments.text(cwd, "cwd"),
        user=arguments.text(user, "the user"),
        terminal=None if terminal is None else checked_size(terminal),
    )


def _feed(job: Job, data: bytes) -> None:
    job.send(data)
    job.end_input()
