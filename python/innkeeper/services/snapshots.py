"""What guests were: made while they run, gone back to, removed.

    GUEST/snapshots/NAME/    one, see snapshot_files.py
    GUEST/snapshots/.new-…   one that is being made; swept by the next

A guest remembers which snapshot it comes from, so that the next one needs only what changed.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from innkeeper.errors import HostFailure, InnkeeperError, InvalidInput, NameInUse
from innkeeper.machine import EngineChoice
from innkeeper.services import beginnings, recording, snapshot_files
from innkeeper.services import definition as definitions
from innkeeper.services.beginnings import Current
from innkeeper.services.control import kill_processes
from innkeeper.services.lifecycle import locked, start
from innkeeper.services.snapshot_files import SavedFile, Snapshot
from innkeeper.vm import inside
from innkeeper.vm import order as orders
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.order import Order

_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
_NEW: Final = ".new-"
Progress = Callable[[int], None]


class SnapshotNotFound(InnkeeperError):
    """The guest has no snapshot of that name."""

    code = "snapshot_not_found"


def create(guest: str, name: str | None = None, progress: Progress = lambda _: None) -> Snapshot:
    """Saves a guest as `name`, or as one made from the time; `progress` is told how many bytes of
    memory are written. A guest that runs goes on; of one that does not, its disks are saved.

    Raises:
        InvalidInput, NameInUse, GuestNotFound, CommandRefused, HostFailure.
    """
    name = time.strftime("%Y%m%d-%H%M%S") if name is None else name
    _check_name(name)
    with registry().open(guest) as home, changing(home) as place:
        if name in _names(place):
            raise NameInUse(f"the guest {guest!r} has a snapshot {name!r} already")
        with fresh(place) as (unnamed, directory):
            made = _taken(home, directory, name, progress)
            known = _known(place, made.parent)
            sealed = snapshot_files.seal(directory, made, known)
            inside.rename(place, unnamed, place, name)
            os.fsync(place)
        place_of = f"{files.SNAPSHOTS}/{name}"
        beginnings.set_current(home, Current(id=sealed.id, place=place_of, snapshot=name))
        journal.tell(home, "snapshot", name=name)
        return sealed


def listed(guest: str, damage: Callable[[str], None] = lambda _: None) -> list[Snapshot]:
    """A guest's snapshots, the oldest first. Damaged ones are left out, and `damage` is told a
    sentence of each.

    Raises:
        GuestNotFound.
    """
    found = []
    with registry().open(guest) as home, _place(home) as place:
        for name in _names(place):
            try:
                found.append(_read(place, name))
            except SnapshotNotFound:
                if name in _names(place):
                    damage(f"the snapshot {name!r} is damaged: it has no {snapshot_files.MANIFEST}")
            except InnkeeperError as error:
                damage(str(error))
    return sorted(found, key=lambda snapshot: snapshot.created)


def sizes(guest: str) -> dict[str, int]:
    """Bytes that each of a guest's snapshots takes on the disk beside the older ones, whose files
    it shares.

    Raises:
        GuestNotFound.
    """
    counted: set[int] = set()
    found = {}
    oldest_first = [snapshot.name for snapshot in listed(guest)]
    with registry().open(guest) as home, _place(home) as place:
        for name in oldest_first:
            # It may be removed meanwhile.
            with contextlib.suppress(SnapshotNotFound), _inside(place, name) as directory:
                found[name] = snapshot_files.storage(directory, counted)
    return found


def find(guest: str, name: str) -> Snapshot:
    """
    Raises:
        GuestNotFound, SnapshotNotFound, SnapshotDamaged, HostFailure.
    """
    with registry().open(guest) as home, _place(home) as place:
        return _read(place, name)


def verify(guest: str, name: str) -> Snapshot:
    """Reads all of a snapshot.

    Raises:
        GuestNotFound, SnapshotNotFound, HostFailure.
        SnapshotDamaged: when it is not what it was.
    """
    with registry().open(guest) as home, _place(home) as place:
        snapshot = _read(place, name)
        with _inside(place, name) as directory:
            snapshot_files.verify(directory, snapshot, everything=True)
        return snapshot


def restore(guest: str, name: str, engine: EngineChoice | None = None) -> Snapshot:
    """Makes the guest what it was, and lets it go on if it ran then. What it is now is lost. It may
    go on with another engine.

    Raises:
        GuestNotFound, SnapshotNotFound, SnapshotDamaged, HostFailure, InvalidInput.
    """
    if engine is EngineChoice.LOCKSTEP:
        raise InvalidInput("lockstep compares a guest from its start on, and restores none")
    with registry().open(guest) as home:
        with changing(home) as place, _inside(place, name) as directory:
            snapshot = _read(place, name)
            snapshot_files.verify(directory, snapshot)
            if home.is_taken():
                kill_processes(home)
            with locked(home):
                beginnings.prepare(home, directory, record=snapshot.id, identity=None)
                now = definitions.read(home)
                replace(snapshot.definition, id=now.id, created=now.created).write(home)
                beginnings.sweep_overlays(home)
                current = Current(id=snapshot.id, place=files.SAVED, snapshot=name)
                beginnings.set_current(home, current)
        journal.tell(home, "restore", name=name)
        home_name = home.name
    if snapshot.running:
        start(home_name, lambda fresh: revived(snapshot.order, fresh, engine))
    return snapshot


def remove(guest: str, name: str) -> None:
    """Others that build upon it are not disturbed.

    Raises:
        GuestNotFound, SnapshotNotFound, HostFailure.
    """
    with registry().open(guest) as home, changing(home) as place:
        gone = f"{_NEW}{uuid.uuid4().hex}"
        with _inside(place, name):
            pass
        try:
            inside.rename(place, name, place, gone)
        except OSError as error:
            raise HostFailure(f"cannot remove the snapshot {name!r}: {error.strerror}") from error
        _sweep(place)


def revived(saved: Order, fresh: Order, engine: EngineChoice | None = None) -> Order:
    """The run that was saved, with what is the guest's now: its disks, its place in the network."""
    spec = replace(
        saved.spec,
        disks=fresh.spec.disks,
        network=fresh.spec.network,
        cards=fresh.spec.cards,
        vsock=fresh.spec.vsock,
        sound=fresh.spec.sound,
        parallel=fresh.spec.parallel,
        command_line=fresh.spec.command_line,
        engine=saved.spec.engine if engine is None else engine,
    )
    return replace(fresh, spec=spec)


def _taken(home: Home, directory: int, name: str, progress: Progress) -> Snapshot:
    """What is in `directory` then, without its files."""
    definition = definitions.read(home)
    parent = beginnings.current(home)
    # One that was removed is nobody's parent: another may be called so later.
    above = parent if parent.id and parent.snapshot else Current()
    snapshot = Snapshot(
        id=uuid.uuid4().hex,
        name=name,
        parent=above.snapshot,
        parent_id=above.id,
        created=time.time(),
        running=home.is_taken(),
        pause=0.0,
        definition=definition,
        order=beginnings.order(home, definition),
    )
    if not snapshot.running:
        try:
            with locked(home):
                recording.copy_disks(home, directory, snapshot.order.spec.disks)
        except (OSError, ValueError) as error:
            raise HostFailure(f"cannot copy the disks of {home.name!r}: {error}") from error
        return snapshot
    recorded = recording.record(
        home,
        directory,
        name=snapshot.id,
        parent=(parent.id, parent.place),
        keep=True,
        code=True,
        progress=progress,
    )
    return replace(snapshot, order=orders.read(home), pause=recorded.pause)


def _known(place: int, parent: str) -> dict[str, SavedFile]:
    """The files that a new one may have in common with its parent."""
    if parent:
        with contextlib.suppress(InnkeeperError, OSError):
            return {file.name: file for file in _read(place, parent).files}
    return {}


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name!r} is no name for a snapshot: letters, digits, dots and dashes, at most 63"
        )


def _names(place: int | None) -> list[str]:
    found = [] if place is None else os.listdir(place)
    return sorted(name for name in found if _NAME.fullmatch(name))


def _read(place: int | None, name: str) -> Snapshot:
    with _inside(place, name) as directory:
        return snapshot_files.read(directory, name)


@contextlib.contextmanager
def _inside(place: int | None, name: str) -> Iterator[int]:
    missing = SnapshotNotFound(f"there is no snapshot {name!r}; inn snapshot ls lists them")
    if place is None or _NAME.fullmatch(name) is None:
        raise missing
    try:
        directory = inside.open_directory(place, name)
    except OSError as error:
        raise missing from error
    try:
        yield directory
    except FileNotFoundError as error:
        raise missing from error
    finally:
        os.close(directory)


@contextlib.contextmanager
def _place(home: Home) -> Iterator[int | None]:
    """The directory of all of a guest's; None when it has none."""
    try:
        place = inside.open_directory(home.directory, files.SNAPSHOTS)
    except FileNotFoundError:
        yield None
        return
    try:
        yield place
    finally:
        os.close(place)


@contextlib.contextmanager
def changing(home: Home) -> Iterator[int]:
    """While nobody else makes, uses or removes one. What a killed process left is swept."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(files.SNAPSHOTS, 0o700, dir_fd=home.directory)
        place = inside.open_directory(home.directory, files.SNAPSHOTS)
    except OSError as error:
        raise HostFailure(f"cannot use {home.path}/{files.SNAPSHOTS}: {error.strerror}") from error
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        _sweep(place)
        yield place
    finally:
        os.close(place)


@contextlib.contextmanager
def fresh(place: int) -> Iterator[tuple[str, int]]:
    """A directory to make one in, and its name; gone afterwards, if it was not renamed."""
    name = f"{_NEW}{uuid.uuid4().hex}"
    try:
        os.mkdir(name, 0o700, dir_fd=place)
        directory = inside.open_directory(place, name)
        try:
            yield name, directory
        finally:
            os.close(directory)
    except OSError as error:
        raise HostFailure(f"cannot write a snapshot: {error.strerror or error}") from error
    finally:
        shutil.rmtree(name, ignore_errors=True, dir_fd=place)


def _sweep(place: int) -> None:
    for name in os.listdir(place):
        if name.startswith(_NEW):
            shutil.rmtree(name, ignore_errors=True, dir_fd=place)
