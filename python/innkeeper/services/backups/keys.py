"""The keys of a repository of backups, all made of one secret that a passphrase opens.

The secret is random and never changes; a key file holds it encrypted with what scrypt makes of the
passphrase. So a passphrase can be changed without a word of the backups being written again, and
what is secret has 256 bits whatever people choose. The file is there twice: without it nothing can
be read any more.

Each file of the repository is encrypted by AES-256-GCM with a key of its own, made of the secret
and a random number in its head; nonces are counted within the file, and so never used twice. Chunks
are called by an HMAC of their content: who has the files but not the key learns from names neither
what is in them, nor whether some known file is.
Spec: RFC 7914 (scrypt), RFC 5869 (HKDF), NIST SP 800-38D (GCM).
"""

import contextlib
import hmac
import json
import os
from base64 import b64decode, b64encode
from hashlib import scrypt, sha256
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.writing import write_file

VERSION: Final = 1
FILES: Final = ("key", "key.copy")
SALT: Final = 16  # bytes of a file's random number
_NONCE: Final = 12
_SECRET: Final = 32
# 128 MiB and some tenths of a second: each guess costs that much as well.
_COST: Final = {"n": 1 << 17, "r": 8, "p": 1}
_MOST_MEMORY: Final = 1 << 30
_LONGEST: Final = 1 << 16


class Keys:
    """What can read and write one repository."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._names = self._derived("chunk names", b"")

    def name(self, content: bytes) -> bytes:
        """What a chunk of this content is called, 32 bytes."""
        return hmac.digest(self._names, content, "sha256")

    def cipher(self, purpose: str, salt: bytes) -> AESGCM:
        """Of a file of this purpose, whose random number is `salt`."""
        return AESGCM(self._derived(purpose, salt))

    def _derived(self, purpose: str, salt: bytes) -> bytes:
        info = f"innkeeper backup {VERSION}: {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(self._secret)


def nonce(number: int) -> bytes:
    """The `number`th of a file."""
    return number.to_bytes(_NONCE, "big")


def make(place: Path, passphrase: str) -> None:
    """Writes the files of a new secret.

    Raises:
        OSError, InvalidInput.
    """
    _write(place, os.urandom(_SECRET), passphrase)


def change(place: Path, old: str, new: str) -> None:
    """Lets `new` open the repository, and `old` not any more.

    Raises:
        OSError; otherwise as `unlock`.
    """
    _write(place, _secret(place, old), new)


def unlock(place: Path, passphrase: str) -> Keys:
    """
    Raises:
        InvalidInput: when there is no repository, or the passphrase is another.
        BackupDamaged: when both key files are.
        HostFailure: when they are of a newer version.
    """
    return Keys(_secret(place, passphrase))


def _write(place: Path, secret: bytes, passphrase: str) -> None:
    if not passphrase:
        raise InvalidInput("the passphrase of a repository is not empty")
    salt = os.urandom(SALT)
    wrapped = AESGCM(_stretched(passphrase, salt, _COST)).encrypt(nonce(0), secret, b"")
    told = {
        "version": VERSION,
        "kdf": "scrypt",
        **_COST,
        "salt": b64encode(salt).decode(),
        "secret": b64encode(wrapped).decode(),
    }
    document = json.dumps({"key": told, "sum": _sum(told)}).encode() + b"\n"
    # The copy first: where the first file is there, both are.
    for name in reversed(FILES):
        write_file(place / name, document)


def _secret(place: Path, passphrase: str) -> bytes:
    found = [told for name in FILES if (told := _read(place / name)) is not None]
    for told in found:
        cost = {word: int(told[word]) for word in _COST}
        stretched = _stretched(passphrase, b64decode(told["salt"]), cost)
        # Where a change was cut off, each of the two has a passphrase of its own.
        with contextlib.suppress(InvalidTag):
            return AESGCM(stretched).decrypt(nonce(0), b64decode(told["secret"]), b"")
    if found:
        raise InvalidInput(f"that is not the passphrase of the backups in {place}")
    if not any((place / name).exists() for name in FILES):
        raise InvalidInput(
            f"there are no backups in {place}; inn backup init {place} begins a repository"
        )
    raise BackupDamaged(f"{place / FILES[0]} and its copy are damaged: nothing opens the backups")


def _read(path: Path) -> dict[str, Any] | None:
    """None where it is damaged or not there.

    Raises:
        HostFailure: when it is of a newer version.
    """
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_LONGEST))
        told = document["key"]
        if isinstance(told, dict) and document["sum"] == _sum(told):
            if told["version"] > VERSION:
                raise HostFailure(f"the backups in {path.parent} are of a newer Innkeeper")
            return told
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        pass
    return None


def _stretched(passphrase: str, salt: bytes, cost: dict[str, int]) -> bytes:
    try:
        return scrypt(
            passphrase.encode("utf-8", "surrogateescape"),
            salt=salt,
            dklen=32,
            maxmem=_MOST_MEMORY,
            **cost,
        )
    except (ValueError, MemoryError) as error:
        raise HostFailure(f"cannot make a key of the passphrase: {error}") from error


def _sum(told: dict[str, Any]) -> str:
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
