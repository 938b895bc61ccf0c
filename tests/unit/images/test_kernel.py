import gzip
import lzma
import struct
from pathlib import Path

import lz4.block
import pytest

from innkeeper.errors import ImageBuildFailed
from innkeeper.images import cpio, kernel

ELF = b"\x7fELF" + bytes(range(256)) * 40


def bzimage(payload: bytes, version: int = 0x20F) -> bytes:
    header = bytearray(5 * 512)
    header[0x1F1] = 4
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x206, version)
    struct.pack_into("<II", header, 0x248, 100, len(payload))
    return bytes(header) + bytes(100) + payload


def lz4_legacy(content: bytes) -> bytes:
    block = lz4.block.compress(content, store_size=False)
    size = struct.pack("<I", len(content))
    return struct.pack("<II", 0x184C2102, len(block)) + block + size


@pytest.mark.parametrize(
    "payload", [gzip.compress(ELF), lzma.compress(ELF) + b"size", lz4_legacy(ELF)]
)
def test_the_elf_is_found_in_each_packing(payload: bytes) -> None:
    assert kernel.bootable(bzimage(payload)) == ELF


def elf(*segments: tuple[int, int, int]) -> bytes:
    """An ELF header and program headers of (type, physical address, size in memory)."""
    header = bytearray(64)
    header[:4] = b"\x7fELF"
    struct.pack_into("<Q", header, 32, 64)
    struct.pack_into("<HH", header, 54, 56, len(segments))
    table = [struct.pack("<IIQQQQQQ", kind, 7, 0, 0, at, 1, n, 0) for kind, at, n in segments]
    return bytes(header) + b"".join(table)


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (elf((1, 0x100_0000, 0x5000), (1, 0x300_0000, 0x1000), (1, 0x200_0000, 1)), 0x300_1000),
        (elf((4, 0x900_0000, 0x1000), (1, 0x100_0000, 0x1000)), 0x100_1000),
        (elf((1, 0x100_0000, 0x1000), (1, 0x300_0000, 0x1000))[:-1], 0x100_1000),
        (elf(), 0),
        (b"\x7fELF", 0),
        (b"\x7fELF" + b"\xff" * 60, 0),
        (bytes(4096), 0),
    ],
)
def test_where_an_elf_ends_in_memory(tmp_path: Path, content: bytes, end: int) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    assert kernel.memory_end(path) == end


@pytest.mark.parametrize("payload", [b"BZh9 unknown packing", b""])
def test_an_unknown_packing_boots_as_it_is(payload: bytes) -> None:
    image = bzimage(payload)
    assert kernel.bootable(image) == image


@pytest.mark.parametrize("missing", range(1, 300, 23))
def test_a_truncated_kernel_is_one_sentence(missing: int) -> None:
    with pytest.raises(ImageBuildFailed, match="cannot unpack the kernel: it is truncated"):
        kernel.bootable(bzimage(lz4_legacy(ELF))[:-missing])


def test_a_kernel_of_another_length_than_it_says_is_one_sentence() -> None:
    payload = lz4_legacy(ELF)[:-4] + bytes(4)
    with pytest.raises(ImageBuildFailed, match="not as long as it says"):
        kernel.bootable(bzimage(payload))


def test_what_is_no_bzimage_is_refused() -> None:
    with pytest.raises(ImageBuildFailed, match="no bzImage"):
        kernel.bootable(b"MZ" + bytes(4096))


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    for name, depends in {
        "virtio_blk": "virtio,virtio_ring",
        "virtio_ring": "virtio",
        "virtio": "",
    }.items():
        text = f"\0license=GPL\0depends={depends}\0name={name}\0".encode()
        (tmp_path / f"{name}.ko").write_bytes(text)
    (tmp_path / "virtio-rng.ko.xz").write_bytes(lzma.compress(b"\0depends=virtio\0"))
    order = kernel.module_order(tmp_path, ["virtio-blk", "virtio_rng", "built_in"])
    names = [path.name for path in order]
    assert names == ["virtio.ko", "virtio_ring.ko", "virtio_blk.ko", "virtio-rng.ko.xz"]


def test_an_initrd_is_a_newc_archive_with_its_directories() -> None:
    archive = cpio.archive({"init": b"program", "modules/a": b"x"})
    assert archive.startswith(b"070701")
    assert len(archive) % 4 == 0
    names = [archive[at + 110 :].split(b"\0", 1)[0] for at in _members(archive)]
    assert names == [b"modules", b"init", b"modules/a", b"TRAILER!!!"]


def _members(archive: bytes) -> list[int]:
    positions, at = [], 0
    while at < len(archive):
        positions.append(at)
        size = int(archive[at + 54 : at + 62], 16)
        name = int(archive[at + 94 : at + 102], 16)
        at += (110 + name + 3) // 4 * 4
        at += (size + 3) // 4 * 4
    return positions
