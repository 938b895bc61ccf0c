"""Packs: files of many chunks. A chunk of its own file would cost more to make safe than to write.

    INNPACK1, the pack's random number of 16 bytes
    chunks, encrypted one by one, each bound to its name
    the index: name, place and size of each, compressed and encrypted
    where the index begins and its size (u64 each, little-endian), INNPACK1

A pack is called by its random number in hexadecimal. docs/reference/backups.md
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag

from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.keys import SALT, Keys, nonce
from innkeeper.services.backups.writing import NewFile

CHUNK: Final = 128 << 10  # bytes of a chunk at most
_MAGIC: Final = b"INNPACK1"
_PURPOSE: Final = "pack"
_FULL: Final = 32 << 20  # bytes after which a pack ends
_ENTRY: Final = struct.Struct("<32sQII")
_END: Final = struct.Struct("<QQ8s")
_INDEX_NONCE: Final = nonce((1 << 96) - 1)
# Of an index, decompressed: chunks that are all small.
_LONGEST_INDEX: Final = 64 << 20
_PLAIN, _ZSTANDARD = b"\0", b"\1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk is: its number in the pack, where it begins, how many bytes it takes there, and
    how many its content has."""

    pack: str
    number: int
    start: int
    stored: int
    size: int


class PackWriter:
    """Writes one pack; it is there once `finish` has returned.

    Raises OSError.
    """

    def __init__(self, directory: Path, keys: Keys) -> None:
        salt = os.urandom(SALT)
        self.pack = salt.hex()
        self._salt = salt
        self._cipher = keys.cipher(_PURPOSE, salt)
        self._file = NewFile(directory / self.pack)
        self._compressor = zstandard.ZstdCompressor(level=3, write_content_size=False)
        self.places: dict[bytes, Place] = {}
        self._file.write(_MAGIC + salt)

    @property
    def is_full(self) -> bool:
        return self._file.size >= _FULL

    @property
    def size(self) -> int:
        return self._file.size

    def add(self, name: bytes, content: bytes) -> None:
        packed = self._compressor.compress(content)
        plain = _ZSTANDARD + packed if len(packed) < len(content) else _PLAIN + content
        number = len(self.places)
        encrypted = self._cipher.encrypt(nonce(number), plain, name)
        start = self._file.size
        self._file.write(encrypted)
        self.places[name] = Place(self.pack, number, start, len(encrypted), len(content))

    def finish(self) -> None:
        entries = b"".join(
            _ENTRY.pack(name, place.start, place.stored, place.size)
            for name, place in self.places.items()
        )
        plain = self._compressor.compress(entries)
        index = self._cipher.encrypt(_INDEX_NONCE, plain, self._salt)
        start = self._file.size
        self._file.write(index)
        self._file.write(_END.pack(start, len(index), _MAGIC))
        self._file.finish()

    def close(self) -> None:
        self._file.close()


class Pack:
    """A pack that is there, to read from.

    Raises from the constructor:
        BackupDamaged: when it is not one, or its index was altered.
        OSError: when it cannot be read.
    """

    def __init__(self, path: Path, keys: Keys) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._salt = self._read_salt()
            self._cipher = keys.cipher(_PURPOSE, self._salt)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    def _read_salt(self) -> bytes:
        head = os.pread(self._fd, len(_MAGIC) + SALT, 0)
        magic, salt = head[: len(_MAGIC)], head[len(_MAGIC) :]
        if magic != _MAGIC or salt.hex() != self._path.name:
            raise self._damaged("its head was altered")
        return salt

    def index(self) -> dict[bytes, Place]:
        """
        Raises:
            BackupDamaged, OSError.
        """
        size = os.fstat(self._fd).st_size
        end = os.pread(self._fd, _END.size, max(0, size - _END.size))
        if len(end) != _END.size:
            raise self._damaged("it was truncated")
        start, length, magic = _END.unpack(end)
        if magic != _MAGIC or start + length + _END.size != size:
            raise self._damaged("its end was altered, or it was truncated")
        encrypted = os.pread(self._fd, length, start)
        try:
            plain = self._cipher.decrypt(_INDEX_NONCE, encrypted, self._salt)
            entries = _decompressed(plain, _LONGEST_INDEX)
            found = list(_ENTRY.iter_unpack(entries))
        except (InvalidTag, ValueError, struct.error, zstandard.ZstdError) as error:
            raise self._damaged("its index was altered") from error
        return {
            name: Place(self._path.name, number, start, stored, content)
            for number, (name, start, stored, content) in enumerate(found)
        }

    def read(self, name: bytes, place: Place) -> bytes:
        """The content of a chunk.

        Raises:
            BackupDamaged, OSError.
        """
        encrypted = os.pread(self._fd, place.stored, place.start)
        try:
            plain = self._cipher.decrypt(nonce(place.number), encrypted, name)
            content = plain[1:]
            if plain[:1] == _ZSTANDARD:
                content = _decompressed(content, CHUNK)
        except (InvalidTag, ValueError, zstandard.ZstdError) as error:
            raise self._damaged(f"its bytes from {place.start} on were altered") from error
        if len(content) != place.size:
            raise self._damaged("a chunk has another size than its index says")
        return content

    def _damaged(self, how: str) -> BackupDamaged:
        return BackupDamaged(f"{self._path} is damaged: {how}")


def _decompressed(data: bytes, most: int) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=most)
