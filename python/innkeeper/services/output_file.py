"""A file of the host's that somebody has named, to be written as a whole or not at all.

What is a regular file, or is not there yet, is replaced by a new one; behind a link, what that
points to. Whatever else there is, such as a device or a pipe, stays there and is written to.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput

_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write(path: Path, content: bytes) -> None:
    """
    Raises:
        HostFailure: when it cannot be written.
    """
    try:
        target = _replaceable(path)
        if target is None:
            path.write_bytes(content)
        else:
            _replace(target, content)
    except OSError as error:
        raise HostFailure(f"cannot write {path}: {error.strerror}") from error


def place_of(path: Path) -> Path:
    """What a new file may be renamed to.

    Raises:
        InvalidInput: when `path` is something else than a file.
        HostFailure: when it cannot be looked at.
    """
    try:
        target = _replaceable(path)
    except OSError as error:
        raise HostFailure(f"cannot write {path}: {error.strerror}") from error
    if target is None:
        raise InvalidInput(f"{path} is there already, and no file that could be replaced")
    return target


def _replaceable(path: Path) -> Path | None:
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        found = path.stat()
    except FileNotFoundError:
        return target
    # What a descriptor below /proc points to need not have a name any more.
    if stat.S_ISREG(found.st_mode) and target.exists() and target.samefile(path):
        return target
    return None


def _replace(target: Path, content: bytes) -> None:
    fresh = target.with_name(f".{secrets.token_hex(8)}.new")
    fd = os.open(fresh, _FRESH, 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(fd, stat.S_IMODE(target.stat().st_mode))
        fresh.replace(target)
    except BaseException:
        fresh.unlink()
        raise
