"""A tree as a tar archive, which holds no surprise for whoever unpacks it.

Spec: POSIX.1-2017 pax, "pax Header Block"; for extended attributes GNU tar's manual,
"Extended File Attributes".
"""

import tarfile
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import IO, Final

from innkeeper.images.containers.tree import Kind, Node, Tree

_TYPES: Final = {
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.FILE: tarfile.REGTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
}


def write(tree: Tree, contents: IO[bytes], target: Path, done: Callable[[int], None]) -> None:
    """Each file once and by its other names as hard links. `done` hears of bytes.

    Raises:
        OSError: when it cannot be written.
    """
    first: dict[int, str] = {}
    written = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as archive:
        archive.addfile(_member("./", tree.root))
        for path, node in tree.walk():
            member = _member(f"./{path}", node)
            earlier = first.setdefault(id(node), member.name)
            if earlier != member.name and node.kind is not Kind.DIRECTORY:
                member.type, member.linkname, member.size = tarfile.LNKTYPE, earlier, 0
                member.pax_headers = {}
            if member.size:
                contents.seek(node.at)
                archive.addfile(member, contents)
                written += member.size
                done(written)
            else:
                archive.addfile(member)


def _member(name: str, node: Node) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = _TYPES[node.kind]
    member.mode, member.uid, member.gid = node.mode, node.uid, node.gid
    # What came before 1970 or comes after 2100 is nothing that tar would agree to.
    member.mtime = int(min(max(node.modified, 0), 0xFFFF_FFFF)) if isfinite(node.modified) else 0
    member.size = node.size if node.kind is Kind.FILE else 0
    member.linkname = node.target
    member.pax_headers = dict(node.xattrs)
    return member
