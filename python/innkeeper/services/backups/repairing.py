"""Sets aside what is damaged in a repository, after whatever of it is whole was written elsewhere.

What is not there is written by the next backup that has it, and older ones that need it are whole
again then. Backups' own files are set aside as well: nobody can tell what they were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from innkeeper.errors import HostFailure
from innkeeper.services.backups import repository
from innkeeper.services.backups.content import Progress
from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.packs import Pack
from innkeeper.services.backups.repository import BACKUPS, Repository
from innkeeper.services.backups.verifying import examined


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """`set_aside` are where damaged files are now, `broken` is as in `Found`: what is missing."""

    set_aside: tuple[Path, ...]
    broken: tuple[tuple[str, tuple[str, ...]], ...]


def repair(
    path: Path,
    passphrase: str,
    *,
    progress: Progress = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> Repaired:
    """Reads all of the repository.

    Raises:
        InvalidInput, BackupDamaged, HostFailure.
    """
    with repository.opened(path, passphrase, alone=True, waiting=waiting) as found:
        bad = [name for name in found.pack_names() if not _rescued(found, name, progress)]
        found.flush()
        aside = [found.set_aside(found.packs / name) for name in bad]
        aside += [found.set_aside(path / BACKUPS / name) for name in found.unreadable()]
    with repository.opened(path, passphrase, waiting=waiting) as found:
        backups, _ = found.backups()
        broken = examined(found, backups, (), progress, everything=False).broken
    return Repaired(set_aside=tuple(aside), broken=broken)


def _rescued(found: Repository, name: str, progress: Progress) -> bool:
    """Whether a pack is whole. If not, what is good of it is in another one after `flush`."""
    path = found.packs / name
    good: list[bytes] = []
    whole = True
    try:
        pack = Pack(path, found.keys)
        try:
            index = pack.index()
        finally:
            pack.close()
    except BackupDamaged:
        return False
    except OSError as error:
        raise HostFailure(f"cannot read {path}: {error.strerror}") from error
    for chunk, place in index.items():
        try:
            progress(len(found.read(chunk, place)))
            good.append(chunk)
        except BackupDamaged:
            whole = False
    if not whole:
        for chunk in good:
            found.write(chunk, found.read(chunk, index[chunk]))
    return whole
