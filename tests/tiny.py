"""Kernels of a few bytes, so that a test about the process around a guest boots in no time.

An ELF with a multiboot 1 header, loaded at 1 MiB and entered in 32-bit protected mode.
Spec: Multiboot Specification 0.6.96, "OS image format".
"""

import struct
from pathlib import Path

BASE = 0x10_0000
_HEADERS = 52 + 32
_MULTIBOOT = struct.pack("<III", 0x1BADB002, 0, 0x1_0000_0000 - 0x1BADB002)
ENTRY = BASE + _HEADERS + len(_MULTIBOOT)

HALT = b"\xf4\xeb\xfd"  # hlt; jmp back
LOOP = b"\xeb\xfe"  # jmp to itself
# lidt [ENTRY + 8]; int3: no interrupt table, so the fault's fault faults.
TRIPLE_FAULT = b"\x0f\x01\x1d" + struct.pack("<I", ENTRY + 8) + b"\xcc" + bytes(6)
# Waits for a byte at COM1 and sends it back.
ECHO = bytes.fromhex("66bafd03 ec a801 74f7 66baf803 ec ee ebef")


def out_byte(port: int, value: int) -> bytes:
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"


def say(text: str) -> bytes:
    return b"".join(out_byte(0x3F8, byte) for byte in text.encode())


def kernel(path: Path, code: bytes) -> Path:
    """Writes a kernel that runs `code`."""
    body = _MULTIBOOT + code
    size = _HEADERS + len(body)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, ENTRY, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = struct.pack("<IIIIIIII", 1, 0, BASE, BASE, size, size, 7, 4096)
    path.write_bytes(header + segment + body)
    return path
