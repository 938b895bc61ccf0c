"""Keeps the last words of a guest's serial console, for when it ends without others.

What the guest prints goes to `echo` at once, and is read on even when nobody wants the echo any
more: a guest does not stand still because a pager was closed.
"""

import os
import threading
from collections.abc import Callable
from typing import Final

from innkeeper.vm.last_words import LINES, PANIC, last_words

LIMIT: Final = 256 * 1024  # bytes kept


class BootLog:
    """Reads a pipe until all writers are gone. Connect `write_end` to COM1, then `close_writer`.
    `before` is what the guest had printed when it was another.
    """

    def __init__(self, echo: Callable[[bytes], None] | None = None, before: str = "") -> None:
        self._read_end, self.write_end = os.pipe()
        self._echo = echo
        self._lock = threading.Lock()
        self._bytes = bytearray(before.encode())
        self._reader = threading.Thread(target=self._read, name="boot log", daemon=True)
        self._reader.start()

    def close_writer(self) -> None:
        os.close(self.write_end)

    @property
    def text(self) -> str:
        with self._lock:
            return self._bytes.decode(errors="replace")

    @property
    def panicked(self) -> bool:
        with self._lock:
            return PANIC.encode() in self._bytes

    def last_words(self, lines: int = LINES) -> tuple[str, ...]:
        return last_words(self.text, lines)

    def _echo_on(self, data: bytes) -> None:
        if self._echo is None:
            return
        try:
            self._echo(data)
        except OSError:
            self._echo = None

    def finish(self) -> None:
        """Waits until all is read and echoed, once the guest has ended.

        But not long: whoever reads the echo may have stopped.
        """
        self._reader.join(timeout=2)

    def _read(self) -> None:
        try:
            while data := os.read(self._read_end, 1 << 16):
                self._echo_on(data)
                with self._lock:
                    self._bytes += data
                    del self._bytes[:-LIMIT]
        finally:
            os.close(self._read_end)
