"""Where the parts of a container's image are: in a directory, or in a tar archive.

Nothing of it is believed: a part is as long as it was said to be, and has the digest that names it,
or it is refused.
"""

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final, Protocol

from innkeeper.errors import InvalidInput
from innkeeper.images.containers import packing

# Of a document: the specification lets registries refuse larger ones.
LARGEST_DOCUMENT: Final = 4 << 20
_MOST_MEMBERS: Final = 10_000
_MOST_LINKS: Final = 8
_DIGEST: Final = re.compile(r"sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})")


class Blobs(Protocol):
    def open(self, name: str) -> "Part | IO[bytes]":
        """The file `name`, a path with slashes.

        Raises:
            InvalidInput: when there is none.
        """

    def size(self, name: str) -> int: ...


class Directory:
    """A directory, of which no link leads out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._real = path.resolve()

    def open(self, name: str) -> "Part | IO[bytes]":
        return self._found(name).open("rb")

    def size(self, name: str) -> int:
        return self._found(name).stat().st_size

    def _found(self, name: str) -> Path:
        path = self._path / name
        try:
            real = path.resolve(strict=True)
            regular = stat.S_ISREG(real.stat().st_mode)
        except (OSError, RuntimeError, ValueError) as error:
            raise InvalidInput(f"the image in {self._path} lacks {name}") from error
        if not regular or not real.is_relative_to(self._real):
            raise InvalidInput(f"{path} is no file of this image")
        if not os.access(real, os.R_OK):
            raise InvalidInput(f"{path} cannot be read")
        return real


class Archive:
    """A tar archive, whose members may be links to others of its members."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        bounded = packing.Bounded(file)
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            for count, member in enumerate(packing.members(bounded)):
                if count >= _MOST_MEMBERS:
                    raise InvalidInput(f"{path} has more than {_MOST_MEMBERS} members")
                self._members[_plain(member.name)] = member
        except packing.Broken as error:
            raise InvalidInput(f"{path} is no whole tar archive: {error}") from error

    def open(self, name: str) -> "Part | IO[bytes]":
        member = self._found(name)
        return Part(self._file, member.offset_data, member.size)

    def size(self, name: str) -> int:
        return self._found(name).size

    def _found(self, name: str) -> tarfile.TarInfo:
        wanted = _plain(name)
        for _ in range(_MOST_LINKS):
            member = self._members.get(wanted)
            if member is None:
                break
            if member.isreg() and not member.issparse():
                return member
            if member.issym():
                # Old versions of docker save have one layer twice by such.
                wanted = _plain(os.path.normpath(PurePosixPath(wanted).parent / member.linkname))
            elif member.islnk():
                wanted = _plain(member.linkname)
            else:
                break
        raise InvalidInput(f"the image in {self._path} lacks {name}")


class Part:
    """A stretch of a file, as a file."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size

    def read(self, count: int = -1) -> bytes:
        left = self._end - self._at
        count = left if count < 0 else min(count, left)
        data = os.pread(self._file.fileno(), count, self._at)
        self._at += len(data)
        return data

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def opened(path: Path, scratch: Path, *, archive: bool) -> Iterator[Blobs]:
    """The parts of the image at `path`. An archive that is compressed is unpacked into `scratch`.

    Raises:
        InvalidInput: when it is no directory, or no archive.
    """
    if not archive:
        if not path.is_dir():
            raise InvalidInput(f"{path} is no directory with an OCI image layout")
        yield Directory(path)
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidInput(f"cannot open {path}: {error.strerror}") from error
    with file:
        if packing.is_packed(file):
            plain = scratch / "archive.tar"
            packing.unpack(file, plain, str(path))
            with plain.open("rb") as unpacked:
                yield Archive(path, unpacked)
        else:
            yield Archive(path, file)


def document(blobs: Blobs, name: str) -> bytes:
    """
    Raises:
        InvalidInput: when it is not there, or larger than any document is.
    """
    if blobs.size(name) > LARGEST_DOCUMENT:
        raise InvalidInput(f"{name} of the image is larger than any document is")
    with blobs.open(name) as file:
        return file.read(LARGEST_DOCUMENT)


def place(digest: str) -> str:
    """Where a layout has what has this digest.

    Raises:
        InvalidInput: when it is no digest of a kind that is known.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise InvalidInput(f"{digest!r} is no digest")
    return f"blobs/{digest.replace(':', '/')}"


class Checked:
    """Reads a part, and finds out whether it was the one that was wanted."""

    def __init__(self, file: packing.Readable, digest: str, what: str) -> None:
        self._file, self._digest, self._what = file, digest, what
        self._hash = hashlib.new(digest.partition(":")[0])
        self.count = 0

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self._hash.update(data)
        self.count += len(data)
        return data

    def finish(self) -> None:
        """
        Raises:
            InvalidInput: when what was read, and all behind it, is something else.
        """
        while self.read(1 << 20):
            pass
        if self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise InvalidInput(f"{self._what} does not have the digest {self._digest}")


def _plain(name: str) -> str:
    return os.path.normpath(name).lstrip("/")
