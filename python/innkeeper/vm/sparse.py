"""Copies of files that are to be had at once: shared with the file system's help where it can, else
read and written, but for the holes.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable
from typing import Final

# FICLONE of ioctl_ficlone(2).
_CLONE: Final = 0x4004_9409
_AT_ONCE: Final = 1 << 30
_NOT_HERE: Final = (
    errno.EXDEV,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EPERM,
    errno.ENOTTY,
)


def copy(source: int, target: int, parts: Iterable[tuple[int, int]] | None = None) -> None:
    """Makes the empty file `target` what `source` is; both are descriptors. Of a file that cannot
    be shared only `parts`, begins and ends, where they are told.

    Raises:
        OSError: when one of them cannot be read or written.
    """
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, _CLONE, source)
        return
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for at, end in ((0, size),) if parts is None else parts:
        _copy_data(source, target, at, min(end, size))


def _copy_data(source: int, target: int, at: int, end: int) -> None:
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                # A hole up to the end of the file.
                return
            raise
        stop = min(os.lseek(source, at, os.SEEK_HOLE), end)
        _copy_range(source, target, at, stop)
        at = max(at, stop)


def _copy_range(source: int, target: int, at: int, end: int) -> None:
    while at < end:
        count = min(end - at, _AT_ONCE)
        try:
            done = os.copy_file_range(source, target, count, at, at)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            data = os.pread(source, min(count, 1 << 20), at)
            done = os.pwrite(target, data, at)
        if done == 0:
            # The file has become shorter meanwhile.
            return
        at += done
