"""A command in a guest while it runs, for those who write Python: its streams piece by piece."""

import codecs
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

from innkeeper.errors import InvalidInput
from innkeeper.guest.agent import Agent
from innkeeper.guest.frames import Exec

# What a window can be, and half of what kernels take.
_LARGEST: Final = 0xFFFF
_SIGNALS: Final = range(1, 65)


class Output:
    """One stream of a command: an iterator over its pieces as they come, each of some bytes.

    What is not read stays in the guest: standard output and error together may be 256 KiB ahead of
    their reader, and then the command waits.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self.take: Callable[[int], None] = lambda _count: None

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece

    def lines(self) -> Iterator[str]:
        """Its lines without their ends, as they come. What is no UTF-8 is replaced."""
        yield from _lines(self)

    def read(self, timeout: float | None = None) -> bytes:
        """The next piece; nothing once the stream has ended.

        Raises:
            TimeoutError: when none has come after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._pieces or self._ended, timeout):
                raise TimeoutError(f"the command wrote nothing for {timeout} s")
            piece = self._pieces.popleft() if self._pieces else b""
        self.take(len(piece))
        return piece

    def feed(self, data: bytes) -> None:
        with self._changed:
            self._pieces.append(data)
            self._changed.notify_all()

    def finish(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Process:
    """A command in a guest, started by `Commands.start`.

        with guest.start(["ping", "-c", "3", "10.0.2.2"]) as ping:
            for line in ping.stdout.lines():
                print(line)
        print(ping.returncode)

    Leaving the block kills a command that still runs.
    """

    def __init__(self, agent: Agent, command: Exec) -> None:
        self.argv = tuple(command.argv)
        self.stdout = Output()
        self.stderr = Output()
        job = agent.start(command, self.stdout.feed, self.stderr.feed, prompt=False)
        self.stdout.take = self.stderr.take = job.take
        self._job = job
        job.when_ended(self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._job.has_ended:
            self.kill()

    @property
    def returncode(self) -> int | None:
        """As a shell gives it, 128 and the signal's number for one that a signal ended; None while
        it runs.

        Raises:
            CommandNotStarted, GuestNotRunning: as `wait`.
        """
        return self._job.wait().returncode if self._job.has_ended else None

    def write(self, data: bytes | str) -> None:
        """To its standard input; waits while the command does not take it."""
        self._job.send(data.encode() if isinstance(data, str) else data)

    def end_input(self) -> None:
        """Its standard input has ended."""
        self._job.end_input()

    def send_signal(self, number: int) -> None:
        """
        Raises:
            InvalidInput: when there is no such signal.
        """
        self._job.signal(checked_signal(number))

    def resize(self, columns: int, rows: int) -> None:
        """Of its terminal, where it has one.

        Raises:
            InvalidInput: when no terminal can have that size.
        """
        self._job.resize(*checked_size((columns, rows)))

    def kill(self) -> None:
        self._job.signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Its status once it has ended. What it wrote can still be read.

        Raises:
            CommandNotStarted: when the guest has no such program or directory.
            GuestNotRunning: when the guest ended first.
            TimeoutError: after `timeout` seconds; the command runs on.
        """
        return self._job.wait(timeout).returncode

    def _end(self) -> None:
        self.stdout.finish()
        self.stderr.finish()


def checked_signal(number: object) -> int:
    """
    Raises:
        InvalidInput: when there is no such signal.
    """
    if not isinstance(number, int) or number not in _SIGNALS:
        raise InvalidInput(f"there is no signal {number!r}")
    return int(number)


def checked_size(size: object) -> tuple[int, int]:
    """Columns and rows of a terminal.

    Raises:
        InvalidInput: when no terminal can have that size.
    """
    match size:
        case (int(columns), int(rows)) if 0 < columns <= _LARGEST and 0 < rows <= _LARGEST:
            return columns, rows
    raise InvalidInput(f"a terminal has columns and rows, such as (80, 24), not {size!r}")


class LineSplitter:
    """Whole lines of a stream that comes in pieces."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def push(self, piece: bytes) -> list[str]:
        """The lines that this completes; an empty piece ends the last one."""
        text = self._rest + self._decoder.decode(piece, not piece)
        *whole, self._rest = text.split("\n")
        if not piece and self._rest:
            whole, self._rest = [*whole, self._rest], ""
        return [line.removesuffix("\r") for line in whole]


def _lines(output: Output) -> Iterator[str]:
    splitter = LineSplitter()
    for piece in output:
        yield from splitter.push(piece)
    yield from splitter.push(b"")
