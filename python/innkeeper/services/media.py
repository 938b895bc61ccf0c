"""What lies in a guest's drives: a disc in the CD-ROM drive, a floppy disk. Changed while the guest
runs, and for all runs that follow.

A guest holds the disc that it has mounted. It is asked for it, as by the drive's own button, and
lets go of it in its own time, or not at all; by force it is pulled out.
"""

import contextlib
import os
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput, NotFound
from innkeeper.machine.firmware import CD, FLOPPY, drives, with_medium
from innkeeper.services import definition as definitions
from innkeeper.services.adjust import alone, write_at_rest, write_running
from innkeeper.services.definition import Definition
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client

# Seconds between two looks whether a guest has let go.
_LOOK: Final = 0.05
# Seconds that a guest gets by default.
GRACE: Final = 30.0
_KINDS: Final = {CD: "cd", FLOPPY: "floppy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """`file` is what lies in it. `open` says that its tray is out, `locked` that the guest holds
    what is in it: both only of a guest that runs.
    """

    id: str
    kind: str
    file: Path | None
    open: bool = False
    locked: bool = False


def listed(name: str) -> list[Drive]:
    """A guest's drives.

    Raises:
        GuestNotFound, HostFailure.
    """
    with registry().open(name) as home:
        firmware = definitions.read(home).request.firmware
        found = [
            Drive(id=drive, kind=_KINDS[drive], file=file)
            for drive, file in drives(firmware).items()
        ]
        told: dict[str, dict[str, Any]] = {}
        if home.is_taken():
            with contextlib.suppress(GuestNotRunning), Client(home) as client:
                told = _here(client)
    return [_now(one, told[one.id]) if one.id in told else one for one in found]


def _now(drive: Drive, told: dict[str, Any]) -> Drive:
    """As it is in a guest that runs, where others may have changed it by the control socket."""
    file = told.get("file")
    return replace(
        drive,
        file=Path(file) if isinstance(file, str) else None,
        open=told.get("open") is True,
        locked=told.get("locked") is True,
    )


def eject(name: str, drive: str = CD, *, force: bool = False, patience: float = GRACE) -> None:
    """Takes out what is in a drive. A guest that holds it is asked, and gets `patience` seconds.

    Raises:
        GuestNotFound, InvalidInput: when there is no such drive.
        HostFailure: when the guest has not let go of it.
        CommandRefused: when the guest's process does not do it.
    """
    with registry().open(name) as home, alone(home):
        new = _with(home, definitions.read(home), drive, None)
        if write_at_rest(home, new):
            return
        with contextlib.suppress(GuestNotRunning), Client(home) as client:
            _open(home, client, drive, force=force, patience=patience)
            client.execute("blockdev-remove-medium", id=drive)
        write_running(home, new)
        journal.tell(home, "eject", device=drive)


def insert(name: str, path: Path, drive: str = CD) -> None:
    """Puts an image into a drive that is empty.

    Raises:
        GuestNotFound, InvalidInput: when there is no such drive or file, or something is in it.
        HostFailure, CommandRefused: when it cannot be done.
    """
    there = next((one.file for one in listed(name) if one.id == drive), None)
    if there is not None:
        raise InvalidInput(
            f"{there} is in {drive}: inn media change {name} {drive} puts another in"
        )
    change(name, path, drive)


def change(
    name: str, path: Path, drive: str = CD, *, force: bool = False, patience: float = GRACE
) -> None:
    """Puts an image into a drive, in place of what is there. A guest that holds that is asked for
    it, and gets `patience` seconds.

    Raises:
        GuestNotFound, InvalidInput: when there is no such drive or file.
        HostFailure: when the guest has not let go of what is there.
        CommandRefused: when the guest's process does not do it.
    """
    path = path.absolute()
    fd = _opened(path, drive)
    try:
        with registry().open(name) as home, alone(home):
            new = _with(home, definitions.read(home), drive, path)
            if write_at_rest(home, new):
                return
            with contextlib.suppress(GuestNotRunning), Client(home) as client:
                _open(home, client, drive, force=force, patience=patience)
                passed = client.pass_file(fd)
                told = {"id": drive, "path": str(path), "fdset-id": passed}
                client.execute("x-insert-medium", descriptor=None, **told)
            write_running(home, new)
            journal.tell(home, "insert", device=drive)
    finally:
        os.close(fd)


def _with(home: Home, definition: Definition, drive: str, medium: Path | None) -> Definition:
    request = definition.request
    if request.firmware is None or drive not in drives(request.firmware):
        known = ", ".join(drives(request.firmware)) or "none: only guests with firmware have some"
        raise NotFound(f"the guest {home.name!r} has no drive {drive!r}; it has {known}")
    firmware = with_medium(request.firmware, drive, medium)
    return replace(definition, request=replace(request, firmware=firmware))


def _opened(path: Path, drive: str) -> int:
    """A disc is only read; a floppy disk is written to where it can be."""
    writes = drive == FLOPPY and os.access(path, os.W_OK)
    flags = (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(path, flags)
    except OSError as error:
        raise InvalidInput(f"cannot open {path}: {error.strerror}") from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
        os.close(fd)
        raise InvalidInput(f"{path} is no image: it is empty, or no file")
    return fd


def _open(home: Home, client: Client, drive: str, *, force: bool, patience: float) -> None:
    """Until the tray is out, or the drive is one without."""
    if drive != CD:
        return
    client.execute("blockdev-open-tray", id=drive, force=force)
    until = time.monotonic() + patience
    while (now := _here(client).get(drive, {})).get("open") is not True:
        # A guest may also close the tray again and again.
        if time.monotonic() > until:
            raise HostFailure(
                f"the guest {home.name!r} has not let go of the disc in {drive} after "
                f"{patience:g} s: unmount it there, or take it with --force"
            )
        if now.get("locked") is not True:
            # It has let go, and left the rest to us.
            client.execute("blockdev-open-tray", id=drive)
        time.sleep(_LOOK)


def _here(client: Client) -> dict[str, dict[str, Any]]:
    told = client.execute("x-query-media")
    found = told if isinstance(told, list) else []
    return {str(one["id"]): one for one in found if isinstance(one, dict)}
