"""Boots a backup in a guest that is thrown away, and runs a command in it that says whether all is
well. It has no network, and none of the folders and promises of the guest that it was.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import GuestNotFound, InnkeeperError
from innkeeper.guest.attached_guest import AttachedGuest
from innkeeper.services.backups import repository
from innkeeper.services.backups.content import Progress
from innkeeper.services.backups.restoring import Wanted, put_back
from innkeeper.services.lifecycle import remove

DEFAULT_CHECK: Final = ("test", "-d", "/proc/1")
DEFAULT_PATIENCE: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """`status` is the command's, or None when the guest did not come so far; `said` is what the
    command printed, or why not. `seconds` are until the command had ended.
    """

    backup: str
    status: int | None
    said: str
    seconds: float


def boot(
    path: Path,
    passphrase: str,
    which: str,
    *,
    check: Sequence[str] = DEFAULT_CHECK,
    patience: float = DEFAULT_PATIENCE,
    progress: Progress = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> Booted:
    """Boots the backup `which`, or the newest of a guest, and gives it `patience` seconds to be up,
    and as many for the command.

    Raises:
        BackupNotFound, InvalidInput, HostFailure, BackupDamaged.
    """
    began = time.monotonic()
    guest = f"backup-check-{secrets.token_hex(4)}"
    try:
        with repository.opened(path, passphrase, waiting=waiting) as found:
            backup = found.find(which)
            wanted = Wanted(name=guest, begin=True, cold=True, throw_away=True)
            put_back(found, backup, wanted, progress)
        status, said = _checked(guest, check, patience)
    finally:
        with contextlib.suppress(GuestNotFound):
            remove(guest, force=True)
    seconds = time.monotonic() - began
    return Booted(backup=backup.name, status=status, said=said, seconds=seconds)


def _checked(guest: str, check: Sequence[str], patience: float) -> tuple[int | None, str]:
    try:
        with AttachedGuest(guest, boot_timeout=patience) as attached:
            done = attached.run(check, timeout=patience)
            return done.returncode, (done.stdout + done.stderr).strip()
    except TimeoutError:
        return None, f"it was not up, or the command not done, after {patience:g} seconds"
    except InnkeeperError as error:
        return None, str(error)
