"""Media that are changed while a guest runs, in the guest's process: discs and floppy disks.

As for disks (innkeeper.vm.plugs), files come open, from whoever may open them.
"""

import fcntl
import os
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from innkeeper.errors import InvalidInput
from innkeeper.machine.firmware import CD, drives, with_medium
from innkeeper.machine.spec import DiskFormat, DiskSpec, MachineSpec
from innkeeper.vm.disk_images import OpenDisk, open_disk
from innkeeper.vm.running import Control


class Subject(Protocol):
    """A guest, as what lies in its drives needs it."""

    spec: MachineSpec

    def control(self) -> Control: ...
    def tell_trays(self) -> None: ...


class Media:
    """What lies in the drives of one guest, for all its machines."""

    def __init__(self, guest: Subject) -> None:
        self._guest = guest
        self._given: dict[str, OpenDisk] = {}
        # As the machine opens what it begins with: in its jail, nobody can ask any more.
        self._read_only = {
            drive: drive == CD or not os.access(file, os.W_OK)
            for drive, file in drives(guest.spec.firmware).items()
            if file is not None
        }

    @property
    def given(self) -> tuple[tuple[str, OpenDisk], ...]:
        """For the wiring of a machine that is made anew."""
        return tuple(self._given.items())

    def here(self) -> list[dict[str, object]]:
        """The drives, what is in each, and how it stands."""
        files = drives(self._guest.spec.firmware)
        return [
            {
                "id": drive,
                "file": None if not medium or files.get(drive) is None else str(files[drive]),
                "read_only": self._read_only.get(drive, True),
                "open": tray_open,
                "locked": locked,
            }
            for drive, medium, tray_open, locked in self._guest.control().media()
        ]

    def open_tray(self, drive: str, *, force: bool) -> bool:
        """Whether it is open. Where the guest holds the medium, it has only been asked.

        Raises:
            InvalidInput: when there is no such drive.
        """
        opened = self._guest.control().open_tray(drive, force)
        self._guest.tell_trays()
        return opened

    def close_tray(self, drive: str) -> None:
        """
        Raises:
            InvalidInput: as `open_tray`.
        """
        self._guest.control().close_tray(drive)
        self._guest.tell_trays()

    def insert(self, drive: str, path: Path, fd: int, *, read_only: bool) -> None:
        """Puts the image `path` in, which is open as `fd`; that stays the caller's.

        Raises:
            InvalidInput: when there is no such drive, or it is no medium for it.
            HostFailure: when it cannot be used.
        """
        read_only = read_only or drive == CD or not _can_write(fd)
        disk = DiskSpec(path=path, format=DiskFormat.RAW, read_only=read_only)
        opened = open_disk(disk, [(path, fd)])
        self._guest.control().change_medium(drive, opened)
        self._given[drive] = opened
        self._read_only[drive] = read_only
        self._remember(drive, path)

    def remove(self, drive: str) -> None:
        """Takes out what is in it.

        Raises:
            InvalidInput: as `open_tray`.
        """
        self._guest.control().change_medium(drive, None)
        self._given.pop(drive, None)
        self._remember(drive, None)

    def _remember(self, drive: str, path: Path | None) -> None:
        spec = self._guest.spec
        if spec.firmware is None:
            raise InvalidInput(f"the guest has no drive {drive}")
        firmware = with_medium(spec.firmware, drive, path)
        self._guest.spec = replace(spec, firmware=firmware)


def _can_write(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
