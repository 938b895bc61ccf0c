"""Guests that firmware boots: unmodified, as Debian packages it."""

import subprocess
from pathlib import Path

import pytest
from tests.boot import packages
from tests.conftest import Inn

ENGINES = ["interpreter", "translator"]

# A boot sector: prints by the BIOS, which its console shows on the serial port, then by itself, and
# switches the machine off by its power management registers.
SECTOR = """\
bits 16
org 7c00h
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7c00h
        sti
        mov si, bios
next:   lodsb
        test al, al
        jz own
        mov ah, 0eh
        mov bx, 7
        int 10h
        jmp next
own:    mov si, text
        mov dx, 3f8h
one:    lodsb
        test al, al
        jz off
        out dx, al
        jmp one
off:    mov dx, 604h
        mov ax, 3400h
        out dx, ax
        hlt
; Its console on the serial port keeps the last characters back.
bios:   db "by the BIOS", 13, 10, "....", 0
text:   db "by the port", 13, 10, 0
        times 510-($-$$) db 0
        dw 0aa55h
"""


def seabios() -> Path:
    return packages.file("seabios", "usr/share/seabios/bios-256k.bin")


def boot_sector(directory: Path) -> Path:
    source, disk = directory / "sector.asm", directory / "disk.img"
    source.write_text(SECTOR)
    subprocess.run(["nasm", "-f", "bin", "-o", disk, source], check=True)
    with disk.open("r+b") as file:
        file.truncate(1 << 20)
    return disk


@pytest.mark.parametrize("engine", ENGINES)
def test_a_boot_sector_runs_by_seabios(inn: Inn, engine: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    result = inn(
        "run",
        *("--engine", engine, "--memory", "64M", "--network", "none"),
        *("--firmware", seabios(), "--firmware-log", log, "--boot", "disk"),
        *("--disk", boot_sector(tmp_path)),
    )
    assert result.returncode == 0, result.stderr
    said = log.read_bytes()
    assert b"SeaBIOS (version 1." in said
    assert b"QEMU fw_cfg DMA interface supported" in said
    assert b"Booting from Hard Disk..." in said
    assert b"by the BIOS" in result.stdout
    assert b"by the port\r\n" in result.stdout
