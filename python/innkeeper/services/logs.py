"""What guests said, and what happened to them."""

import json
import os
from collections.abc import Iterator
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.follow import follow, lines_at_end
from innkeeper.vm.detached.registry import registry

_LONGEST: Final = 4 << 20


def log(name: str, *, lines: int | None, stay: bool) -> Iterator[bytes]:
    """The guest's serial console, and the output of the command that it was started for: the last
    `lines` of it, and with `stay` what follows, until the guest has ended.

    Raises:
        InvalidInput, GuestNotFound.
    """
    with registry().open(name) as home:
        old, _ = _read(home.directory, files.OLD_LOG)
        new, end = _read(home.directory, files.LOG)
        yield old + new if lines is None else lines_at_end(old + new, lines)
        if stay:
            yield from follow(home.directory, files.LOG, end, lambda: not home.is_taken())


def events(*, past: bool = False, stay: bool = True) -> Iterator[dict[str, object]]:
    """What happened to this user's guests, as documents: before, and with `stay` from now on.

    Raises:
        HostFailure: when nothing can be written down there.
    """
    place = f"{registry().directory}/{journal.DIRECTORY}"
    try:
        os.makedirs(place, 0o700, exist_ok=True)  # noqa: PTH103 - pathlib is not loaded here
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise HostFailure(f"cannot use {place}: {error.strerror}") from error
    try:
        new, end = _read(directory, journal.NAME)
        if past:
            old, _ = _read(directory, journal.OLD)
            yield from _documents(old + new)
        if stay:
            rest = b""
            for data in follow(directory, journal.NAME, end, lambda: False):
                whole, _, rest = (rest + data).rpartition(b"\n")
                yield from _documents(whole)
    finally:
        os.close(directory)


def _read(directory: int, name: str) -> tuple[bytes, int]:
    """The end of a file, and where that is. Those who write it keep it short, if nobody has taken
    them over."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        return b"", 0
    with open(fd, "rb") as file:  # noqa: PTH123 - it is a descriptor
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _LONGEST))
        data = file.read(_LONGEST)
        return data, file.tell()


def _documents(text: bytes) -> Iterator[dict[str, object]]:
    for line in text.splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue  # The host went down while it was written.
        if isinstance(document, dict):
            yield document
