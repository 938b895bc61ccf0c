"""What a guest sends as a tar archive: read without trust, unpacked without leaving a directory.

Spec: POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; GNU tar's manual, "Basic
Tar Format", for long names. Everything that is read ahead of its use is bounded, unlike in the
standard library, where a guest could fill our memory with names.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from innkeeper.errors import InnkeeperError

_BLOCK: Final = 512
# Of a long name or a pax header: no path of Linux is longer than 4096 bytes.
_LONGEST: Final = 1 << 16
_PIECE: Final = 1 << 16
# Directories in one another.
_DEEPEST: Final = 512
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Read = Callable[[int], bytes]
"""The next bytes: as many as asked for, or fewer at the end."""


class BadArchive(InnkeeperError):
    """What a guest sent is no archive, or one that wants to be elsewhere."""

    code = "bad_archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """`kind` is a type flag of the format; `size` of what follows, in bytes."""

    name: bytes
    kind: bytes
    mode: int
    size: int
    modified: int
    link: bytes = b""


class Pieces:
    """A stream that comes in pieces of any length, as one to `read` from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            take = self._rest[: count - len(got)]
            self._rest = self._rest[len(take) :]
            got += take
        return bytes(got)


def members(read: Read) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Each member with its content, which is to be read before the next is asked for, or left.

    Raises:
        BadArchive: when it is none, or ends too early.
    """
    changes: dict[str, bytes] = {}
    while (block := _exactly(read, _BLOCK)) != bytes(_BLOCK):
        member = _parse(block)
        match member.kind:
            case b"L" | b"K":
                changes["path" if member.kind == b"L" else "linkpath"] = _name(read, member)
                continue
            case b"x":
                changes.update(_pax(_extension(read, member)))
                continue
            case b"g":
                _extension(read, member)
                continue
        member = _changed(member, changes)
        changes = {}
        content = _content(read, member.size)
        yield member, content
        for _ in content:
            pass
    # The end is two blocks of zeroes; what fills the last record is whoever sends it's affair.


def _exactly(read: Read, count: int) -> bytes:
    data = read(count)
    if len(data) < count:
        raise BadArchive("what the guest sent ends in the middle")
    return data


def _parse(block: bytes) -> Member:
    total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if _number(block[148:156]) != total:
        raise BadArchive("what the guest sent is no tar archive")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = _text(block[345:500]) + b"/" + name
    kind = block[156:157]
    has_content = kind in (b"0", b"\0", b"7", b"L", b"K", b"x", b"g")
    if not has_content and kind not in b"123456":
        raise BadArchive(f"the guest sent a member of the unknown kind {kind!r}")
    return Member(
        name=name,
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        size=_number(block[124:136]) if has_content else 0,
        modified=_number(block[136:148]),
        link=_text(block[157:257]),
    )


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        # GNU: too large for octal digits.
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        if digits:
            raise BadArchive("what the guest sent is no tar archive")
        return 0
    return int(digits, 8)


def _extension(read: Read, member: Member) -> bytes:
    if member.size > _LONGEST:
        raise BadArchive(f"the guest sent a name of {member.size} bytes")
    data = _exactly(read, member.size)
    _exactly(read, -member.size % _BLOCK)
    return data


def _name(read: Read, member: Member) -> bytes:
    return _extension(read, member).rstrip(b"\0")


def _pax(data: bytes) -> dict[str, bytes]:
    found = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 6 or not int(length):
            raise BadArchive("the guest sent a damaged header")
        record, data = data[: int(length)], data[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        if key in (b"path", b"linkpath", b"size"):
            found[key.decode()] = value
    return found


def _changed(member: Member, changes: dict[str, bytes]) -> Member:
    size = changes.get("size", b"")
    if size and (not size.isdigit() or len(size) > 18):
        raise BadArchive("the guest sent a damaged header")
    return replace(
        member,
        name=changes.get("path", member.name),
        link=changes.get("linkpath", member.link),
        size=int(size) if size and member.size else member.size,
    )


def _content(read: Read, size: int) -> Iterator[bytes]:
    left = size
    while left:
        piece = _exactly(read, min(left, _PIECE))
        left -= len(piece)
        yield piece
    _exactly(read, -size % _BLOCK)


class Unpacker:
    """Puts members below the directory `root`, a descriptor. No link is followed on the way,
    wherever it came from. The first part of each name becomes `first`, where that is anything.
    """

    def __init__(self, root: int, first: bytes) -> None:
        self._root = root
        self._first = first
        # Directories get their permissions once all is in them.
        self._modes: list[tuple[list[bytes], int]] = []
        # What was not unpacked: devices and the like.
        self.left_out: list[str] = []

    def unpack(self, member: Member, content: Iterator[bytes]) -> None:
        """
        Raises:
            BadArchive: when its name leads elsewhere.
            OSError: when it cannot be made.
        """
        parts = self._parts(member.name)
        mode = member.mode & 0o777
        if member.kind == b"5" or (not parts and member.kind != b"5"):
            if member.kind != b"5":
                raise BadArchive("the guest sent something else than a directory")
            with self._directory(parts):
                self._modes.append((parts, mode))
            return
        *way, base = parts
        with self._directory(way) as parent:
            _make_room(parent, base)
            match member.kind:
                case b"0" | b"\0" | b"7":
                    self._write(parent, base, content, mode, member.modified)
                case b"2":
                    os.symlink(member.link, base, dir_fd=parent)
                case b"1":
                    *there, name = self._parts(member.link) or [b"."]
                    with self._directory(there) as source:
                        os.link(
                            name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
                        )
                case _:
                    self.left_out.append(os.fsdecode(member.name))

    def finish(self) -> None:
        """Once all members are there."""
        for parts, mode in reversed(self._modes):
            with self._directory(parts) as directory:
                os.fchmod(directory, mode)
        self._modes.clear()

    def _parts(self, name: bytes) -> list[bytes]:
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        if name.startswith(b"/") or b".." in parts or len(parts) > _DEEPEST or b"\0" in name:
            raise BadArchive(f"the guest sent a name that leads elsewhere: {name[:200]!r}")
        if not self._first:
            return parts
        return [self._first, *parts[1:]] if parts else []

    @contextlib.contextmanager
    def _directory(self, parts: list[bytes]) -> Iterator[int]:
        """The directory of this name, which is made when there is none."""
        found = os.dup(self._root)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=found)
                below = os.open(part, _DIRECTORY, dir_fd=found)
                os.close(found)
                found = below
            yield found
        finally:
            os.close(found)

    def _write(
        self, parent: int, base: bytes, content: Iterator[bytes], mode: int, modified: int
    ) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(base, flags, 0o600, dir_fd=parent), "wb") as file:
            for piece in content:
                # What is all zeros costs the host no storage, as it may have cost the guest none.
                if piece.count(0) == len(piece):
                    file.seek(len(piece), os.SEEK_CUR)
                else:
                    file.write(piece)
            file.truncate()
            os.fchmod(file.fileno(), mode)
            with contextlib.suppress(OverflowError):
                os.utime(file.fileno(), (modified, modified))


def _make_room(parent: int, base: bytes) -> None:
    """What is there and no directory gives way to what comes."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.lstat(base, dir_fd=parent).st_mode):
            os.unlink(base, dir_fd=parent)
