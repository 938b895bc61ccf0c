"""Writes an initrd. Spec: Linux Documentation/driver-api/early-userspace/buffer-format.rst."""

import stat
from collections.abc import Mapping
from typing import Final

_MAGIC: Final = "070701"
_TRAILER: Final = "TRAILER!!!"


def archive(files: Mapping[str, bytes]) -> bytes:
    """A newc archive with `files` by path, all executable, and the directories they need."""
    directories = {
        "/".join(parts[:depth])
        for parts in (path.split("/") for path in files)
        for depth in range(1, len(parts))
    }
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in sorted(directories)]
    entries += [(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    members = [_member(inode, *entry) for inode, entry in enumerate(entries, start=1)]
    return b"".join(members) + _member(0, _TRAILER, 0, b"")


def _member(inode: int, name: str, mode: int, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), length of name, checksum
    fields = (inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = (_MAGIC + "".join(f"{field:08X}" for field in fields)).encode() + encoded
    return _padded(header) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
