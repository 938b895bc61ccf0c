"""What a guest's disks are told of its backups, and what they tell of their changes since.

An image's books (innkeeper.vm.checkpoint) go by names. That of a backup is in it, and which of the
guest's files is meant: so what an image tells is about that very file in that very backup. Whoever
has another disk, another guest or another repository knows no such name, and all is read.
"""

import contextlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.machine import DiskSpec
from innkeeper.services import definition as definitions
from innkeeper.services.backups import content
from innkeeper.services.backups.content import Unchanged
from innkeeper.services.backups.manifest import Backup, StoredFile
from innkeeper.services.backups.packs import CHUNK
from innkeeper.services.backups.repository import Repository
from innkeeper.vm import inside
from innkeeper.vm.checkpoint import LONGEST, RANGE, Checkpoint, parse, whole
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.home import Home

# Older ones than these no image has kept: see MAX_OWN in crates/block/src/qcow2/bitmaps.rs.
_LATEST: Final = 8


class Marks:
    """Those of one backup, which is going to be called `id`."""

    def __init__(self, found: Repository, home: Home, earlier: Sequence[Backup]) -> None:
        self.id = uuid.uuid4().hex
        self._repository = found
        guest = definitions.read(home).id
        self._own = [backup for backup in earlier if backup.definition.id == guest]
        self._below = _below(home)
        # What may be the same as in the last backup, by the disk's number.
        self._stored: dict[int, StoredFile] = {}

    def checkpoints(self, disks: Sequence[DiskSpec]) -> list[Checkpoint]:
        found = []
        for number, disk in enumerate(disks):
            if disk.read_only or disk.gone or disk.nbd is not None:
                continue
            name = self._file(number)
            last = self._own[-1:]
            stored = next(
                (each for backup in last for each in backup.files if each.name == name), None
            )
            if stored is not None and content.is_whole(self._repository, stored):
                self._stored[number] = stored
            since = last[0].id if number in self._stored else None
            gone = self._own[-_LATEST:-1]
            found.append(
                Checkpoint(
                    disk=number,
                    name=_mark(self.id, name),
                    since=None if since is None else _mark(since, name),
                    forget=tuple(_mark(backup.id, name) for backup in gone),
                    unit=CHUNK,
                )
            )
        return found

    def unchanged(self, source: int) -> dict[str, Unchanged]:
        """By the names of files in `source`, where the guest's disks were copied to.

        Raises:
            HostFailure: when that makes no sense.
        """
        found = {}
        for number, stored in self._stored.items():
            # Every second piece at most, of what the file was.
            longest = min(LONGEST, RANGE * (stored.size // CHUNK + 2))
            try:
                told = whole(parse(inside.read(source, savings.same(number), longest)), CHUNK)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                raise HostFailure(f"the guest's process answers nonsense: {error}") from error
            found[stored.name] = Unchanged(stored, told)
        return found

    def _file(self, number: int) -> str:
        return savings.disk(number, self._below.get(number, 0), "qcow2")


def _mark(backup: str, file: str) -> str:
    return f"innkeeper-{backup}-{Path(file).stem}"


def _below(home: Home) -> dict[int, int]:
    """How many layers lie below what a guest writes to each disk."""
    with contextlib.suppress(FileNotFoundError):
        saved = inside.open_directory(home.directory, files.SAVED)
        try:
            return {
                number: len(layers) for number, layers in savings.disks(os.listdir(saved)).items()
            }
        finally:
            os.close(saved)
    return {}
