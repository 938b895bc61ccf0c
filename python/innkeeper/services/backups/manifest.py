"""A backup: which files it has, of which chunks they are, and what guest they were.

    INNBACK1, a random number of 16 bytes, and a `Backup` as JSON, compressed and encrypted

The file is called by a random number as well, so that names of guests are nobody's to read. It is
the last that is written of a backup: what it names is there.
"""

import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag

from innkeeper import stored
from innkeeper.errors import HostFailure
from innkeeper.machine.firmware import KEPT_VARIABLES
from innkeeper.machine.tpm import PERMANENT
from innkeeper.services import seeds
from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.keys import SALT, Keys, nonce
from innkeeper.services.backups.writing import write_file
from innkeeper.services.definition import Definition
from innkeeper.vm.detached import home as files
from innkeeper.vm.order import Order

VERSION: Final = 1
_MAGIC: Final = b"INNBACK1"
_PURPOSE: Final = "backup"
_LONGEST: Final = 64 << 20


# Of a guest's directory, what is no disk and yet its own: by its name in a backup, where it is.
BESIDE: Final = {
    files.SEED: files.SEED,
    seeds.KEY: seeds.KEY,
    f"{seeds.KEY}.pub": f"{seeds.KEY}.pub",
    KEPT_VARIABLES: f"{files.OWN}/{KEPT_VARIABLES}",
    PERMANENT: f"{files.TPM}/{PERMANENT}",
}


class Consistency(StrEnum):
    """As what a guest that is restored finds its disks."""

    OFF = "off"
    """It did not run."""
    FROZEN = "frozen"
    """Its file systems stood still, whole."""
    MEMORY = "memory"
    """It goes on with the memory that it had."""
    POWER_CUT = "power cut"
    """No agent of its was there to freeze anything: as if its plug had been pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """`recipe` are the names, in hexadecimal, of the chunks that tell of which chunks it is. With
    `inode` and `mtime` (nanoseconds), a file that was not touched since is known again.
    """

    name: str
    size: int
    recipe: tuple[str, ...]
    inode: int = 0
    mtime: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """`id` is what its file is called. `created` is a Unix time, `written` how many bytes it added
    to the repository, `read` how many of the guest's were read for it. `files` are those of a saved
    guest (innkeeper.vm.detached.savings), `beside` others of its directory, and `image_files` those
    of its image `digest`, where it has one.
    """

    id: str
    name: str
    guest: str
    created: float
    consistency: Consistency
    definition: Definition
    order: Order
    written: int
    files: tuple[StoredFile, ...]
    beside: tuple[StoredFile, ...] = field(default=())
    digest: str | None = None
    image_files: tuple[StoredFile, ...] = field(default=())
    read: int = 0

    @property
    def size(self) -> int:
        """Bytes of what the guest had written, counting what is shared with other backups."""
        return sum(file.size for file in self.files)

    @property
    def all_files(self) -> tuple[StoredFile, ...]:
        return (*self.files, *self.beside, *self.image_files)


def write(directory: Path, backup: Backup, keys: Keys) -> None:
    """
    Raises:
        OSError.
    """
    salt = os.urandom(SALT)
    document = json.dumps({"version": VERSION, "backup": stored.encode(backup)}).encode()
    plain = zstandard.ZstdCompressor().compress(document)
    encrypted = keys.cipher(_PURPOSE, salt).encrypt(nonce(0), plain, backup.id.encode())
    write_file(directory / backup.id, _MAGIC + salt + encrypted)


def read(path: Path, keys: Keys) -> Backup:
    """
    Raises:
        BackupDamaged: when it was altered.
        HostFailure: when it is of a newer version.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(_LONGEST)
    head = len(_MAGIC) + SALT
    damaged = BackupDamaged(f"{path} is damaged: it was altered or truncated")
    if data[: len(_MAGIC)] != _MAGIC or len(data) < head:
        raise damaged
    try:
        cipher = keys.cipher(_PURPOSE, data[len(_MAGIC) : head])
        plain = cipher.decrypt(nonce(0), data[head:], path.name.encode())
        document = json.loads(
            zstandard.ZstdDecompressor().decompress(plain, max_output_size=_LONGEST)
        )
    except (InvalidTag, ValueError, zstandard.ZstdError) as error:
        raise damaged from error
    if document["version"] > VERSION:
        raise HostFailure(f"the backup {path} is of a newer version of Innkeeper")
    try:
        return stored.decode(Backup, document["backup"])
    except stored.Unreadable as error:
        raise HostFailure(f"the backup {path} cannot be read by this Innkeeper: {error}") from error
