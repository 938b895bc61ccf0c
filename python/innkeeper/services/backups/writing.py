"""Files that appear in a repository whole, and on the disk, or not at all.

All that is ever written to a repository is written here. A file is made beside its place under a
name that says so, and given its own when its content and its directory are safe; a process that is
killed leaves at most such an unfinished one, which the next that has the repository alone sweeps.
"""

import contextlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Final, Self

UNFINISHED: Final = ".new-"
ASIDE: Final = "damaged-"
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class NewFile:
    """A file that is there once `finish` has returned.

    Raises OSError, from all that it does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._unfinished = path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
        self._fd = os.open(self._unfinished, _FLAGS, 0o600)
        self._finished = False

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self.size += len(data)

    def finish(self) -> None:
        os.fsync(self._fd)
        os.rename(self._unfinished, self.path)
        self._finished = True
        sync(self.path.parent)

    def close(self) -> None:
        """Without `finish` before, nothing is left of it."""
        os.close(self._fd)
        if not self._finished:
            with contextlib.suppress(OSError):
                os.unlink(self._unfinished)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def write_file(path: Path, data: bytes) -> None:
    """
    Raises:
        OSError.
    """
    with NewFile(path) as file:
        file.write(data)
        file.finish()


def remove(path: Path) -> None:
    """
    Raises:
        OSError: unless it is gone already.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def set_aside(path: Path) -> Path:
    """Where it is then, under a name that nobody reads.

    Raises:
        OSError.
    """
    aside = path.with_name(f"{ASIDE}{path.name}")
    os.rename(path, aside)
    sync(path.parent)
    return aside


def make_directory(path: Path) -> None:
    """
    Raises:
        OSError: unless it is there already.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    sync(path.parent)


def sync(directory: Path) -> None:
    """Names in it are on the disk when this returns.

    Raises:
        OSError.
    """
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sweep(directory: Path) -> None:
    """Removes what killed processes have left unfinished. Nobody else may be writing.

    Raises:
        OSError.
    """
    for name in os.listdir(directory):
        if name.startswith(UNFINISHED):
            remove(directory / name)
