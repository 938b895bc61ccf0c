"""Carries what a person types to the guest's console, and watches for Ctrl-]."""

import contextlib
import os
import threading
from collections.abc import Callable

from innkeeper.vm.terminal import split_at_escape, write_all


class Relay:
    """Reads `source` in a thread of its own once started.

    `leave` is called when a person at a terminal presses Ctrl-] or the terminal goes away. When a
    script's input ends, the guest just hears no more: a serial line has no end.
    """

    def __init__(self, source: int, leave: Callable[[], None]) -> None:
        self._source = source
        self._leave = leave
        self._interactive = os.isatty(source)
        self.read_end, self._write_end = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Call once the machine has its own duplicate of `read_end`."""
        os.close(self.read_end)

    def _carry(self) -> None:
        with contextlib.suppress(OSError):
            self._carry_until_end()
        if self._interactive:
            self._leave()

    def _carry_until_end(self) -> None:
        while data := os.read(self._source, 1 << 12):
            escaped = False
            if self._interactive:
                data, escaped = split_at_escape(data)
            write_all(self._write_end, data)
            if escaped:
                return
