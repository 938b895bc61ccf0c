"""Where the process of a guest that somebody waits for writes what is gone with it, and others what
they have not finished.

Its owner removes it. What an owner that was killed has left, the next one removes: a directory
whose lock nobody holds is nobody's.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure

_PREFIX: Final = "innkeeper-scratch-"
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def place(below: Path | None = None) -> Iterator[Path]:
    """A directory of its own; `below` one that is made when it is missing, or where temporary files
    are.

    Raises:
        HostFailure: when it cannot be made.
    """
    # On a disk rather than in memory, which /tmp often is: disks' temporary layers go there.
    usual = "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()
    where = (below or Path(os.environ.get("TMPDIR") or usual)).absolute()
    try:
        if below is not None:
            where.mkdir(0o700, parents=True, exist_ok=True)
        _sweep(where)
        made, lock = _made(where)
    except OSError as error:
        said = f"cannot make a directory in {where}: {error.strerror}"
        raise HostFailure(said) from error
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def _made(where: Path) -> tuple[Path, int]:
    """And its lock. Somebody who sweeps may have come between the two."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(made, _FLAGS)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if made.exists():
                return made, lock
            os.close(lock)


def _sweep(where: Path) -> None:
    for left in where.glob(f"{_PREFIX}*"):
        # It may be going just now, be somebody else's, or no directory.
        with contextlib.suppress(OSError):
            lock = os.open(left, _FLAGS)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)
