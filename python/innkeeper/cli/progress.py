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
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(f"building {name}", total=1.0, start=False)
    began: float | None = None

    def report(step: str, share: float) -> None:
        nonlocal began
        if began is None:
            began = time.monotonic()
            bar.start_task(task)
            if console.is_terminal:
                bar.start()
        bar.update(task, description=f"building {name}: {step}", completed=share)
        if not console.is_terminal:
            console.print(f"[{time.monotonic() - began:5.1f} s] {name}: {step}", markup=False)
        if share >= 1.0:
            bar.stop()

    with _signals_as_exceptions():
        try:
            yield report
        finally:
            bar.stop()


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
