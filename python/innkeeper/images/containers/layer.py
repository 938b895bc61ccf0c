"""One layer over those below it.

Spec: OCI Image Format Specification, "Image Layer Filesystem Changeset".
"""

import tarfile
from collections.abc import Iterator
from typing import IO, Final

from innkeeper.errors import InvalidInput
from innkeeper.images.containers import packing
from innkeeper.images.containers.tree import Kind, Node, Tree
from innkeeper.machine.size import format_size

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"
# Others that begin so are AUFS's own notes.
_NOTE: Final = ".wh..wh."
_XATTR: Final = "SCHILY.xattr."
# Those that mean something to a guest and can be written by whoever builds; others are the host's.
_KEPT: Final = ("user.", "security.capability")
_MOST_ID: Final = 0xFFFF_FFFE
_ALL_MODE: Final = 0o7777
_PIECE: Final = 1 << 20


class Contents:
    """The content of all files, one behind the other in `file`, of `largest` bytes at most."""

    def __init__(self, file: IO[bytes], largest: int) -> None:
        self.file = file
        self.size = 0
        self._largest = largest

    def add(self, pieces: packing.Readable) -> tuple[int, int]:
        """Where it is, and how long.

        Raises:
            InvalidInput: when there is too much of it.
        """
        begin = self.size
        while data := pieces.read(_PIECE):
            self.size += len(data)
            if self.size > self._largest:
                raise InvalidInput(
                    f"the image's files are larger than {format_size(self._largest)}, "
                    "for which there is no room"
                )
            self.file.write(data)
        return begin, self.size - begin


def apply(stream: packing.Bounded, number: int, tree: Tree, contents: Contents) -> None:
    """Lays the layer `number`, an archive that is unpacked, over `tree`.

    Raises:
        InvalidInput: when it wants to be elsewhere.
        Broken: when it is damaged.
        OSError: when content cannot be written.
    """
    for member in packing.members(stream):
        _member(member, number, tree, contents, stream)


def _member(
    member: tarfile.TarInfo, number: int, tree: Tree, contents: Contents, stream: packing.Bounded
) -> None:
    above, _, name = member.name.rstrip("/").rpartition("/")
    if name == _OPAQUE:
        tree.hide_children(above, number)
        return
    if name.startswith(_NOTE):
        return
    if name.startswith(_WHITEOUT):
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in ("", "."):
            raise packing.Broken(f"{member.name!r} hides nothing")
        tree.hide(f"{above}/{hidden}", number)
        return
    if member.islnk():
        _hard_link(member, number, tree)
        return
    node = _node(member, number)
    if node is None:
        return
    if node.kind is Kind.FILE:
        node.at, node.size = contents.add(_Content(member, stream))
    tree.put(member.name, node)


def _node(member: tarfile.TarInfo, number: int) -> Node | None:
    """Nothing for device nodes, which a guest's own kernel makes."""
    if member.isdir():
        kind = Kind.DIRECTORY
    elif member.issym():
        kind = Kind.LINK
        if not member.linkname or "\0" in member.linkname:
            raise packing.Broken(f"{member.name!r} links to nothing")
    elif member.isfifo():
        kind = Kind.FIFO
    elif member.isreg():
        kind = Kind.FILE
    else:
        return None
    if not (0 <= member.uid <= _MOST_ID and 0 <= member.gid <= _MOST_ID):
        raise packing.Broken(f"{member.name!r} belongs to nobody")
    return Node(
        kind=kind,
        layer=number,
        mode=member.mode & _ALL_MODE,
        uid=member.uid,
        gid=member.gid,
        modified=member.mtime,
        xattrs={
            name: value
            for name, value in member.pax_headers.items()
            if name.startswith(_XATTR) and name.removeprefix(_XATTR).startswith(_KEPT)
        },
        target=member.linkname if kind is Kind.LINK else "",
    )


def _hard_link(member: tarfile.TarInfo, number: int, tree: Tree) -> None:
    target = tree.find(member.linkname)
    if target is None or target.kind is Kind.DIRECTORY:
        raise InvalidInput(
            f"a layer links {member.name!r} to {member.linkname!r}, which is no file of the image"
        )
    if tree.find(member.name) is not target:
        target.layer = number
        tree.put(member.name, target)


class _Content:
    """A member's content, holes as zeros."""

    def __init__(self, member: tarfile.TarInfo, stream: packing.Bounded) -> None:
        self._pieces = _sparse(member, stream) if member.issparse() else stream.content(member.size)

    def read(self, _count: int) -> bytes:
        return next(self._pieces, b"")


def _sparse(member: tarfile.TarInfo, stream: packing.Bounded) -> Iterator[bytes]:
    at = 0
    stretches: list[tuple[int, int]] = getattr(member, "sparse", None) or []
    for offset, size in (each for each in stretches if each[1]):
        if offset < at or size < 0 or offset + size > member.size:
            raise packing.Broken(f"the holes of {member.name!r} are none")
        yield from _zeros(offset - at)
        yield from stream.content(size)
        at = offset + size
    yield from _zeros(member.size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, _PIECE))
        count -= _PIECE
