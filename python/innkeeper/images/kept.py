"""Guests whose disk was kept: which there are, and how one is forgotten."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import HostFailure, InvalidInput, NotFound
from innkeeper.images.boot import KEPT_ROOT
from innkeeper.images.store import Image, Store
from innkeeper.vm.detached.home import OWN


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptGuest:
    """`written` is what its disk takes beside the image's, in bytes; `changed` is a Unix time.

    `image` is nothing when somebody has deleted it: the guest cannot go on then.
    """

    name: str
    image: Image | None
    directory: Path
    running: bool
    written: int
    changed: float


def kept_guests(store: Store) -> list[KeptGuest]:
    return [_look_at(store, name) for name in store.guests()]


def remove_guest(store: Store, name: str) -> KeptGuest:
    """Deletes what the guest has written, and its image when nobody else has that.

    Raises:
        InvalidInput: when there is no such guest, or it runs.
        HostFailure: when it cannot be deleted.
    """
    directory = store.guest_directory(name)
    if name not in store.guests():
        raise NotFound(f"there is no kept guest {name!r} in {store.directory}")
    with store.locked():
        guest = _look_at(store, name)
        with _idle(_disk(directory)) as idle:
            if not idle:
                raise InvalidInput(f"the guest {name!r} is running; end it first")
            try:
                shutil.rmtree(directory)
            except OSError as error:
                raise HostFailure(f"cannot delete {directory}: {error.strerror}") from error
        store.sweep_images()
    return guest


def _look_at(store: Store, name: str) -> KeptGuest:
    directory = store.guest_directory(name)
    disk = _disk(directory)
    with _idle(disk) as idle:
        # A guest that was ended before it had a disk has the directory alone.
        found = (disk if disk.exists() else directory).stat()
        return KeptGuest(
            name=name,
            image=store.base(name),
            directory=directory,
            running=not idle,
            written=found.st_blocks * 512,
            changed=found.st_mtime,
        )


def _disk(directory: Path) -> Path:
    """What a guest that was started with `--keep` has written, or one that stays."""
    stays = directory / OWN / KEPT_ROOT
    return stays if stays.exists() else directory / KEPT_ROOT


@contextlib.contextmanager
def _idle(disk: Path) -> Iterator[bool]:
    """Whether no guest has the disk open; while this is held, none can open it."""
    try:
        fd = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
