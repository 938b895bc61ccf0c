"""The files of a package: beside its descriptor, or in one tar archive. What the manifest says of
them is checked.

Spec: DMTF DSP0243, "OVF package", "Distribution as a single file", "Manifest".
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images.containers import packing
from innkeeper.services.ovf.markup import LARGEST

_PIECE: Final = 1 << 20
_MOST_MEMBERS: Final = 1000
_LARGEST_DISK: Final = 8 << 40
_LINE: Final = re.compile(r"(SHA1|SHA256|SHA512)\s*\((.{1,255})\)\s*=\s*([0-9a-fA-F]{40,128})")

Progress = Callable[[int, int], object]


class Package(Protocol):
    """`name` is the descriptor's."""

    name: str

    def document(self, name: str) -> bytes | None:
        """A small file, if it is there."""

    def size(self, name: str) -> int:
        """
        Raises:
            InvalidInput: when it is not there, or nothing that a package has.
        """

    def pieces(self, name: str) -> Iterator[bytes]: ...


class Directory:
    """Files beside a descriptor."""

    def __init__(self, descriptor: Path) -> None:
        self.name = descriptor.name
        self._directory = descriptor.parent

    def document(self, name: str) -> bytes | None:
        if not os.path.lexists(self._directory / name):
            return None
        path = self._path(name)
        try:
            with path.open("rb") as file:
                return file.read(LARGEST + 1)
        except OSError as error:
            raise InvalidInput(f"cannot read {path}: {error.strerror}") from error

    def size(self, name: str) -> int:
        path = self._path(name)
        try:
            return path.stat().st_size
        except OSError as error:
            raise InvalidInput(f"the package lacks {path}") from error

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._path(name).open("rb") as file:
            while data := file.read(_PIECE):
                yield data

    def _path(self, name: str) -> Path:
        path = self._directory / name
        # Somebody else's links lead to files that are not meant for guests.
        if "/" in name or name in ("", ".", "..") or path.is_symlink() or not path.is_file():
            raise InvalidInput(f"{name!r} is no file beside the descriptor {self.name}")
        return path


class Archive:
    """The members of an OVA, of which the first is the descriptor."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._file = file
        self._members: dict[str, tarfile.TarInfo] = {}
        largest = os.fstat(file.fileno()).st_size
        try:
            for member in packing.members(packing.Bounded(file, largest)):
                if len(self._members) >= _MOST_MEMBERS:
                    raise InvalidInput(f"{path} has more members than any package")
                if member.isreg() and not member.issparse():
                    self._members.setdefault(member.name.removeprefix("./"), member)
        except packing.Broken as error:
            raise InvalidInput(f"{path} is no whole OVA: {error}") from error
        found = [name for name in self._members if name.lower().endswith(".ovf")]
        if not found:
            raise InvalidInput(f"{path} is no OVA: it has no descriptor")
        self.name = found[0]

    def document(self, name: str) -> bytes | None:
        member = self._members.get(name)
        if member is None:
            return None
        return os.pread(self._file.fileno(), min(member.size, LARGEST + 1), member.offset_data)

    def size(self, name: str) -> int:
        if name not in self._members:
            raise InvalidInput(f"the package lacks {name}")
        return self._members[name].size

    def pieces(self, name: str) -> Iterator[bytes]:
        member = self._members[name]
        at, end = member.offset_data, member.offset_data + member.size
        while at < end:
            data = os.pread(self._file.fileno(), min(_PIECE, end - at), at)
            if not data:
                raise InvalidInput(f"the package ends in the middle of {name}")
            at += len(data)
            yield data


@contextmanager
def opened(path: Path) -> Iterator[Package]:
    """
    Raises:
        InvalidInput: when there is no package.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidInput(f"cannot open {path}: {error.strerror}") from error
    with file:
        if path.suffix.lower() == ".ovf":
            yield Directory(path)
        else:
            yield Archive(path, file)


def manifest(package: Package) -> dict[str, tuple[str, str]]:
    """The kind of digest and the digest of each file that the package's manifest names.

    Raises:
        InvalidInput: when it is none.
    """
    data = package.document(f"{package.name[:-4]}.mf")
    if data is None:
        return {}
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InvalidInput(
                f"the manifest of {package.name} has a line that says nothing: {line[:60]!r}"
            )
        found[match[2]] = (match[1].lower(), match[3].lower())
    return found


def check(data: bytes, name: str, wanted: dict[str, tuple[str, str]]) -> None:
    """
    Raises:
        InvalidInput: when it is not what the manifest says.
    """
    if name in wanted:
        kind, digest = wanted[name]
        if hashlib.new(kind, data).hexdigest() != digest:
            raise InvalidInput(f"{name} is not what the package's manifest says")


def extract(
    package: Package,
    name: str,
    target: Path,
    wanted: dict[str, tuple[str, str]],
    progress: Progress,
) -> None:
    """Copies a file of the package, which is checked meanwhile.

    Raises:
        InvalidInput: when it is not there, or not what the manifest says.
        HostFailure: when it cannot be written.
    """
    size = package.size(name)
    if size > _LARGEST_DISK:
        raise InvalidInput(f"{name} of the package is larger than any disk")
    kind, digest = wanted.get(name, ("", ""))
    hasher = hashlib.new(kind) if kind else None
    done = 0
    try:
        with target.open("wb") as out:
            for data in package.pieces(name):
                if hasher is not None:
                    hasher.update(data)
                out.write(data)
                done += len(data)
                progress(done, size)
    except OSError as error:
        raise HostFailure(f"cannot write {target}: {error.strerror}") from error
    if hasher is not None and hasher.hexdigest() != digest:
        raise InvalidInput(f"{name} is not what the package's manifest says")


def write(path: Path, descriptor: tuple[str, bytes], files: list[Path], progress: Progress) -> None:
    """Makes the OVA `path`: the descriptor, the manifest, and the files.

    Raises:
        OSError: when it cannot be written.
    """
    name, document = descriptor
    total = sum(each.stat().st_size for each in files)
    digests = [(name, hashlib.sha256(document).hexdigest())]
    done = 0
    for each in files:
        with each.open("rb") as file:
            digests.append((each.name, hashlib.file_digest(file, "sha256").hexdigest()))
    lines = "".join(f"SHA256({each})= {digest}\n" for each, digest in digests)
    with tarfile.open(
        path, "w", format=tarfile.USTAR_FORMAT if total < 8 << 30 else tarfile.GNU_FORMAT
    ) as archive:
        for called, data in ((name, document), (f"{name[:-4]}.mf", lines.encode())):
            member = _member(called, len(data))
            archive.addfile(member, io.BytesIO(data))
        for each_file in files:
            with each_file.open("rb") as file:
                archive.addfile(_member(each_file.name, each_file.stat().st_size), file)
            done += each_file.stat().st_size
            progress(done, total)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
