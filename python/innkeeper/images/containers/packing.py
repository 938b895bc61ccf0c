"""Layers as they are packed: gzip, zstd or not at all, and a tar archive inside.

The archive is read by the standard library, which believes what it reads: a header may say that a
name has 8 GiB. So it reads through a file that only goes forward, and gives no more than a header
may have between two members.
Spec: RFC 1952; RFC 8878; POSIX.1-2017 pax, "ustar Interchange Format".
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Protocol, cast

import zstandard

from innkeeper.errors import InvalidInput
from innkeeper.machine.size import format_size

# What unpacks to more is refused, whatever it says of itself.
LARGEST: Final = 64 << 30
_PIECE: Final = 1 << 20
# Of one member: long names, extended attributes, and the map of a sparse file.
_HEADER: Final = 4 << 20
# What an encoder may want to look back; zstd's own program has the same limit.
_WINDOW: Final = 128 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
# What goes wrong when something is no more packed than it says.
UNPACKING: Final = (OSError, EOFError, zlib.error, zstandard.ZstdError)


class Broken(Exception):
    """What was read is not what it should be, in words."""


class Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


class Bounded:
    """A stream as a file that only goes forward, for the standard library's reader of archives."""

    def __init__(self, stream: Readable, largest: int = LARGEST) -> None:
        self._stream = stream
        self._largest = largest
        self._at = 0
        self._header = _HEADER

    def next_member(self) -> None:
        """What comes now is the header of another."""
        self._header = _HEADER

    def read(self, count: int = -1) -> bytes:
        """For who reads headers."""
        self._header -= count
        if count < 0 or self._header < 0:
            raise Broken("a header is larger than any is")
        return self._read(count)

    def content(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes, in pieces.

        Raises:
            Broken: when there are fewer.
        """
        while count:
            data = self._read(min(count, _PIECE))
            if not data:
                raise Broken("it ends too early")
            count -= len(data)
            yield data

    def drain(self) -> None:
        """To the end, whatever is there."""
        while self._read(_PIECE):
            pass

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise Broken("a member lies before its header")
        if isinstance(self._stream, io.BufferedReader):
            # Whether there is so much of it, the reader asks by itself.
            self._at = self._stream.seek(offset - self._at, io.SEEK_CUR)
            return self._at
        for _ in self.content(offset - self._at):
            pass
        return self._at

    def _read(self, count: int) -> bytes:
        pieces = []
        while count:
            try:
                data = self._stream.read(count)
            except UNPACKING as error:
                raise Broken(f"it cannot be unpacked: {error}") from error
            if not data:
                break
            pieces.append(data)
            count -= len(data)
            self._at += len(data)
            if self._at > self._largest:
                raise Broken(f"it is larger than {format_size(self._largest)}")
        return b"".join(pieces)


def members(file: Bounded) -> Iterator[tarfile.TarInfo]:
    """The members of an archive. Their content is read before the next is asked for, or left.

    Raises:
        Broken: when it is no archive, or not a whole one.
    """
    try:
        # Names of other encodings stay what they are.
        with tarfile.open(
            fileobj=cast("IO[bytes]", file), mode="r:", errors="surrogateescape", encoding="utf-8"
        ) as archive:
            while (member := archive.next()) is not None:
                if member.size < 0:
                    raise Broken(f"{member.name!r} has a size below nothing")
                # It would remember them all.
                archive.members = []  # type: ignore[attr-defined]
                yield member
                file.next_member()
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        raise Broken(str(error) or "it is damaged") from error


def unpacked(stream: Readable) -> Readable:
    """What is packed in `stream`, by its first bytes."""
    first = stream.read(4)
    whole = _Again(first, stream)
    if first.startswith(_GZIP):
        return gzip.GzipFile(fileobj=cast("IO[bytes]", whole), mode="rb")
    if first == _ZSTD:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        return decompressor.stream_reader(cast("IO[bytes]", whole), read_across_frames=True)
    return whole


def is_packed(file: IO[bytes]) -> bool:
    first = file.read(4)
    file.seek(0)
    return first.startswith(_GZIP) or first == _ZSTD


def unpack(file: IO[bytes], target: Path, what: str) -> None:
    """
    Raises:
        InvalidInput: when it cannot be, or is larger than anything may be.
    """
    stream, size = unpacked(file), 0
    try:
        with target.open("wb") as out:
            while data := stream.read(_PIECE):
                size += len(data)
                if size > LARGEST:
                    raise InvalidInput(f"{what} unpacks to more than {format_size(LARGEST)}")
                out.write(data)
    except UNPACKING as error:
        raise InvalidInput(f"{what} cannot be unpacked: {error}") from error


class _Again:
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, stream: Readable) -> None:
        self._first, self._stream = first, stream

    def read(self, count: int = -1) -> bytes:
        if self._first:
            if count < 0:
                count = len(self._first)
            data, self._first = self._first[:count], self._first[count:]
            return data
        return self._stream.read(count)
