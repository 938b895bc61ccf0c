"""Network cards of the old world with Linux's drivers, and what is booted by them."""

import contextlib
import hashlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot import initrd, packages
from tests.boot.test_network import serving
from tests.conftest import PATIENCE, Inn

from innkeeper.machine import CardModel
from innkeeper.machine.network import rom_of

LINUX = "linux-image-amd64"
CLOUD = "linux-image-cloud-amd64"
DRIVERS = {
    "e1000": "kernel/drivers/net/ethernet/intel/e1000/e1000.ko*",
    "rtl8139": "kernel/drivers/net/ethernet/realtek/8139too.ko*",
}
# An address by DHCP, a file of the host's, and the same file back.
TALK = """\
busybox mkdir -p /sys /www; busybox mount -t sysfs sysfs /sys
busybox ip link set lo up; busybox ip link set eth0 up
busybox printf '#!/bin/busybox sh\\n[ $1 = bound ] && busybox ifconfig eth0 $ip\\n' > /dhcp
busybox chmod 755 /dhcp
busybox udhcpc -i eth0 -n -q -s /dhcp
busybox basename $(busybox readlink /sys/class/net/eth0/device/driver)
busybox wget -q -O /www/big http://10.0.2.2:$PORT/big && busybox sha256sum < /www/big
busybox nc 10.0.2.2 $BACK < /www/big
busybox grep . /sys/class/net/eth0/statistics/*errors | busybox grep -v ':0$'
busybox poweroff -f
"""
SAY = "echo by the network; busybox poweroff -f\n"


@contextlib.contextmanager
def receiving() -> Iterator[tuple[int, list[str]]]:
    """A port of the host's loopback, and the digests of what came to it, one a connection."""
    digests: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def receive() -> None:
            stream, _ = listener.accept()
            with stream, stream.makefile("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield listener.getsockname()[1], digests
        thread.join(PATIENCE)


def talk(inn: Inn, directory: Path, model: str, engine: str) -> None:
    drivers = initrd.modules(LINUX, "kernel/drivers/net/*", DRIVERS[model])
    own = initrd.busybox(directory / "initrd", initrd.LOAD + TALK, files=drivers)
    served = directory / "served"
    served.mkdir()
    (served / "big").write_bytes(bytes(range(251)) * 12_000)
    digest = subprocess.check_output(["sha256sum", served / "big"]).split()[0]
    with serving(served) as port, receiving() as (back, digests):
        result = inn(
            "run",
            *("--engine", engine, "--memory", "256M"),
            *("--kernel", packages.file(LINUX, "boot/vmlinuz-*"), "--initrd", own),
            *("--append", f"console=ttyS0 quiet PORT={port} BACK={back}"),
            *("--network", f"user,host,model={model}"),
        )
    assert result.returncode == 0, result.stderr
    said = result.stdout
    assert b"lease of 10.0.2.15 obtained" in said + result.stderr
    assert {"e1000": b"e1000\r\n", "rtl8139": b"8139too\r\n"}[model] in said
    assert digest in said
    assert digests == [digest.decode()]
    assert b"errors:" not in said


@pytest.mark.parametrize("model", list(DRIVERS))
def test_linux_s_driver_moves_packets(inn: Inn, tmp_path: Path, model: str) -> None:
    talk(inn, tmp_path, model, "translator")


@pytest.mark.long_guest(reason="a second way to the same")
@pytest.mark.parametrize("model", list(DRIVERS))
def test_linux_s_driver_moves_packets_by_the_interpreter(
    inn: Inn, tmp_path: Path, model: str
) -> None:
    talk(inn, tmp_path, model, "interpreter")


def offered(directory: Path) -> Path:
    """A directory with a kernel and its initrd, to be booted by the network."""
    directory.mkdir()
    shutil.copy(packages.file(CLOUD, "boot/vmlinuz-*"), directory / "vmlinuz")
    initrd.busybox(directory / "initrd", SAY)
    return directory


LONG = pytest.mark.long_guest(reason="a second way to the same")
ENGINES = [pytest.param("interpreter", marks=LONG), "translator"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "model", ["e1000", pytest.param("rtl8139", marks=LONG), pytest.param("virtio", marks=LONG)]
)
def test_seabios_boots_a_script_of_ipxe_s(
    inn: Inn, tmp_path: Path, model: str, engine: str
) -> None:
    directory = offered(tmp_path / "tftp")
    (directory / "boot.ipxe").write_text(
        "#!ipxe\nkernel vmlinuz initrd=initrd console=ttyS0 quiet\ninitrd initrd\nboot\n"
    )
    result = boot(inn, directory, "boot.ipxe", model, engine)
    assert b"Next server: 10.0.2.2\r\n" in result
    assert b"by the network\r\n" in result


@LONG
@pytest.mark.parametrize("engine", ["interpreter", "translator"])
@pytest.mark.parametrize("model", list(CardModel))
def test_seabios_boots_pxelinux(inn: Inn, tmp_path: Path, model: CardModel, engine: str) -> None:
    directory = offered(tmp_path / "tftp")
    for package, pattern in (
        ("pxelinux", "usr/lib/PXELINUX/pxelinux.0"),
        ("syslinux-common", "usr/lib/syslinux/modules/bios/ldlinux.c32"),
    ):
        shutil.copy(packages.file(package, pattern), directory)
    (directory / "pxelinux.cfg").mkdir()
    (directory / "pxelinux.cfg/default").write_text(
        "serial 0\ndefault linux\nlabel linux\nkernel vmlinuz\n"
        "append initrd=initrd console=ttyS0 quiet\n"
    )
    result = boot(inn, directory, "pxelinux.0", model, engine)
    assert b"PXELINUX" in result
    assert b"by the network\r\n" in result


@pytest.mark.parametrize(
    "model", ["e1000", pytest.param("rtl8139", marks=LONG), pytest.param("virtio", marks=LONG)]
)
def test_ovmf_boots_grub(inn: Inn, tmp_path: Path, model: str) -> None:
    directory = offered(tmp_path / "tftp")
    image = "usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi"
    shutil.copy(packages.file("grub-efi-amd64-bin", image), directory)
    (directory / "grub").mkdir()
    (directory / "grub/grub.cfg").write_text(
        "linux /vmlinuz console=ttyS0 quiet\ninitrd /initrd\nboot\n"
    )
    firmware = packages.file("ovmf", "usr/share/OVMF/OVMF_CODE.fd")
    # OVMF's own TCP/IP takes the interpreter minutes.
    result = boot(inn, directory, "grubnetx64.efi", model, "translator", "--firmware", firmware)
    assert b"by the network\r\n" in result


def boot(
    inn: Inn, directory: Path, file: str, model: str, engine: str, *options: str | Path
) -> bytes:
    """What a guest says that boots this file by the network."""
    rom_of(CardModel(model))
    if not options:
        options = ("--firmware", packages.file("seabios", "usr/share/seabios/bios-256k.bin"))
    result = inn(
        "run",
        *("--engine", engine, "--memory", "256M", "--boot", "net", *options),
        *("--network", f"user,model={model},tftp={directory},bootfile={file}"),
    )
    assert result.returncode == 0, result.stderr
    output: bytes = result.stdout
    return output
