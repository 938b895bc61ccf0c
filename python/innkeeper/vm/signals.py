"""Signals that end `inn`: each ends the guest first, so that nothing is left behind."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Caught:
    """The first ending signal that came."""

    def __init__(self) -> None:
        self.number: int | None = None


@contextlib.contextmanager
def ending_signals(end: Callable[[], None]) -> Iterator[Caught]:
    """Calls `end` at the first of the ENDING signals; the second ends the process at once."""
    caught = Caught()

    def handler(number: int, _frame: FrameType | None) -> None:
        if caught.number is not None:
            os._exit(128 + number)
        caught.number = number
        end()

    previous = {}
    for number in ENDING:
        # nohup and background shells have some of them ignored, and mean it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            previous[number] = signal.signal(number, handler)
    try:
        yield caught
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
