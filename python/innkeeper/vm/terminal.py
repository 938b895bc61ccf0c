"""The terminal that `inn` was started from, when it is the guest's console."""

import contextlib
import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

ESCAPE: Final = 0x1D  # Ctrl-]


@contextlib.contextmanager
def raw_mode(fd: int) -> Iterator[None]:
    """Every key goes to the guest, and nothing is printed twice. Restored in any case."""
    saved = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSANOW)
        yield
    finally:
        # A terminal that has been closed has nothing left to restore.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def is_interactive() -> bool:
    """Whether a person sits at standard input and output."""
    return os.isatty(0) and os.isatty(1)


def may_read(fd: int) -> bool:
    """A background job that reads its terminal is stopped by the kernel; it had better not."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        # No terminal, or not the one that controls us: nobody stops us.
        return True


def size() -> tuple[int, int]:
    """(columns, rows), or (0, 0) where standard output is no terminal."""
    try:
        found = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return found.columns, found.lines


@contextlib.contextmanager
def on_resize(changed: Callable[[int, int], None]) -> Iterator[None]:
    """Calls `changed` with (columns, rows) whenever the window gets another size."""

    def handler(_signal: int, _frame: FrameType | None) -> None:
        changed(*size())

    previous = signal.signal(signal.SIGWINCH, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, previous)


def split_at_escape(data: bytes) -> tuple[bytes, bool]:
    """What goes to the guest, and whether the person wants to leave."""
    before, found, _ = data.partition(bytes([ESCAPE]))
    return before, bool(found)


def write_all(fd: int, data: bytes) -> None:
    """
    Raises:
        OSError: for example BrokenPipeError when nobody reads any more.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
