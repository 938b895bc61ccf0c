"""Disks with a FAT file system, as UEFI firmware boots from.

Spec: Microsoft FAT specification, "Boot Sector and BPB", "Directory Structure".
"""

import struct
from collections.abc import Mapping
from typing import Final

_SECTOR: Final = 512
_CLUSTER: Final = 8 * _SECTOR
_TABLE_SECTORS: Final = 64
_ROOT_ENTRIES: Final = 512
_SECTORS: Final = 65536
_END: Final = 0xFFFF
_DIRECTORY: Final = 0x10


def disk(files: Mapping[str, bytes]) -> bytes:
    """FAT16 of 32 MiB with these files, by their paths; names have eight letters and three."""
    return _Volume().image(files)


class _Volume:
    def __init__(self) -> None:
        # What the first two entries are for.
        self._table = [0xFFF8, _END]
        self._clusters = bytearray()

    def image(self, files: Mapping[str, bytes]) -> bytes:
        root = self._directory(files, 0)
        boot = bytearray(_SECTOR)
        boot[:3] = b"\xeb\x3c\x90"
        boot[3:11] = b"INNKEEPR"
        boot[11:36] = struct.pack(
            "<HBHBHHBHHHII",
            *(_SECTOR, _CLUSTER // _SECTOR, 1, 2, _ROOT_ENTRIES, 0, 0xF8, _TABLE_SECTORS),
            *(63, 16, 0, _SECTORS),
        )
        boot[36:62] = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 1, b"INNKEEPER  ", b"FAT16   ")
        boot[510:] = b"\x55\xaa"
        table = struct.pack(f"<{len(self._table)}H", *self._table)
        tables = table.ljust(_TABLE_SECTORS * _SECTOR, b"\0") * 2
        image = bytes(boot) + tables + root.ljust(_ROOT_ENTRIES * 32, b"\0") + self._clusters
        return image.ljust(_SECTORS * _SECTOR, b"\0")

    def _directory(self, files: Mapping[str, bytes], above: int) -> bytes:
        """The entries of a directory, what is below it written already."""
        entries = b""
        for name in sorted({path.partition("/")[0] for path in files}):
            below = {
                path.removeprefix(f"{name}/"): content
                for path, content in files.items()
                if path.startswith(f"{name}/")
            }
            if below:
                inside = self._directory(below, above)
                own = len(self._table)
                dots = _entry(b".          ", _DIRECTORY, own, 0)
                dots += _entry(b"..         ", _DIRECTORY, above, 0)
                self._store(dots + inside)
                entries += _entry(_short(name), _DIRECTORY, own, 0)
            else:
                first = self._store(files[name])
                entries += _entry(_short(name), 0, first, len(files[name]))
        return entries

    def _store(self, content: bytes) -> int:
        """The first cluster of it."""
        first = len(self._table)
        count = max(-(-len(content) // _CLUSTER), 1)
        self._table += [*range(first + 1, first + count), _END]
        self._clusters += content.ljust(count * _CLUSTER, b"\0")
        return first


def _short(name: str) -> bytes:
    stem, _, kind = name.partition(".")
    return f"{stem:8}{kind:3}".encode()


def _entry(name: bytes, attributes: int, first: int, size: int) -> bytes:
    return struct.pack("<11sB14xHI", name, attributes, first, size)
