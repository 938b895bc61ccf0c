"""A directory of backups.

    key, key.copy     the secret that all is encrypted with, under a passphrase: keys.py
    packs/ID          chunks of content, each there once: packs.py
    backups/ID        what a backup is made of: manifest.py
    lock              held by whoever uses it

What is there never changes. A backup is chunks that were not there before, and then its own file;
so whatever interrupts it leaves the backups of before, and chunks that the next one need not write.
Who only adds or reads shares the lock, who removes has it alone. A chunk goes only when no backup
names it any more, and after what takes its place is on the disk.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.services.backups import keys, manifest
from innkeeper.services.backups.failures import BackupDamaged, BackupNotFound, writing
from innkeeper.services.backups.keys import Keys
from innkeeper.services.backups.manifest import Backup
from innkeeper.services.backups.packs import Pack, PackWriter, Place
from innkeeper.services.backups.writing import make_directory, remove, set_aside, sweep, sync

PACKS: Final = "packs"
BACKUPS: Final = "backups"
_LOCK: Final = "lock"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_OPEN_PACKS: Final = 64


class Repository:
    """One that is open; its lock is somebody else's. `places` are its chunks; `damaged` says of
    files that could not be made sense of when it was opened.
    """

    def __init__(self, path: Path, secret: Keys) -> None:
        self.path = path
        self.keys = secret
        self.places: dict[bytes, Place] = {}
        self.damaged: list[str] = []
        # Bytes that were written to it, and those of content that it did not have before.
        self.written = 0
        self.new_content = 0
        self._writer: PackWriter | None = None
        self._open: dict[str, Pack] = {}
        self._load()

    @property
    def packs(self) -> Path:
        return self.path / PACKS

    def pack_names(self) -> list[str]:
        return _ids(self.packs)

    def put(self, content: bytes) -> bytes:
        """The name of a chunk of this content, which is in the repository once `flush` returns.

        Raises:
            HostFailure.
        """
        name = self.keys.name(content)
        if name not in self.places:
            self.write(name, content)
        return name

    def write(self, name: bytes, content: bytes) -> None:
        """Writes a chunk, whether it is there or not.

        Raises:
            HostFailure.
        """
        with writing(self.path):
            if self._writer is None:
                self._writer = PackWriter(self.packs, self.keys)
            self._writer.add(name, content)
        self.new_content += len(content)
        self.places[name] = self._writer.places[name]
        if self._writer.is_full:
            self.flush()

    def flush(self) -> None:
        """
        Raises:
            HostFailure.
        """
        if self._writer is not None:
            with writing(self.path):
                self._writer.finish()
                self.written += self._writer.size
                self._writer.close()
                self._writer = None

    def get(self, name: bytes) -> bytes:
        """The content of a chunk that was there before.

        Raises:
            BackupDamaged: when it is not what it was, or not there.
        """
        place = self.places.get(name)
        if place is None:
            raise BackupDamaged(f"a chunk is missing in {self.packs}")
        return self.read(name, place)

    def read(self, name: bytes, place: Place) -> bytes:
        """As `get`, of a chunk at a known place."""
        try:
            content = self._pack(place.pack).read(name, place)
        except OSError as error:
            said = f"{self.packs / place.pack} cannot be read: {error.strerror}"
            raise BackupDamaged(said) from error
        if self.keys.name(content) != name:
            raise BackupDamaged(f"{self.packs / place.pack} is damaged: a chunk has another name")
        return content

    def backups(self) -> tuple[list[Backup], list[str]]:
        """All of them, the oldest first; and of those that are damaged, what is wrong.

        Raises:
            HostFailure.
        """
        found, damaged, _ = self._read_backups()
        return found, damaged

    def unreadable(self) -> list[str]:
        """The names of the files of backups that are damaged.

        Raises:
            HostFailure.
        """
        return self._read_backups()[2]

    def _read_backups(self) -> tuple[list[Backup], list[str], list[str]]:
        found, damaged, names = [], [], []
        for name in _ids(self.path / BACKUPS):
            path = self.path / BACKUPS / name
            try:
                found.append(manifest.read(path, self.keys))
            except BackupDamaged as error:
                damaged.append(str(error))
                names.append(name)
            except OSError as error:
                damaged.append(f"{path} cannot be read: {error.strerror}")
        return sorted(found, key=lambda backup: backup.created), damaged, names

    def find(self, which: str) -> Backup:
        """By its name, or the newest of a guest by the guest's.

        Raises:
            BackupNotFound, HostFailure.
        """
        found, damaged = self.backups()
        by_guest = [backup for backup in found if backup.guest == which]
        return self._by_name(which, found, damaged, by_guest)

    def find_exactly(self, name: str) -> Backup:
        """By its name.

        Raises:
            BackupNotFound, HostFailure.
        """
        return self._by_name(name, *self.backups(), [])

    def add(self, backup: Backup) -> None:
        """All of whose chunks are there.

        Raises:
            HostFailure.
        """
        with writing(self.path):
            manifest.write(self.path / BACKUPS, backup, self.keys)

    def remove_backup(self, name: str) -> None:
        """By its file's name. Its chunks stay until they are collected.

        Raises:
            HostFailure.
        """
        with writing(self.path):
            remove(self.path / BACKUPS / name)
            sync(self.path / BACKUPS)

    def remove_packs(self, names: list[str]) -> None:
        """
        Raises:
            HostFailure.
        """
        with writing(self.path):
            for name in names:
                if (pack := self._open.pop(name, None)) is not None:
                    pack.close()
                remove(self.packs / name)
            sync(self.packs)

    def _by_name(
        self, name: str, found: list[Backup], damaged: list[str], otherwise: list[Backup]
    ) -> Backup:
        for fitting in ([backup for backup in found if backup.name == name], otherwise):
            if fitting:
                return fitting[-1]
        beside = f"; {damaged[0]}" if damaged else ""
        raise BackupNotFound(f"there is no backup {name!r} in {self.path}{beside}")

    def set_aside(self, path: Path) -> Path:
        """A file that is damaged, and of which all that is whole is elsewhere. Where it is then.

        Raises:
            HostFailure.
        """
        if (pack := self._open.pop(path.name, None)) is not None:
            pack.close()
        with writing(self.path):
            return set_aside(path)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        for pack in self._open.values():
            pack.close()
        self._open.clear()

    def _load(self) -> None:
        for name in self.pack_names():
            try:
                self.places.update(self._pack(name).index())
            except BackupDamaged as error:
                self.damaged.append(str(error))
            except OSError as error:
                self.damaged.append(f"{self.packs / name} cannot be read: {error.strerror}")

    def _pack(self, name: str) -> Pack:
        found = self._open.pop(name, None)
        if found is None:
            if len(self._open) >= _OPEN_PACKS:
                # That which was not used for longest.
                self._open.pop(next(iter(self._open))).close()
            found = Pack(self.packs / name, self.keys)
        self._open[name] = found
        return found


def initialise(path: Path, passphrase: str) -> None:
    """Makes a repository in a directory that is empty or not there.

    Raises:
        InvalidInput: when something is there.
        HostFailure: when it cannot be written.
    """
    with writing(path):
        path.mkdir(0o700, parents=True, exist_ok=True)
        with _locked(path, alone=True, waiting=lambda: None):
            left = [name for name in os.listdir(path) if name != _LOCK and name[0] != "."]
            # One that was begun and cut off has no key yet, or only its copy.
            if keys.FILES[0] in left:
                raise InvalidInput(f"there is a repository of backups in {path} already")
            if set(left) - {PACKS, BACKUPS, *keys.FILES}:
                raise InvalidInput(
                    f"{path} is not empty; a repository needs a directory of its own"
                )
            sweep(path)
            make_directory(path / PACKS)
            make_directory(path / BACKUPS)
            keys.make(path, passphrase)


def change_passphrase(path: Path, old: str, new: str) -> None:
    """
    Raises:
        InvalidInput, BackupDamaged, HostFailure.
    """
    _require(path)
    with writing(path), _locked(path, alone=True, waiting=lambda: None):
        keys.change(path, old, new)


@contextlib.contextmanager
def opened(
    path: Path,
    passphrase: str,
    *,
    alone: bool = False,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[Repository]:
    """A repository, `alone` for who removes. `waiting` is told when others have to end first.

    Raises:
        InvalidInput, BackupDamaged, HostFailure.
    """
    _require(path)
    secret = keys.unlock(path, passphrase)
    with contextlib.ExitStack() as stack:
        with writing(path):
            stack.enter_context(_locked(path, alone=alone, waiting=waiting))
        try:
            found = Repository(path, secret)
        except OSError as error:
            raise HostFailure(f"cannot read the backups in {path}: {error.strerror}") from error
        stack.callback(found.close)
        yield found


def _require(path: Path) -> None:
    if not (path / PACKS).is_dir():
        raise InvalidInput(
            f"there are no backups in {path}; inn backup init {path} begins a repository"
        )


@contextlib.contextmanager
def _locked(path: Path, *, alone: bool, waiting: Callable[[], None]) -> Iterator[None]:
    """
    Raises:
        OSError.
    """
    lock = _open_lock(path)
    if lock is None:
        yield
        return
    try:
        with contextlib.suppress(BlockingIOError):
            # Whoever comes to be the only one tidies up.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(OSError):
                for directory in (path, path / PACKS, path / BACKUPS):
                    sweep(directory)
        wanted = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
        try:
            fcntl.flock(lock, wanted | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, wanted)
        yield
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int | None:
    """None where nobody can write, on a read-only file system: nothing changes there."""
    try:
        return os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if os.access(path, os.W_OK):
            raise
        return None


def _ids(directory: Path) -> list[str]:
    return sorted(name for name in os.listdir(directory) if _ID.fullmatch(name))
