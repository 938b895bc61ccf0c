"""A parallel port: what BIOS and Linux print there is in the file, as far as it may be."""

import subprocess
from pathlib import Path

import pytest
from tests.boot import initrd, packages
from tests.conftest import Inn

# A boot sector that prints by the BIOS, which has found the port, and switches the machine off.
SECTOR = """\
bits 16
org 7c00h
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7c00h
        sti
        mov ax, 0100h           ; initialises the printer
        xor dx, dx
        int 17h
        mov si, text
next:   lodsb
        test al, al
        jz off
        mov ah, 0
        xor dx, dx
        int 17h
        jmp next
off:    mov dx, 604h
        mov ax, 3400h
        out dx, ax
        hlt
text:   db "by the BIOS", 13, 10, 12, 0
        times 510-($-$$) db 0
        dw 0aa55h
"""
PRINTED = b"by the BIOS\r\n\f"

LINUX = """\
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
echo by Linux > /dev/lp0
busybox grep parport /proc/interrupts
busybox poweroff -f
"""


def floppy(directory: Path) -> Path:
    source, disk = directory / "sector.asm", directory / "floppy.img"
    source.write_text(SECTOR)
    subprocess.run(["nasm", "-f", "bin", "-o", disk, source], check=True)
    return disk


def boot(inn: Inn, directory: Path, parallel: str, engine: str = "interpreter") -> None:
    result = inn(
        "run",
        *("--engine", engine, "--memory", "16M", "--network", "none"),
        *("--firmware", packages.file("seabios", "usr/share/seabios/bios-256k.bin")),
        *("--floppy", floppy(directory), "--parallel", parallel),
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("engine", ["interpreter", "translator"])
def test_what_is_printed_by_the_bios_is_appended(inn: Inn, engine: str, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    paper.write_bytes(b"before\n")
    boot(inn, tmp_path, str(paper), engine)
    assert paper.read_bytes() == b"before\n" + PRINTED


def test_a_printer_with_little_paper_prints_little(inn: Inn, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    paper.write_bytes(bytes(1020))
    boot(inn, tmp_path, f"{paper},limit=1K")
    assert paper.read_bytes() == bytes(1020) + PRINTED[:4]


def test_linux_finds_it_in_its_tables_and_prints(inn: Inn, tmp_path: Path) -> None:
    linux = "linux-image-amd64"
    drivers = initrd.modules(
        linux,
        "kernel/drivers/*",
        "kernel/drivers/parport/parport_pc.ko*",
        "kernel/drivers/char/lp.ko*",
    )
    paper = tmp_path / "paper"
    result = inn(
        "run",
        *("--engine", "translator", "--memory", "256M", "--network", "none"),
        *("--kernel", packages.file(linux, "boot/vmlinuz-*")),
        *("--initrd", initrd.busybox(tmp_path / "initrd", initrd.LOAD + LINUX, files=drivers)),
        *("--append", "console=ttyS0 quiet", "--parallel", paper),
    )
    assert result.returncode == 0, result.stderr
    assert paper.read_bytes() == b"by Linux\n", result.stdout
    assert b"parport0" in result.stdout
