"""Files inside of a directory that is open: found whatever it is called meanwhile, and never
through a link that somebody has put there.
"""

import ctypes
import os
import stat
from typing import Final

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_EXCHANGE: Final = 2


class NoFile(OSError):
    """There is something else of that name."""


def open_directory(directory: int, name: str) -> int:
    """A descriptor of the directory `name`.

    Raises:
        OSError.
    """
    return os.open(name, DIRECTORY, dir_fd=directory)


def open_file(directory: int, name: str) -> int:
    """A descriptor to read `name` by.

    Raises:
        OSError; NoFile: when it is something else.
    """
    fd = os.open(name, _READ, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NoFile(0, f"{name} is no file")
    return fd


def read(directory: int, name: str, most: int) -> bytes:
    """The content, which has at most so many bytes.

    Raises:
        OSError; NoFile: when it is something else, or has more.
    """
    with open(open_file(directory, name), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise NoFile(0, f"{name} is too long")
    return data


def create(directory: int, name: str) -> int:
    """A descriptor of a new file, to read and to write.

    Raises:
        OSError: also when there is one of that name.
    """
    return os.open(name, _NEW, 0o600, dir_fd=directory)


def write(directory: int, name: str, data: bytes, *, lasting: bool = False) -> None:
    """A new file. One that is `lasting` is on the disk when this returns.

    Raises:
        OSError: also when there is one of that name.
    """
    with open(create(directory, name), "wb") as file:
        file.write(data)
        if lasting:
            file.flush()
            os.fsync(file.fileno())


def link(source: int, name: str, target: int) -> None:
    """Gives the file `name` of the directory `source` the same name in `target` as well.

    Raises:
        OSError.
    """
    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)


def exchange(directory: int, one: str, other: str) -> None:
    """Each gets the other's name, at once. Spec: rename(2), "RENAME_EXCHANGE".

    Raises:
        OSError: when one is not there, or the file system cannot do that.
    """
    call = ctypes.CDLL(None, use_errno=True).renameat2
    if call(directory, os.fsencode(one), directory, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def rename(source: int, name: str, target: int, new: str) -> None:
    """
    Raises:
        OSError.
    """
    os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
