"""A snapshot on disk: a directory with the files of a saved guest (innkeeper.vm.detached.savings)
and `snapshot.json`, which says what they are and what is in them.

It is made beside its place and appears whole. Files that others have as well (layers of memory and
of disks) are hard links, so each snapshot is complete by itself, and any can be removed. What is
small is checked each time; memory and disks, where they are no longer as they were put there, or
when somebody asks: so a snapshot begins at once, whatever its size. docs/reference/snapshots.md
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.services.definition import Definition
from innkeeper.vm import inside
from innkeeper.vm.detached import savings
from innkeeper.vm.order import Order

MANIFEST: Final = "snapshot.json"
VERSION: Final = 2
_READ: Final = (1, VERSION)
_LONGEST: Final = 16 << 20
# Read each time that a snapshot is used.
_SMALL: Final = (savings.STATE, savings.ABOUT)


class SnapshotDamaged(InnkeeperError):
    """A snapshot that is not what it was when it was made."""

    code = "snapshot_damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFile:
    """`size` and `mtime` (in nanoseconds) are what it had when its SHA-256 was `sum`."""

    name: str
    size: int
    mtime: int
    sum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`parent` and `parent_id` are the name and the id of the one that it builds upon, or empty;
    one of version 1 has the name alone. Without `running`, it has the disks of a guest that did not
    run. `pause` is for how many seconds the guest stood still.
    """

    id: str
    name: str
    parent: str
    created: float
    running: bool
    pause: float
    definition: Definition
    order: Order
    files: tuple[SavedFile, ...] = field(default=())
    parent_id: str = ""

    def builds_upon(self, other: "Snapshot") -> bool:
        """Others may have been called as its parent was; if they are older, nobody can tell."""
        if self.parent_id:
            return self.parent_id == other.id
        return self.parent == other.name and other.created < self.created


def seal(directory: int, snapshot: Snapshot, known: Mapping[str, SavedFile]) -> Snapshot:
    """Writes down what is in `directory`, on the disk when this returns. `known` are files that
    others have as well.

    Raises:
        OSError.
    """
    files = []
    for name in sorted(savings.names(directory)):
        fd = inside.open_file(directory, name)
        try:
            os.fsync(fd)
            status = os.fstat(fd)
            old = known.get(name)
            same = old is not None and (old.size, old.mtime) == (status.st_size, status.st_mtime_ns)
            total = old.sum if same and old is not None else _sum(fd)
            files.append(
                SavedFile(name=name, size=status.st_size, mtime=status.st_mtime_ns, sum=total)
            )
        finally:
            os.close(fd)
    sealed = replace(snapshot, files=tuple(files))
    document = stored.encode(sealed)
    text = json.dumps({"version": VERSION, "sum": _sum_of(document), "snapshot": document})
    inside.write(directory, MANIFEST, text.encode() + b"\n", lasting=True)
    os.fsync(directory)
    return sealed


def read(directory: int, name: str) -> Snapshot:
    """
    Raises:
        FileNotFoundError: when there is none.
        SnapshotDamaged: when it was altered.
        HostFailure: when it is of a newer version, or cannot be read.
    """
    what = f"the snapshot {name!r}"
    try:
        text = inside.read(directory, MANIFEST, _LONGEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HostFailure(f"cannot read {what}: {error.strerror}") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SnapshotDamaged(f"{what} is damaged: its {MANIFEST} is no JSON")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise HostFailure(f"{what} is of a newer version of Innkeeper")
    if version not in _READ or document.get("sum") != _sum_of(document.get("snapshot")):
        raise SnapshotDamaged(f"{what} is damaged: its {MANIFEST} was altered")
    try:
        return stored.decode(Snapshot, document["snapshot"])
    except stored.Unreadable as error:
        raise SnapshotDamaged(f"{what} is damaged: {error}") from error


def storage(directory: int, counted: set[int]) -> int:
    """Bytes that the files in `directory` take on the disk, holes being nothing. Those whose inodes
    are `counted` are not, and the others are from then on.

    Raises:
        OSError.
    """
    total = 0
    for name in os.listdir(directory):
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if found.st_ino not in counted:
            counted.add(found.st_ino)
            total += found.st_blocks * 512
    return total


def verify(directory: int, snapshot: Snapshot, *, everything: bool = False) -> None:
    """Are the files what they were? Of large ones that look untouched, that is believed, but for
    `everything`.

    Raises:
        SnapshotDamaged: naming the first that is not.
    """
    for saved in snapshot.files:
        what = f"the snapshot {snapshot.name!r} is damaged: its file {saved.name}"
        try:
            fd = inside.open_file(directory, saved.name)
        except OSError as error:
            raise SnapshotDamaged(f"{what} cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(fd)
            if status.st_size != saved.size:
                raise SnapshotDamaged(f"{what} has {status.st_size} bytes instead of {saved.size}")
            believed = status.st_mtime_ns == saved.mtime and saved.name not in _SMALL
            if (everything or not believed) and _sum(fd) != saved.sum:
                raise SnapshotDamaged(f"{what} was altered")
        except OSError as error:
            raise SnapshotDamaged(f"{what} cannot be read: {error.strerror}") from error
        finally:
            os.close(fd)


def _sum(fd: int) -> str:
    """The content's, from its first byte on, as if holes were zeros."""
    total = hashlib.sha256()
    at = 0
    while data := os.pread(fd, 1 << 20, at):
        total.update(data)
        at += len(data)
    return total.hexdigest()


def _sum_of(document: object) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
