"""`make bench-old-world`: how fast systems of the old world draw and read their disk.

    python -m benches.old_world [--inn INN] [--no-page]

A boot sector under SeaBIOS fills and copies pictures of mode 13h in the window at A0000h, draws in
planes there, scrolls text, and reads sectors of an IDE disk by `rep insw`. It says on the serial
port where it is, and the time between is taken here. `--inn` measures another build's command.
Writes docs/reference/old-world.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.boot import packages

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "old-world.md"
_INN: Final = Path(sys.executable).with_name("inn")
_PICTURE: Final = 64_000  # bytes
_PICTURES: Final = 20
_SECTORS: Final = 1000
_SECTOR: Final = f"""\
bits 16
org 7c00h
        cli
        cld
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7c00h
        mov ax, 13h
        int 10h
        cli
        mov ax, 0a000h
        mov es, ax
        mov al, 'a'
        call say
        mov dx, {_PICTURES}
fill:   xor di, di
        mov ax, dx
        mov cx, {_PICTURE}
        rep stosb
        dec dx
        jnz fill
        mov al, 'b'
        call say
        mov ax, 1000h
        mov ds, ax
        mov dx, {_PICTURES}
copy:   xor di, di
        xor si, si
        mov cx, {_PICTURE // 2}
        rep movsw
        dec dx
        jnz copy
        xor ax, ax
        mov ds, ax
        mov al, 'c'
        call say
        mov ax, 12h
        int 10h
        cli
        mov al, 'd'
        call say
        mov bx, {_PICTURES}
plane:  xor di, di
        mov cx, 38400
        rep stosb
        dec bx
        jnz plane
        mov al, 'e'
        call say
        mov ax, 2000h
        mov es, ax
        mov bx, {_SECTORS}
sector: mov dx, 1f2h
        mov al, 1
        out dx, al
        inc dx
        xor al, al
        out dx, al
        inc dx
        out dx, al
        inc dx
        out dx, al
        inc dx
        mov al, 0e0h
        out dx, al
        inc dx
        mov al, 20h
        out dx, al
ready:  in al, dx
        test al, 80h
        jnz ready
        test al, 8
        jz ready
        xor di, di
        mov cx, 256
        mov dx, 1f0h
        rep insw
        dec bx
        jnz sector
        mov al, 'f'
        call say
        mov dx, 604h
        mov ax, 3400h
        out dx, ax
        hlt
say:    push dx
        mov dx, 3f8h
        out dx, al
        pop dx
        ret
        times 510-($-$$) db 0
        dw 0aa55h
"""
# Where each begins and ends, what it is called, and bytes.
_PHASES: Final = (
    ("ab", "fill pictures of mode 13h, `rep stosb`", _PICTURES * _PICTURE),
    ("bc", "copy pictures of mode 13h, `rep movsw`", _PICTURES * _PICTURE),
    ("de", "fill planes of mode 12h, `rep stosb`", _PICTURES * 38_400),
    ("ef", "read an IDE disk, `rep insw`", _SECTORS * 512),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    what: str
    size: int  # bytes
    seconds: float

    @property
    def rate(self) -> float:
        """MB a second."""
        return self.size / self.seconds / 1e6


def measure(inn: Path, engine: str, disk: Path) -> list[Row]:
    """Nothing where the host has no such engine."""
    bios, rom = (
        packages.file("seabios", f"usr/share/seabios/{name}.bin")
        for name in ("bios-256k", "vgabios-stdvga")
    )
    words = ("--memory", "64M", "--network", "none", "--boot", "disk")
    seat = ("--display", f"vga,rom={rom}", "--firmware", bios, "--disk", f"{disk},bus=ide")
    command: list[str | Path] = [inn, "run", "--engine", engine, *words, *seat]
    seen: dict[str, float] = {}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as guest:
        assert guest.stdout is not None
        while said := os.read(guest.stdout.fileno(), 1):
            # The BIOS says more than that before; the last is the sector's.
            seen[said.decode("latin-1")] = time.monotonic()
    if guest.returncode != 0 or not {"a", "f"} <= seen.keys():
        return []
    return [
        Row(what=what, size=size, seconds=max(seen[end] - seen[begin], 1e-6))
        for (begin, end), what, size in _PHASES
    ]


def made(directory: Path) -> Path:
    source, disk = directory / "sector.asm", directory / "disk.img"
    source.write_text(_SECTOR)
    subprocess.run(["nasm", "-f", "bin", "-o", disk, source], check=True)
    with disk.open("r+b") as file:
        file.truncate(1 << 20)
    return disk


def page(measured: dict[str, list[Row]]) -> str:
    head = ["what a boot sector does", *(f"{engine}, MB/s" for engine in measured)]
    lines = [
        "# How fast the old world is",
        "",
        "Made by `make bench-old-world`: a boot sector under SeaBIOS draws by the VGA's window at",
        "A0000h and reads an IDE disk by its port. The window is RAM where its bytes lie in a row,",
        "as in mode 13h; planes are an exit for each access. A string of port I/O is one exit for",
        "as much as lies in a page.",
        "",
        f"| {' | '.join(head)} |",
        "| --- " + "| ---: " * len(measured) + "|",
    ]
    rows = next(iter(measured.values()), [])
    for number, row in enumerate(rows):
        rates = [f"{found[number].rate:.1f}" for found in measured.values()]
        lines.append(f"| {row.what} | {' | '.join(rates)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inn", type=Path, default=_INN)
    parser.add_argument("--no-page", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        disk = made(Path(directory))
        engines = ("kvm", "translator", "interpreter")
        found = {engine: measure(options.inn, engine, disk) for engine in engines}
    text = page({engine: rows for engine, rows in found.items() if rows})
    if not options.no_page:
        PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
