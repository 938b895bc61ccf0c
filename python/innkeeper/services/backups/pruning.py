"""Removes backups, and then the chunks that none of those that stay names.

First the backups' own files go; then packs, each after whatever of it is still needed was written
to another one. So it may be cut off anywhere: what is left over then, the next one collects.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.services.backups import content, repository, retention
from innkeeper.services.backups.content import Progress
from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.manifest import Backup
from innkeeper.services.backups.packs import Pack, Place
from innkeeper.services.backups.repository import Repository
from innkeeper.services.backups.retention import Rules

# A pack stays while less than this part of it is of no use: rewriting costs as well.
_WASTE: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """`freed` bytes, less what was written anew; 0 where nothing was to be changed."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]
    freed: int


def prune(
    path: Path,
    passphrase: str,
    rules: Rules,
    *,
    guests: Sequence[str] = (),
    try_only: bool = False,
    progress: Progress = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> Pruned:
    """Removes what `rules` do not keep, of these guests or of all. With `try_only`, says what it
    would remove.

    Raises:
        InvalidInput, HostFailure; BackupDamaged: when it cannot be told what is still needed.
    """
    with repository.opened(path, passphrase, alone=not try_only, waiting=waiting) as found:
        backups = _all(found)
        concerned = [backup for backup in backups if not guests or backup.guest in guests]
        kept = retention.kept(concerned, rules)
        gone = [backup for backup in concerned if backup.id not in kept]
        return _without(found, backups, gone, progress, try_only=try_only)


def remove(
    path: Path,
    passphrase: str,
    names: Sequence[str],
    *,
    waiting: Callable[[], None] = lambda: None,
) -> Pruned:
    """Removes these backups; a damaged one by what its file is called.

    Raises:
        BackupNotFound, InvalidInput, HostFailure, BackupDamaged.
    """
    with repository.opened(path, passphrase, alone=True, waiting=waiting) as found:
        damaged = [name for name in names if (found.path / repository.BACKUPS / name).is_file()]
        for name in damaged:
            found.remove_backup(name)
        gone = [found.find_exactly(name) for name in names if name not in damaged]
        return _without(found, _all(found), gone, lambda _: None, try_only=False)


def _all(found: Repository) -> list[Backup]:
    backups, damaged = found.backups()
    if damaged:
        raise BackupDamaged(
            f"{damaged[0]}; what it needs cannot be told, so nothing is removed before it is: "
            f"inn backup rm with the name of that file"
        )
    return backups


def _without(
    found: Repository,
    backups: Sequence[Backup],
    gone: Sequence[Backup],
    progress: Progress,
    *,
    try_only: bool,
) -> Pruned:
    lost = {backup.id for backup in gone}
    staying = [backup for backup in backups if backup.id not in lost]
    freed = 0
    if not try_only:
        for backup in gone:
            found.remove_backup(backup.id)
        freed = _collect(found, staying, progress)
    return Pruned(
        removed=tuple(backup.name for backup in gone),
        kept=tuple(backup.name for backup in staying),
        freed=freed,
    )


def _collect(found: Repository, staying: Sequence[Backup], progress: Progress) -> int:
    """Bytes that are free then."""
    needed = _needed(found, staying)
    before = _size(found)
    empty, wasteful = [], []
    for name in found.pack_names():
        path = found.packs / name
        try:
            pack = Pack(path, found.keys)
            try:
                index = pack.index()
            finally:
                pack.close()
        except BackupDamaged:
            # Nobody can read it. It stays as long as something is missing that may be in it.
            if needed <= found.places.keys():
                empty.append(name)
            continue
        except OSError as error:
            raise HostFailure(f"cannot read {path}: {error.strerror}") from error
        # Of a chunk that is there twice, this may be the other one.
        useful = [chunk for chunk in index if chunk in needed and found.places[chunk].pack == name]
        if not useful:
            empty.append(name)
        elif sum(index[chunk].stored for chunk in useful) < (1 - _WASTE) * _used(index):
            wasteful.append((name, useful))
    # First, so that there is room even on a full disk.
    found.remove_packs(empty)
    moved = [name for name, useful in wasteful if _moved(found, useful, progress)]
    found.flush()
    found.remove_packs(moved)
    return max(0, before - _size(found))


def _moved(found: Repository, chunks: Sequence[bytes], progress: Progress) -> bool:
    """Whether all of them are in other packs once these are written."""
    whole = True
    for chunk in chunks:
        try:
            data = found.get(chunk)
        except BackupDamaged:
            # What is left of it is better than nothing.
            whole = False
            continue
        found.write(chunk, data)
        progress(len(data))
    return whole


def _needed(found: Repository, backups: Sequence[Backup]) -> set[bytes]:
    needed: set[bytes] = set()
    for backup in backups:
        for file in backup.all_files:
            needed.update(content.recipe_names(file))
            needed.update(name for _, name in content.pieces(found, file))
    return needed


def _used(index: dict[bytes, Place]) -> int:
    return sum(place.stored for place in index.values())


def _size(found: Repository) -> int:
    return sum((found.packs / name).stat().st_size for name in found.pack_names())
