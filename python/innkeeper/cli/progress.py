"""How far something long has come; nothing at all when nothing is."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

from innkeeper.images import Report

if TYPE_CHECKING:
    from rich.progress import Progress

# Seconds within which nobody looks at a bar.
_SOON: Final = 0.5


@contextlib.contextmanager
def build_progress(name: str) -> Iterator[Report]:
    """A `Report` that draws on standard error; on none of a terminal's, one line a step."""
    with signals_as_exceptions():
        if sys.stderr.isatty():
            with _bar(name) as report:
                yield report
        else:
            yield _lines(name)


@contextlib.contextmanager
def byte_progress(label: str) -> Iterator[Callable[[int, int], object]]:
    """What is told of bytes done and all bytes, and draws a bar of it on a terminal; what is done
    soon has none.
    """
    began = time.monotonic()
    with signals_as_exceptions(), contextlib.ExitStack() as stack:
        bars: list[Progress] = []

        def report(done: int, size: int) -> None:
            if not sys.stderr.isatty() or time.monotonic() - began < _SOON:
                return
            if not bars:
                bars.append(_start_bytes(label, size))
                stack.callback(bars[0].stop)
            bars[0].update(bars[0].task_ids[0], completed=done)

        yield report


def _start_bytes(label: str, size: int) -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(label, total=size)
    bar.start()
    return bar


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Report]:
    """What draws it is loaded when there is something to draw: nearly always there is nothing."""
    bars: list[Progress] = []

    def report(step: str, share: float) -> None:
        if not bars:
            bars.append(_start_bar(name))
        bar = bars[0]
        bar.update(bar.task_ids[0], description=f"building {name}: {step}", completed=share)
        if share >= 1.0:
            bar.stop()

    try:
        yield report
    finally:
        # The terminal may have gone.
        with contextlib.suppress(OSError):
            for bar in bars:
                bar.stop()


@contextlib.contextmanager
def written(what: str) -> Iterator[Callable[[int], None]]:
    """Takes how many bytes are written so far, and says so on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def show(count: int) -> None:
        print(f"\r{what}: {count >> 20} MiB\033[K", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _start_bar(name: str) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(f"building {name}", total=1.0)
    bar.start()
    return bar


def _lines(name: str) -> Report:
    began: list[float] = []

    def report(step: str, _share: float) -> None:
        now = time.monotonic()
        began.append(now)
        print(f"[{now - began[0]:5.1f} s] {name}: {step}", file=sys.stderr)

    return report


@contextlib.contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind like Ctrl-C, so that an unfinished image is swept away."""

    def unwind(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = {
        number: signal.signal(number, unwind)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
