"""The progress bar of an image that is being built; nothing at all when none is."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from innkeeper.images import Report


@contextlib.contextmanager
def build_progress(name: str) -> Iterator[Report]:
    """A `Report` that draws on standard error; on none of a terminal's, one line a step."""
    console = Console(stderr=True)
    with _signals_as_exceptions():
        if console.is_terminal:
            with _bar(name, console) as report:
                yield report
        else:
            yield _lines(name)


@contextlib.contextmanager
def _bar(name: str, console: Console) -> Iterator[Report]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(f"building {name}", total=1.0, start=False)

    def report(step: str, share: float) -> None:
        if not bar.tasks[0].started:
            bar.start_task(task)
            bar.start()
        bar.update(task, description=f"building {name}: {step}", completed=share)
        if share >= 1.0:
            bar.stop()

    try:
        yield report
    finally:
        # A bar that was never shown has nothing to take away, nor one whose terminal has gone.
        if bar.tasks[0].started:
            with contextlib.suppress(OSError):
                bar.stop()


def _lines(name: str) -> Report:
    began: list[float] = []

    def report(step: str, _share: float) -> None:
        now = time.monotonic()
        began.append(now)
        print(f"[{now - began[0]:5.1f} s] {name}: {step}", file=sys.stderr)

    return report


@contextlib.contextmanager
def _signals_as_exceptions() -> Iterator[None]:
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
