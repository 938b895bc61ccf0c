"""What an engine made of a guest's code, kept for those that go on where the guest was.

It is run as it is, so nobody must be able to change it or to bring his own: it is kept in a file
that the guest's process has not had open, and sealed with a key that only this user has. What has
no seal, or another, is nothing. Of what a process of the same template wrote no seal is needed: it
has a number that nobody else knows.

    HOME/code.key    the key, made when it is first needed; without it, guests translate anew
"""

import contextlib
import hmac
import os
from typing import Final

from innkeeper._core import is_code_of_kin, seal_of_code
from innkeeper.errors import HostFailure
from innkeeper.vm import inside
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.registry import home

# As the guest's process writes it, which may have it open for longer.
NEW: Final = f"new-{savings.CODE}"
_KEY: Final = "code.key"
_KEY_LENGTH: Final = 32
# Bytes of code that all processors of a guest may leave.
_LONGEST: Final = 1 << 30


def keep(own: int, name: str, into: int) -> None:
    """Makes it of the file `name` in the directory `own`, where that is gone then. Where it cannot
    be kept, there is none, which costs time.

    Raises:
        OSError: when it cannot be deleted where it was.
    """
    with contextlib.suppress(OSError):
        read = inside.open_file(own, name)
        try:
            length = os.fstat(read).st_size
            if length <= _LONGEST:
                _copy(read, into, length)
                _seal(into)
        finally:
            os.close(read)
    os.unlink(name, dir_fd=own)


def opened(directory: int) -> int | None:
    """A descriptor of it, where it is as it was left."""
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError, HostFailure):
        code = inside.open_file(directory, savings.CODE)
        stack.callback(os.close, code)
        if is_code_of_kin(code) or _is_sealed(directory, code):
            stack.pop_all()
            return code
    return None


def _copy(read: int, into: int, length: int) -> None:
    """
    Raises:
        OSError: then there is nothing of it.
    """
    written = inside.create(into, savings.CODE)
    try:
        at = 0
        while at < length and (copied := os.copy_file_range(read, written, length - at, at)):
            at += copied
    except OSError:
        os.unlink(savings.CODE, dir_fd=into)
        raise
    finally:
        os.close(written)


def _seal(directory: int) -> None:
    with contextlib.suppress(OSError):
        key = _key(make=True)
        code = inside.open_file(directory, savings.CODE)
        try:
            inside.write(directory, savings.SEAL, seal_of_code(code, key))
        finally:
            os.close(code)


def _is_sealed(directory: int, code: int) -> bool:
    """
    Raises:
        OSError.
    """
    seal = inside.read(directory, savings.SEAL, _KEY_LENGTH)
    return hmac.compare_digest(seal, seal_of_code(code, _key()))


def _key(*, make: bool = False) -> bytes:
    """
    Raises:
        OSError: there is none.
    """
    directory = os.open(home(), inside.DIRECTORY)
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read(directory)
        if make:
            fresh = f".{_KEY}-{os.urandom(8).hex()}"
            inside.write(directory, fresh, os.urandom(_KEY_LENGTH), lasting=True)
            try:
                # Whoever was faster has made the one for all.
                with contextlib.suppress(FileExistsError):
                    os.link(fresh, _KEY, src_dir_fd=directory, dst_dir_fd=directory)
            finally:
                os.unlink(fresh, dir_fd=directory)
        return _read(directory)
    finally:
        os.close(directory)


def _read(directory: int) -> bytes:
    key = inside.read(directory, _KEY, _KEY_LENGTH)
    if len(key) != _KEY_LENGTH:
        raise inside.NoFile(0, f"{_KEY} is no key")
    return key
