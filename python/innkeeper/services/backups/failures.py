"""What can be wrong with a repository of backups."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from innkeeper.errors import HostFailure, InnkeeperError


class BackupDamaged(InnkeeperError):
    """Something in a repository is not what was written there; the text names the file."""

    code = "backup_damaged"


class BackupNotFound(InnkeeperError):
    """A repository has no backup of that name."""

    code = "backup_not_found"


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """
    Raises:
        HostFailure: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        said = f"cannot write to the backups in {place}: {error.strerror or error}"
        raise HostFailure(said) from error
