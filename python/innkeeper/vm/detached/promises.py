"""What guests were promised of the host's memory, for whoever promises more: also for other users.

A guest's supervisor keeps a file with the number where everybody may have files and nobody may
remove another's, and holds its lock. So a promise ends with its supervisor, and the name and the
owner say whose it is. It is somebody's word: who lies makes others promise less than they could.

Loads next to nothing: a guest's supervisor does this.
"""

import contextlib
import errno
import fcntl
import os
import stat

DIRECTORY = "/dev/shm"
_PREFIX = "innkeeper-promise-"
_LONGEST = 32
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Promise:
    """One that its maker holds."""

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        self._fd = fd

    def end(self) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        os.close(self._fd)


def make(identity: str, memory: int, directory: str = DIRECTORY) -> Promise | None:
    """None where there is nothing to tell, or no place to tell it."""
    if not memory:
        return None
    path = _path(identity, directory)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(fd, 0o644)
        _write(fd, memory)
    except OSError:
        os.close(fd)
        return None
    return Promise(path, fd)


def change(identity: str, memory: int, directory: str = DIRECTORY) -> None:
    """Of a guest that runs. One that was promised nothing when it started tells nobody."""
    flags = os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(OSError):
        fd = os.open(_path(identity, directory), flags)
        try:
            _write(fd, memory)
        finally:
            os.close(fd)


def of_others(own: "set[str]", most: int, directory: str = DIRECTORY) -> int:
    """The sum of all that hold, but for guests of these identities; none is of more than `most`.
    What somebody has left of mine goes.
    """
    total = 0
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            user, _, identity = name.removeprefix(_PREFIX).partition("-")
            if name.startswith(_PREFIX) and user.isdecimal() and identity not in own:
                with contextlib.suppress(OSError, ValueError):
                    total += _read(os.path.join(directory, name), int(user), most)
    return total


def _read(path: str, user: int, most: int) -> int:
    """
    Raises:
        OSError, ValueError: when it is no promise.
    """
    fd = os.open(path, _READ)
    try:
        found = os.fstat(fd)
        if found.st_uid != user or not stat.S_ISREG(found.st_mode):
            raise ValueError(path)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                raise
        else:
            if user == os.geteuid():
                os.unlink(path)
            return 0
        memory = int(os.pread(fd, _LONGEST, 0))
        return memory if 0 <= memory <= most else 0
    finally:
        os.close(fd)


def _write(fd: int, memory: int) -> None:
    # Always as long, so that nobody reads a part of two.
    os.pwrite(fd, b"%020d\n" % memory, 0)


def _path(identity: str, directory: str) -> str:
    return os.path.join(directory, f"{_PREFIX}{os.geteuid()}-{identity}")
