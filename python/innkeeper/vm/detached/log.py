"""What a guest's serial port said: in a file that does not grow for ever, and its last words."""

import contextlib
import os
from typing import Final

from innkeeper.vm.detached.home import LOG, OLD_LOG, Home

LONGEST: Final = 1 << 20  # bytes of a file, of which there are two
_TAIL: Final = 256 * 1024
_PANIC: Final = b"Kernel panic - not syncing"


class Log:
    """Continues the guest's log. A disk that is full costs lines of it, and nothing else."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._tail = bytearray()
        self._fd = self._open()
        self._length = 0 if self._fd is None else os.fstat(self._fd).st_size

    @property
    def panicked(self) -> bool:
        return _PANIC in self._tail

    @property
    def text(self) -> str:
        """The last 256 KiB of this run."""
        return self._tail.decode(errors="replace")

    def write(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-_TAIL]
        if self._length > LONGEST:
            self._turn()
        if self._fd is not None:
            with contextlib.suppress(OSError):
                self._length += os.write(self._fd, data)

    def restart(self) -> None:
        """Another run of the same machine begins."""
        self._tail.clear()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int | None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with contextlib.suppress(OSError):
            return os.open(LOG, flags, 0o600, dir_fd=self._home.directory)
        return None

    def _turn(self) -> None:
        here = self._home.directory
        with contextlib.suppress(OSError):
            os.replace(LOG, OLD_LOG, src_dir_fd=here, dst_dir_fd=here)
        self.close()
        self._fd = self._open()
        self._length = 0
