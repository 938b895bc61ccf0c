"""Makes a backup of a guest: its disks as of one moment, what it is, and the image it was made of.

Of a guest that runs, the file systems are frozen through its agent for as long as its process takes
copies of the disks, some milliseconds where the host's file system can share blocks. It goes on
before the first byte is encrypted. With its memory it need not be frozen: that knows what the disks
do not have yet.
"""

import contextlib
import functools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from innkeeper.errors import HostFailure, InnkeeperError, InvalidInput
from innkeeper.images import Store
from innkeeper.images import manifest as image_manifest
from innkeeper.services import beginnings, freeze, recording
from innkeeper.services import definition as definitions
from innkeeper.services.backups import content, repository
from innkeeper.services.backups.content import Progress, Unchanged
from innkeeper.services.backups.manifest import BESIDE, Backup, Consistency, StoredFile
from innkeeper.services.backups.marks import Marks
from innkeeper.services.backups.repository import Repository
from innkeeper.services.definition import Definition
from innkeeper.services.lifecycle import locked
from innkeeper.services.snapshots import changing, fresh
from innkeeper.vm import inside
from innkeeper.vm import order as orders
from innkeeper.vm.checkpoint import Checkpoint
from innkeeper.vm.detached import journal, savings, standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.order import Order


def create(
    path: Path,
    passphrase: str,
    guest: str,
    *,
    memory: bool = False,
    progress: Progress = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> Backup:
    """Adds a backup of the guest to the repository; with its `memory`, if it runs. `progress` is
    told of each bytes that were read, `waiting` when others have to end first.

    Raises:
        GuestNotFound, InvalidInput, CommandRefused, HostFailure.
        ErrandFailed: when the guest's file systems cannot be frozen.
    """
    with (
        registry().open(guest) as home,
        repository.opened(path, passphrase, waiting=waiting) as found,
        changing(home) as place,
        fresh(place) as (_, source),
    ):
        earlier, _ = found.backups()
        marks = Marks(found, home, earlier)
        taken = _take(home, source, marks, memory=memory)
        known = _Known(found, earlier, taken, marks.unchanged(source))
        try:
            made = _stored(found, home, source, taken, known, progress)
        except OSError as error:
            raise HostFailure(f"cannot read the guest {guest!r}: {error.strerror}") from error
        found.flush()
        made = replace(_named(made, earlier, found.written), id=marks.id)
        found.add(made)
        journal.tell(home, "backup", name=made.name)
        return made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What a guest was, as its files were taken."""

    guest: str
    created: float
    consistency: Consistency
    definition: Definition
    order: Order
    digest: str | None
    image: Path | None


def _take(home: Home, source: int, marks: Marks, *, memory: bool) -> _Taken:
    definition = definitions.read(home)
    for disk in definition.request.disks:
        if disk.nbd is not None and not disk.read_only and not disk.gone:
            raise InvalidInput(f"the disk {disk.nbd} of {home.name} is kept by another server")
    image = None
    if definition.request.image is not None:
        image = Store().kept_image(home.name, definition.request.image)
    created = time.time()
    if home.is_taken():
        order = orders.read(home)
        checkpoints = marks.checkpoints(order.spec.disks)
        consistency = _recorded(home, source, checkpoints, memory=memory)
    else:
        consistency = Consistency.OFF
        order = beginnings.order(home, definition)
        try:
            with locked(home):
                checkpoints = marks.checkpoints(order.spec.disks)
                recording.copy_disks(home, source, order.spec.disks, checkpoints)
        except (OSError, ValueError) as error:
            raise HostFailure(f"cannot copy the disks of {home.name!r}: {error}") from error
    return _Taken(
        guest=home.name,
        created=created,
        consistency=consistency,
        definition=definition,
        order=order,
        digest=None if image is None else image.digest,
        image=None if image is None else image.directory,
    )


def _recorded(
    home: Home, source: int, checkpoints: Sequence[Checkpoint], *, memory: bool
) -> Consistency:
    record = functools.partial(
        recording.record, home, source, name=uuid.uuid4().hex, keep=False, checkpoints=checkpoints
    )
    if memory:
        record()
        return Consistency.MEMORY
    found = standing.look(home)
    if found.ready and found.state == standing.RUNNING:
        consistency = Consistency.FROZEN
        with _frozen(home.name) as thaw:
            record(taken=thaw)
    else:
        consistency = Consistency.POWER_CUT
        record()
    for name in savings.names(source):
        if savings.is_memory(name):
            os.unlink(name, dir_fd=source)
    return consistency


@contextlib.contextmanager
def _frozen(guest: str) -> Iterator[Callable[[], None]]:
    """What is given lets the file systems go on. That they did not stand still until then is said
    when the block ends.
    """
    freeze.freeze(guest)
    too_soon: list[InnkeeperError] = []
    thawed = False

    def thaw() -> None:
        nonlocal thawed
        thawed = True
        try:
            freeze.thaw(guest)
        except InnkeeperError as error:
            too_soon.append(error)

    try:
        yield thaw
    finally:
        if not thawed:
            thaw()
    if too_soon:
        raise too_soon[0]


class _Known:
    """Files of earlier backups that a new one may have as well, unread."""

    def __init__(
        self,
        found: Repository,
        earlier: list[Backup],
        taken: _Taken,
        unchanged: dict[str, Unchanged],
    ) -> None:
        self._repository = found
        self.unchanged = unchanged
        own = [backup for backup in earlier if backup.definition.id == taken.definition.id]
        self._own = own[-1].files if own else ()
        of_image = [backup for backup in earlier if backup.digest == taken.digest is not None]
        self._image = of_image[-1].image_files if of_image else ()

    def layer(self, name: str, status: os.stat_result) -> StoredFile | None:
        """Layers of disks are never written to again once they lie below others."""
        touched = (status.st_ino, status.st_size, status.st_mtime_ns)
        return self._whole(
            file
            for file in self._own
            if file.name == name and (file.inode, file.size, file.mtime) == touched
        )

    def image_file(self, name: str) -> StoredFile | None:
        """Images are called by their content."""
        return self._whole(file for file in self._image if file.name == name)

    def _whole(self, files: Iterator[StoredFile]) -> StoredFile | None:
        for file in files:
            if content.is_whole(self._repository, file):
                return file
        return None


def _stored(
    found: Repository,
    home: Home,
    source: int,
    taken: _Taken,
    known: _Known,
    progress: Progress,
) -> Backup:
    """
    Raises:
        OSError, HostFailure.
    """

    read = 0

    def count(size: int) -> None:
        nonlocal read
        read += size
        progress(size)

    def put(fd: int, name: str) -> StoredFile:
        try:
            return known.layer(name, os.fstat(fd)) or content.store(
                found, fd, name, count, known.unchanged.get(name)
            )
        finally:
            os.close(fd)

    saved = [put(inside.open_file(source, name), name) for name in sorted(savings.names(source))]
    beside = []
    for name, where in BESIDE.items():
        with contextlib.suppress(FileNotFoundError):
            beside.append(put(inside.open_file(home.directory, where), name))
    image_files = []
    if taken.image is not None:
        contents = image_manifest.read(taken.image)
        for name in (image_manifest.FILE, *sorted(contents.files)):
            stored = known.image_file(name)
            if stored is None:
                with (taken.image / name).open("rb") as file:
                    stored = content.store(found, file.fileno(), name, count)
            image_files.append(stored)
    return Backup(
        id=uuid.uuid4().hex,
        name="",
        guest=taken.guest,
        created=taken.created,
        consistency=taken.consistency,
        definition=taken.definition,
        order=taken.order,
        written=0,
        files=tuple(saved),
        beside=tuple(beside),
        digest=taken.digest,
        image_files=tuple(image_files),
        read=read,
    )


def _named(made: Backup, earlier: list[Backup], written: int) -> Backup:
    """Called by its guest and its time."""
    stem = f"{made.guest}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(made.created))}"
    taken = {backup.name for backup in earlier}
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return replace(made, name=name, written=written)
