"""Backups of guests in a repository: a directory of encrypted chunks, each there once.

    from innkeeper import backups

    backups.initialise(Path("/backups"), "a long passphrase")
    made = backups.create(Path("/backups"), "a long passphrase", "web")
    backups.restore(Path("/backups"), "a long passphrase", made.name, name="web-again")

The floors in here: keys and writing < packs, manifest < repository < content < retention, creating,
restoring, verifying, pruning < repairing,
booting, schedule.
"""

from collections.abc import Callable
from pathlib import Path

from innkeeper.services.backups.booting import DEFAULT_CHECK, Booted, boot
from innkeeper.services.backups.creating import create
from innkeeper.services.backups.failures import BackupDamaged, BackupNotFound
from innkeeper.services.backups.manifest import Backup, Consistency
from innkeeper.services.backups.pruning import Pruned, prune, remove
from innkeeper.services.backups.repairing import Repaired, repair
from innkeeper.services.backups.repository import change_passphrase, initialise, opened
from innkeeper.services.backups.restoring import restore
from innkeeper.services.backups.retention import Rules
from innkeeper.services.backups.schedule import schedule
from innkeeper.services.backups.verifying import Found, verify

__all__ = [
    "DEFAULT_CHECK",
    "Backup",
    "BackupDamaged",
    "BackupNotFound",
    "Booted",
    "Consistency",
    "Found",
    "Pruned",
    "Repaired",
    "Rules",
    "boot",
    "change_passphrase",
    "create",
    "initialise",
    "listed",
    "prune",
    "remove",
    "repair",
    "restore",
    "schedule",
    "verify",
]


def listed(
    path: Path, passphrase: str, *, waiting: Callable[[], None] = lambda: None
) -> tuple[list[Backup], list[str]]:
    """All backups, the oldest first; and what is wrong with those that are damaged.

    Raises:
        InvalidInput, BackupDamaged, HostFailure.
    """
    with opened(path, passphrase, waiting=waiting) as found:
        backups, damaged = found.backups()
        return backups, [*found.damaged, *damaged]
