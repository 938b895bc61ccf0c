"""Reads a file that grows and is replaced by a new one now and then: a guest's log, the journal."""

import os
import time
from collections.abc import Callable, Iterator

_PAUSE = 0.1
_CHUNK = 1 << 16


def lines_at_end(data: bytes, count: int) -> bytes:
    """The last `count` lines of `data`."""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[-count:]) if count else b""


def follow(directory: int, name: str, position: int, over: Callable[[], bool]) -> Iterator[bytes]:
    """What is written to the file `name` behind `position`, until `over` and all is read."""
    fd = _open(directory, name)
    try:
        if fd is not None:
            os.lseek(fd, position, os.SEEK_SET)
        while True:
            # Asked before the file is read: what was written before the end is not missed.
            last = over()
            while fd is not None and (data := os.read(fd, _CHUNK)):
                yield data
            if (fresh := _open(directory, name)) is not None:
                if fd is not None and os.path.samestat(os.fstat(fd), os.fstat(fresh)):
                    os.close(fresh)
                else:
                    _close(fd)
                    fd = fresh
                    continue
            if last:
                return
            time.sleep(_PAUSE)
    finally:
        _close(fd)


def _open(directory: int, name: str) -> int | None:
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return None


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)
