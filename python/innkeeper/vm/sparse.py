"""Copies of files that are to be had at once: shared with the file system's help where it can, else
read and written, but for the holes.
"""

import contextlib
import errno
import fcntl
import os
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


def copy(source: int, target: int) -> None:
    """Makes the empty file `target` what `source` is; both are descriptors.

    Raises:
        OSError: when one of them cannot be read or written.
    """
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, _CLONE, source)
        return
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                # A hole up to the end.
                return
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        _copy_range(source, target, at, end)
        at = end


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
