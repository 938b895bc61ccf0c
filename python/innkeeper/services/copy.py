"""Files to and from guests that run."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from innkeeper.errors import InvalidInput
from innkeeper.guest import attached, files
from innkeeper.guest.attached_guest import AttachedGuest
from innkeeper.vm import terminal
from innkeeper.vm.detached.registry import registry

STREAM = "-"
"""In place of a path of the host: a tar archive on a standard stream."""

Report = Callable[[int, int], None]
"""Takes how many bytes have gone, and how many there are as far as is known."""


def copy(source: str, target: str, report: Report) -> list[str]:
    """Copies between the host and a guest, one of which is written GUEST:PATH; the names of what
    was left out.

    Raises:
        InvalidInput, GuestNotFound, CopyFailed, BadArchive.
        GuestNotRunning: also when it is paused.
    """
    giver, taker = _guest_of(source), _guest_of(target)
    if (giver is None) == (taker is None):
        raise InvalidInput("one of the two is a guest's: write it like web:/etc/hosts")
    if taker is not None:
        name, path = taker
        with _going(name) as guest:
            if source == STREAM:
                files.send_archive(guest, _standard_input(), path)
            else:
                total = files.size_of(Path(source))
                return files.send(guest, source, path, lambda done: report(done, total))
        return []
    assert giver is not None
    name, path = giver
    with _going(name) as guest:
        if target == STREAM:
            for piece in files.receive_archive(guest, path):
                terminal.write_all(1, piece)
            return []
        _, total = files.look(guest, path)
        return files.receive(guest, path, target, lambda done: report(done, total))


@contextlib.contextmanager
def _going(name: str) -> Iterator[AttachedGuest]:
    with registry().open(name) as home:
        attached.require_going(home)
    with AttachedGuest(name) as guest:
        yield guest


def _guest_of(text: str) -> tuple[str, str] | None:
    """Name and path. A path of the host with a colon in it has a slash before that."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name or not name:
        return None
    if not path:
        raise InvalidInput(f"{text!r} has no path behind the guest's name")
    # As in the directory that commands begin in.
    return name, path if path.startswith("/") else f"/root/{path}"


def _standard_input() -> Iterator[bytes]:
    if sys.stdin.isatty():
        raise InvalidInput("a tar archive does not come from a terminal")
    while piece := os.read(0, 1 << 16):
        yield piece
