"""Guests that firmware boots: unmodified, as Debian packages it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.boot import fat, packages
from tests.boot.initrd import busybox
from tests.conftest import Inn, wait_for

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


@pytest.mark.parametrize(
    ("engine", "bus", "options"),
    [
        ("translator", "nvme", ()),
        ("translator", "sata", ()),
        ("translator", "usb", ()),
        *((engine, "usb", ("--usb-controller", "uhci")) for engine in ENGINES),
    ],
)
def test_a_boot_sector_runs_from_disks_of_other_buses(
    inn: Inn, engine: str, bus: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    result = inn(
        "run",
        *("--engine", engine, "--memory", "64M", "--network", "none", *options),
        *("--firmware", seabios(), "--firmware-log", log, "--boot", "disk"),
        *("--disk", f"{boot_sector(tmp_path)},bus={bus}"),
    )
    assert result.returncode == 0, result.stderr
    said = log.read_bytes()
    assert b"Booting from Hard Disk..." in said
    assert (b"USB keyboard initialized" in said) == (bus == "usb")
    assert (b"UHCI init" in said) == bool(options)
    assert b"by the port\r\n" in result.stdout


def grub_disk(directory: Path) -> Path:
    """A disk that UEFI firmware boots GRUB from."""
    program = "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi"
    grub = packages.file("grub-efi-amd64-bin", program).read_bytes()
    disk = directory / "grub.img"
    disk.write_bytes(fat.disk({"EFI/BOOT/BOOTX64.EFI": grub}))
    return disk


@pytest.mark.long_guest(reason="UEFI takes its time, and NVMe is seen with a kernel")
@pytest.mark.parametrize(
    ("bus", "options"),
    [
        *((bus, ()) for bus in ("nvme", "sata", "usb", "virtio")),
        ("usb", ("--usb-controller", "uhci")),
    ],
)
def test_ovmf_boots_from_disks_of_all_buses(
    inn: Inn, bus: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    process = inn.start(
        "run",
        *("--engine", "translator", "--memory", "256M", "--network", "none", *options),
        *("--firmware", packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")),
        *("--boot", "disk", "--disk", f"{grub_disk(tmp_path)},bus={bus}"),
    )
    try:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"GNU GRUB  version 2")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("bus", "engine"), [*(("ide", engine) for engine in ENGINES), ("sata", "translator")]
)
def test_grub_runs_from_a_cd(inn: Inn, engine: str, bus: str) -> None:
    disc = packages.file("grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-cdrom.iso")
    process = inn.start(
        "run",
        *("--engine", engine, "--memory", "64M", "--network", "none"),
        *("--firmware", seabios(), "--cdrom", f"{disc},bus={bus}"),
    )
    try:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"GNU GRUB  version 2")
        wait_for(process.stdout.fileno(), b"highlighted entry will be executed")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("engine", ENGINES)
def test_grub_runs_from_a_floppy_disk(inn: Inn, engine: str, tmp_path: Path) -> None:
    image = packages.file("grub-rescue-pc", "usr/lib/grub-rescue/grub-rescue-floppy.img")
    process = inn.start(
        "run",
        *("--engine", engine, "--memory", "64M", "--network", "none"),
        *("--firmware", seabios(), "--floppy", shutil.copy(image, tmp_path)),
    )
    try:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"GNU GRUB  version 2")
    finally:
        process.kill()
        process.communicate()


# Beyond the shell's own: a variable that has to be there when the machine comes again.
WRITE = b"setvar Innkeeper -guid 01234567-89ab-cdef-0123-456789abcdef -nv -bs =4242\r"
READ = b"setvar Innkeeper -guid 01234567-89ab-cdef-0123-456789abcdef\r"


def shell(
    inn: Inn, words: bytes, answer: bytes, *options: str | Path, engine: str = "translator"
) -> None:
    """OVMF to its shell, which says `answer` to `words`."""
    process = inn.start(
        "run", *("--engine", engine, "--memory", "256M", "--network", "none"), *options
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        for awaited, typed in ((b"any other key to continue", b"x"), (b"Shell>", words)):
            wait_for(process.stdout.fileno(), awaited)
            process.stdin.write(typed)
            process.stdin.flush()
        wait_for(process.stdout.fileno(), answer)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("size", ["", "_4M"])
def test_ovmf_comes_to_its_shell_and_keeps_a_variable(inn: Inn, tmp_path: Path, size: str) -> None:
    code = packages.file("ovmf", f"usr/share/OVMF/OVMF_CODE{size}.fd")
    template = packages.file("ovmf", f"usr/share/OVMF/OVMF_VARS{size}.fd")
    store = Path(shutil.copy(template, tmp_path / "variables"))
    own = ("--firmware", code, "--firmware-variables", store)
    shell(inn, WRITE, b"Shell>", *own)
    assert store.read_bytes() != template.read_bytes()
    shell(inn, READ, b"42 42", *own)


LONG = pytest.mark.long_guest(reason="it takes the interpreter most of a minute")
# busybox as process 1, for GRUB in the end.
LAST = """\
busybox mkdir -p /sys
busybox mount -t sysfs none /sys
busybox echo "by the shell, GRUB and $(busybox ls -d /sys/firmware/efi)"
busybox poweroff -f
"""
GRUB = b"linux /vmlinuz console=ttyS0 quiet\ninitrd /initrd\nboot\n"


@pytest.mark.parametrize("engine", [pytest.param("interpreter", marks=LONG), "translator"])
def test_ovmfs_shell_starts_grub_and_grub_a_kernel(inn: Inn, engine: str, tmp_path: Path) -> None:
    program = "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi"
    files = {
        "EFI/DEBIAN/GRUB.CFG": GRUB,
        "GRUB.EFI": packages.file("grub-efi-amd64-bin", program).read_bytes(),
        "VMLINUZ": packages.file("linux-image-cloud-amd64", "boot/vmlinuz-*").read_bytes(),
        "INITRD": busybox(tmp_path / "initrd", LAST).read_bytes(),
    }
    disk = tmp_path / "disk.img"
    disk.write_bytes(fat.disk(files))
    code = packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")
    own = ("--firmware", code, "--disk", disk)
    said = b"by the shell, GRUB and /sys/firmware/efi"
    shell(inn, b"fs0:\\grub.efi\r", said, *own, engine=engine)


# busybox as process 1: was it UEFI, and what is on the disk?
INIT = """\
busybox mount -t devtmpfs none /dev
busybox mount -t sysfs none /sys
busybox echo "started by $(busybox ls -d /sys/firmware/efi)"
busybox echo "from $(busybox head -c 12 /dev/nvme0n1)"
busybox echo -n "answered" | busybox dd of=/dev/nvme0n1 bs=1 seek=4096 conv=fsync
busybox poweroff -f
"""


def test_ovmf_starts_a_kernel_that_has_an_nvme_disk(inn: Inn, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"by nvme here" + bytes((1 << 20) - 12))
    files = {"dev/.keep": b"", "sys/.keep": b""}
    result = inn(
        "run",
        *("--engine", "translator", "--memory", "512M", "--network", "none"),
        *("--firmware", packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")),
        *("--kernel", packages.file("linux-image-cloud-amd64", "boot/vmlinuz-*")),
        *("--initrd", busybox(tmp_path / "initrd", INIT, files=files)),
        *("--append", "console=ttyS0 quiet", "--disk", f"{disk},bus=nvme"),
    )
    assert result.returncode == 0, result.stderr
    assert b"started by /sys/firmware/efi" in result.stdout
    assert b"from by nvme here" in result.stdout
    assert disk.read_bytes()[4096:4104] == b"answered"
