"""Disks and input devices by controllers that are not virtio, as Linux's drivers see them."""

import re
from pathlib import Path

import pytest
from tests.boot import initrd, packages
from tests.conftest import Inn

LINUX = "linux-image-amd64"
# Of ATA, SCSI, USB, HID and events, and what those need.
AMONG = "kernel/[bcdl]*"
DRIVERS = (
    "kernel/drivers/ata/ahci.ko*",
    "kernel/drivers/scsi/sd_mod.ko*",
    "kernel/drivers/usb/host/xhci-pci.ko*",
    "kernel/drivers/usb/host/uhci-hcd.ko*",
    "kernel/drivers/usb/storage/usb-storage.ko*",
    "kernel/drivers/hid/usbhid/usbhid.ko*",
    "kernel/drivers/hid/hid-generic.ko*",
    "kernel/drivers/input/evdev.ko*",
)
# Each disk by what it begins with; a megabyte of each is read, and written a little further on.
LOOK = """\
busybox mount -t devtmpfs none /dev
busybox mount -t sysfs none /sys
for n in $(busybox seq 1200); do
    [ -e /dev/sda -a -e /dev/sdb ] && busybox grep -q "USB tablet" /proc/bus/input/devices && break
    busybox sleep 0.1
done
for disk in sda sdb; do
    echo "$(busybox head -c 4 /dev/$disk) is $(busybox cat /sys/block/$disk/size) sectors"
    busybox dd if=/dev/$disk bs=64k count=16 2>/dev/null | busybox sha256sum
    echo -n answered | busybox dd of=/dev/$disk bs=1M seek=2 conv=fsync,notrunc 2>/dev/null
    echo "queue $(busybox cat /sys/block/$disk/device/queue_depth)"
done
busybox grep -h Name /proc/bus/input/devices
busybox grep -hE "[aux]hci" /proc/interrupts
[ -n "$LIMIT" ] && busybox time busybox dd if=/dev/sda of=/dev/null bs=64k count=48 iflag=direct
busybox poweroff -f
"""


def look(inn: Inn, directory: Path, engine: str, *options: str) -> tuple[bytes, list[Path]]:
    """What Linux says of a SATA disk and of a USB disk, and their images."""
    disks = []
    for name in ("sata", "usb."):
        path = directory / name
        path.write_bytes(name.encode() + bytes(range(256)) * 16384)
        with path.open("r+b") as file:
            file.truncate(8 << 20)
        disks.append(path)
    own = initrd.busybox(
        directory / "initrd",
        initrd.LOAD + LOOK,
        files={**initrd.modules(LINUX, AMONG, *DRIVERS), "dev/.keep": b"", "sys/.keep": b""},
    )
    result = inn(
        "run",
        *("--engine", engine, "--memory", "256M", "--network", "none"),
        *("--kernel", packages.file(LINUX, "boot/vmlinuz-*"), "--initrd", own),
        *("--append", f"console=ttyS0 quiet LIMIT={'yes' if '--disk-limit' in options else ''}"),
        *("--disk", f"{disks[0]},bus=sata", "--disk", f"{disks[1]},bus=usb"),
        *options,
    )
    assert result.returncode == 0, result.stderr
    said: bytes = result.stdout
    return said, disks


@pytest.mark.parametrize(
    ("engine", "options", "driver"),
    [
        ("translator", (), rb"xhci_hcd"),
        # One of its own, as boards without firmware have no PIIX3.
        ("translator", ("--usb-controller", "uhci"), rb"uhci_hcd:usb\d"),
        pytest.param(
            *("interpreter", ("--usb-controller", "uhci"), rb"uhci_hcd:usb\d"),
            marks=pytest.mark.long_guest(reason="an interpreted kernel takes its time"),
        ),
    ],
)
def test_linux_s_drivers_find_disks_and_a_tablet(
    inn: Inn, engine: str, options: tuple[str, ...], driver: bytes, tmp_path: Path
) -> None:
    said, disks = look(inn, tmp_path, engine, *options)
    assert re.search(driver, said)
    all_is_found(said, disks)


@pytest.mark.long_guest(reason="UEFI takes its time")
def test_they_find_the_usb_of_a_piix3(inn: Inn, tmp_path: Path) -> None:
    code = packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")
    options = ("--usb-controller", "uhci", "--firmware", str(code))
    said, disks = look(inn, tmp_path, "translator", *options)
    # Its interrupt is the fourth of PCI's wires.
    assert re.search(rb" 19: +\d+ +IO-APIC +19-fasteoi +uhci_hcd:usb1", said), said
    all_is_found(said, disks)


def all_is_found(said: bytes, disks: list[Path]) -> None:
    assert b"sata is 16384 sectors" in said
    assert b"usb. is 16384 sectors" in said
    # Its commands are queued.
    assert b"queue 32" in said or b"queue 31" in said
    assert b'Name="Innkeeper Innkeeper USB tablet"' in said
    assert b'Name="Innkeeper Innkeeper USB keyboard"' in said
    assert all(disk.read_bytes()[2 << 20 :][:8] == b"answered" for disk in disks)


@pytest.mark.long_guest(reason="a limit is seen by waiting for it")
def test_a_limit_holds_for_them(inn: Inn, tmp_path: Path) -> None:
    said, _ = look(inn, tmp_path, "translator", "--disk-limit", "1M")
    # Three megabytes.
    took = re.search(rb"real\s+(\d+)m\s*([0-9.]+)s", said)
    assert took is not None, said
    assert int(took[1]) * 60 + float(took[2]) > 2.5
