"""Reads what is in a repository, and says what is not what it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from innkeeper.services.backups import content, repository
from innkeeper.services.backups.content import Progress
from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.manifest import Backup, StoredFile
from innkeeper.services.backups.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`damages` are sentences, each naming a file of the repository; `broken` are, of each backup
    that they concern, its name and the names of its files that are no longer whole.
    """

    backups: tuple[Backup, ...]
    chunks: int
    damages: tuple[str, ...] = field(default=())
    broken: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())

    @property
    def is_whole(self) -> bool:
        return not self.damages and not self.broken


def verify(
    path: Path,
    passphrase: str,
    which: Sequence[str] = (),
    *,
    progress: Progress = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> Found:
    """Reads all of these backups, or of the whole repository, decrypts it and checks it.

    Raises:
        BackupNotFound, InvalidInput, HostFailure.
    """
    with repository.opened(path, passphrase, waiting=waiting) as found:
        if which:
            chosen, damages = [found.find(name) for name in which], list(found.damaged)
        else:
            chosen, unreadable = found.backups()
            damages = [*found.damaged, *unreadable]
        return examined(found, chosen, damages, progress, everything=not which)


def examined(
    found: Repository,
    backups: Sequence[Backup],
    damages: Sequence[str],
    progress: Progress,
    *,
    everything: bool,
) -> Found:
    """As `verify`, of a repository that is open; `damages` are known before."""
    checked = _Checked(found, progress)
    if everything:
        for name in list(found.places):
            checked.is_good(name)
    broken = []
    for backup in backups:
        bad = tuple(file.name for file in backup.all_files if not checked.file(file))
        if bad:
            broken.append((backup.name, bad))
    said = dict.fromkeys([*damages, *checked.damages])
    return Found(
        backups=tuple(backups),
        chunks=checked.count,
        damages=tuple(said),
        broken=tuple(broken),
    )


class _Checked:
    """Chunks that were read, each once."""

    def __init__(self, found: Repository, progress: Progress) -> None:
        self._found = found
        self._progress = progress
        self._good: dict[bytes, bool] = {}
        self._damages: dict[str | None, str] = {}

    @property
    def damages(self) -> list[str]:
        return list(self._damages.values())

    @property
    def count(self) -> int:
        return len(self._good)

    def is_good(self, name: bytes) -> bool:
        known = self._good.get(name)
        if known is None:
            try:
                self._progress(len(self._found.get(name)))
                known = True
            except BackupDamaged as error:
                # The first of each pack tells enough.
                place = self._found.places.get(name)
                self._damages.setdefault(None if place is None else place.pack, str(error))
                known = False
            self._good[name] = known
        return known

    def file(self, file: StoredFile) -> bool:
        if not self._are_good(content.recipe_names(file)):
            return False
        try:
            names = [name for _, name in content.pieces(self._found, file)]
        except BackupDamaged as error:
            self._damages.setdefault(file.name, str(error))
            return False
        return self._are_good(names)

    def _are_good(self, names: Sequence[bytes]) -> bool:
        # All of them are looked at, so that all damages are named.
        return sum(self.is_good(name) for name in names) == len(names)
