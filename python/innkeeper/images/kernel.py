"""Inside a Debian kernel package: the ELF in a bzImage, and the order of its modules.

Guests boot the ELF by PVH instead of the bzImage: unpacking on the host takes a fraction of a
second, unpacking in a guest hundreds of millions of guest instructions.
Spec: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"; LZ4 legacy frames as
in lz4_Frame_format.md, "Legacy frame".
"""

import gzip
import lzma
import os
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import lz4.block

from innkeeper.errors import ImageBuildFailed

_ELF: Final = b"\x7fELF"
_ELF_HEADER: Final = 64
_E_PHOFF: Final = 32
_E_PHENTSIZE: Final = 54  # then e_phnum
_PT_LOAD: Final = 1
# Type, flags, offset, virtual and physical address, size in the file and in memory, alignment.
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_LZ4_LEGACY: Final = 0x184C2102
_LZ4_BLOCK: Final = 8 << 20
_SETUP_SECTS: Final = 0x1F1
_MAGIC: Final = 0x202
_VERSION: Final = 0x206
_PAYLOAD: Final = 0x248
_FIRST_VERSION_WITH_PAYLOAD: Final = 0x208


def bootable(bzimage: bytes) -> bytes:
    """The ELF kernel inside `bzimage`, or `bzimage` itself where its packing is not known to us.

    Raises:
        ImageBuildFailed: when it is no bzImage, or a damaged one.
    """
    if len(bzimage) < _PAYLOAD + 8 or bzimage[_MAGIC : _MAGIC + 4] != b"HdrS":
        raise ImageBuildFailed("the kernel package has no bzImage in it")
    (version,) = struct.unpack_from("<H", bzimage, _VERSION)
    if version < _FIRST_VERSION_WITH_PAYLOAD:
        return bzimage
    setup = ((bzimage[_SETUP_SECTS] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", bzimage, _PAYLOAD)
    payload = bzimage[setup + offset : setup + offset + length]
    if len(payload) < length:
        raise ImageBuildFailed("cannot unpack the kernel: it is truncated")
    try:
        kernel = _unpack(payload)
    except (OSError, EOFError, ValueError, RuntimeError, lzma.LZMAError, zlib.error) as error:
        raise ImageBuildFailed(f"cannot unpack the kernel: {error}") from error
    return kernel if kernel.startswith(_ELF) else bzimage


def _unpack(payload: bytes) -> bytes:
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:4] == _LZ4_LEGACY.to_bytes(4, "little"):
        # The kernel's build appends the size of the ELF to the frame.
        kernel = b"".join(_lz4_blocks(payload[4:-4]))
        if len(kernel) != int.from_bytes(payload[-4:], "little"):
            raise ValueError("it is not as long as it says")
        return kernel
    return b""


def _lz4_blocks(frame: bytes) -> Iterable[bytes]:
    position = 0
    while position + 4 <= len(frame):
        (size,) = struct.unpack_from("<I", frame, position)
        position += 4
        if size == 0 or position + size > len(frame):
            break
        block = frame[position : position + size]
        yield lz4.block.decompress(block, uncompressed_size=_LZ4_BLOCK)
        position += size


def memory_end(kernel: Path) -> int:
    """The guest-physical address behind all that an ELF kernel loads; 0 for one that is no ELF.

    Spec: System V ABI, "ELF Header" and "Program Header".
    """
    with kernel.open("rb") as file:
        header = file.read(_ELF_HEADER)
        if len(header) < _ELF_HEADER or not header.startswith(_ELF):
            return 0
        (table,) = struct.unpack_from("<Q", header, _E_PHOFF)
        size, count = struct.unpack_from("<HH", header, _E_PHENTSIZE)
        segments = b""
        if table < os.fstat(file.fileno()).st_size:
            file.seek(table)
            segments = file.read(size * count)
    end = 0
    for at in range(0, len(segments) - _SEGMENT.size + 1, max(size, _SEGMENT.size)):
        kind, _, _, _, address, _, length, _ = _SEGMENT.unpack_from(segments, at)
        if kind == _PT_LOAD:
            end = max(end, address + length)
    return end


def module_order(modules: Path, wanted: Iterable[str]) -> list[Path]:
    """The files of `wanted` modules and of all that they depend on, dependencies first.

    Modules that the kernel has built in, or does not have, are left out. `modules` is
    lib/modules/RELEASE. The dependencies are in each module's own `.modinfo` section, so that no
    depmod has to have run.
    """
    files = {_module_name(path): path for path in modules.rglob("*.ko*")}
    order: list[Path] = []
    seen: set[str] = set()

    def visit(name: str) -> None:
        if name in seen or name not in files:
            return
        seen.add(name)
        for dependency in _depends(read_module(files[name])):
            visit(dependency)
        order.append(files[name])

    for name in wanted:
        visit(name.replace("-", "_"))
    return order


def read_module(path: Path) -> bytes:
    """A module's ELF, unpacked where the distribution packs its modules."""
    match path.suffix:
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".ko":
            return path.read_bytes()
        case other:
            raise ImageBuildFailed(f"kernel modules packed as {other} are not known here")


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _depends(module: bytes) -> list[str]:
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    if match is None or not match[1]:
        return []
    return [name.replace("-", "_") for name in match[1].decode("ascii", "replace").split(",")]
