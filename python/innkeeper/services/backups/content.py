"""Files as chunks, and back.

A file is cut every 128 KiB, as disks are written in place: what did not change is the same chunk in
the next backup, and in those of guests of the same image. Cutting by content would find what moved,
which disks do not do, at ten times the cost. What is zero, or a hole, is no chunk.

A recipe is runs of such pieces: the first one's number (u64) and how many follow (u32), both
little-endian, then their names of 32 bytes. It is kept in chunks itself.
"""

import errno
import heapq
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from innkeeper.services.backups.failures import BackupDamaged
from innkeeper.services.backups.manifest import StoredFile
from innkeeper.services.backups.packs import CHUNK
from innkeeper.services.backups.repository import Repository
from innkeeper.vm.checkpoint import Ranges, but

NAME: Final = 32  # bytes of a chunk's name
Progress = Callable[[int], None]
_RUN: Final = struct.Struct("<QI")
_MOST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The bytes `same` of a file, in whole pieces, are what they are in one that was stored."""

    file: StoredFile
    same: Ranges


def store(
    repository: Repository,
    fd: int,
    name: str,
    progress: Progress,
    unchanged: Unchanged | None = None,
) -> StoredFile:
    """Puts a file into the repository; `progress` is told of each bytes that were read. What is
    `unchanged` is not read.

    Raises:
        HostFailure: when the repository cannot be written to.
        OSError: when the file cannot be read.
    """
    status = os.fstat(fd)
    recipe = bytearray()
    run: list[bytes] = []
    first = 0
    same = () if unchanged is None else unchanged.same
    read = _stored(repository, _pieces(fd, status.st_size, same), progress)
    kept = () if unchanged is None else _kept(repository, unchanged, status.st_size)
    for number, chunk in heapq.merge(read, kept):
        if run and (number != first + len(run) or len(run) == _MOST):
            recipe += _RUN.pack(first, len(run)) + b"".join(run)
            run = []
        if not run:
            first = number
        run.append(chunk)
    if run:
        recipe += _RUN.pack(first, len(run)) + b"".join(run)
    parts = (bytes(recipe[at : at + CHUNK]) for at in range(0, len(recipe), CHUNK))
    return StoredFile(
        name=name,
        size=status.st_size,
        recipe=tuple(repository.put(part).hex() for part in parts),
        inode=status.st_ino,
        mtime=status.st_mtime_ns,
    )


def load(repository: Repository, file: StoredFile, fd: int, progress: Progress) -> None:
    """Writes a file that was stored to an empty one, on the disk when this returns.

    Raises:
        BackupDamaged: when it is not what it was.
        OSError: when it cannot be written.
    """
    os.ftruncate(fd, file.size)
    for number, name in pieces(repository, file):
        data = memoryview(repository.get(name))
        progress(len(data))
        at = number * CHUNK
        while data:
            done = os.pwrite(fd, data, at)
            data, at = data[done:], at + done
    os.fsync(fd)


def pieces(repository: Repository, file: StoredFile) -> Iterator[tuple[int, bytes]]:
    """The number and the chunk's name of each piece of a file that is not zero.

    Raises:
        BackupDamaged: when its recipe is not what it was.
    """
    recipe = b"".join(repository.get(name) for name in recipe_names(file))
    last = -(-file.size // CHUNK)
    at = 0
    while at < len(recipe):
        if len(recipe) - at < _RUN.size:
            raise BackupDamaged(f"what tells how {file.name} is made makes no sense")
        first, count = _RUN.unpack_from(recipe, at)
        at += _RUN.size
        end = at + count * NAME
        if end > len(recipe) or first + count > last:
            raise BackupDamaged(f"what tells how {file.name} is made makes no sense")
        for number in range(count):
            yield first + number, recipe[at + number * NAME : at + (number + 1) * NAME]
        at = end


def recipe_names(file: StoredFile) -> list[bytes]:
    """The names of the chunks that the recipe is in."""
    return [bytes.fromhex(name) for name in file.recipe]


def is_whole(repository: Repository, file: StoredFile) -> bool:
    """Whether all chunks of a file are there, going by the indices."""
    try:
        return all(name in repository.places for _, name in pieces(repository, file))
    except BackupDamaged:
        return False


def _stored(
    repository: Repository, pieces: Iterable[tuple[int, bytes]], progress: Progress
) -> Iterator[tuple[int, bytes]]:
    """The number and the chunk's name of each piece that is not zero."""
    for number, data in pieces:
        progress(len(data))
        if data.count(0) != len(data):
            yield number, repository.put(data)


def _kept(repository: Repository, unchanged: Unchanged, size: int) -> Iterator[tuple[int, bytes]]:
    """Those of the file that was stored. Behind the end of the new one is nothing."""
    last = -(-size // CHUNK)
    same = iter(unchanged.same)
    begin = end = 0
    for number, chunk in pieces(repository, unchanged.file):
        while number >= end:
            if (found := next(same, None)) is None:
                return
            begin, end = found[0] // CHUNK, found[1] // CHUNK
        if begin <= number < last:
            yield number, chunk


def _pieces(fd: int, size: int, same: Ranges) -> Iterator[tuple[int, bytes]]:
    """What is no hole, and none of the `same`. A file that becomes shorter meanwhile ends there."""
    for begin, end in but(same, 0, size):
        at = begin
        while (at := _next_data(fd, at, end)) < end:
            at -= at % CHUNK
            data = os.pread(fd, min(CHUNK, end - at), at)
            if not data:
                return
            yield at // CHUNK, data
            at += CHUNK


def _next_data(fd: int, at: int, size: int) -> int:
    if at >= size:
        return size
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise
