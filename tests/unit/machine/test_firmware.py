"""What is said of firmware."""

from pathlib import Path

import pytest

from innkeeper.cli.values import Media, firmware_of, parse_disk
from innkeeper.errors import InvalidInput
from innkeeper.machine import (
    BootDevice,
    DiskBus,
    FirmwareSpec,
    MachineSpec,
    firmware,
    parse_boot,
    validate,
)


def test_a_file_is_firmware_and_a_name_that_is_not_here_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert firmware.parse_firmware("own.bin") == FirmwareSpec(image=Path("own.bin"))
    monkeypatch.setitem(firmware.NAMED, "seabios", (Path("/nowhere/bios"), None, "seabios"))
    with pytest.raises(InvalidInput, match="install the package seabios"):
        firmware.parse_firmware("seabios")


def test_the_first_choice_is_first() -> None:
    assert parse_boot("cd,disk") == (BootDevice.CD, BootDevice.DISK)
    with pytest.raises(InvalidInput, match="'tape' is nothing to boot from"):
        parse_boot("tape")
    with pytest.raises(InvalidInput, match="twice"):
        parse_boot("cd,cd")


def test_a_medium_is_booted_from_if_nothing_else_is_said(tmp_path: Path) -> None:
    image = str(tmp_path / "image")
    assert firmware_of(None, Media()) is None
    found = firmware_of(image, Media(cdrom=Path("a.iso"), floppy=Path("b.img")))
    assert found is not None
    assert found.boot == (BootDevice.CD,)
    found = firmware_of(image, Media(floppy=Path("b.img")))
    assert found is not None
    assert found.boot == (BootDevice.FLOPPY,)
    with pytest.raises(InvalidInput, match="--firmware-log"):
        firmware_of(None, Media(log=Path("log")))


def test_ide_disks_are_for_firmware(tmp_path: Path) -> None:
    disk, kernel = tmp_path / "disk", tmp_path / "kernel"
    disk.write_bytes(bytes(512))
    kernel.write_bytes(b"k")
    old = parse_disk(f"{disk},bus=ide")
    assert old.bus is DiskBus.IDE
    with pytest.raises(InvalidInput, match="with firmware"):
        validate(MachineSpec(kernel=kernel, disks=(old,)))
    with_firmware = MachineSpec(firmware=FirmwareSpec(image=kernel), disks=(old,))
    validate(with_firmware)
    with pytest.raises(InvalidInput, match="at most 3 IDE disks"):
        validate(MachineSpec(firmware=FirmwareSpec(image=kernel), disks=(old,) * 4))


def test_a_guest_starts_from_one_thing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"k")
    with pytest.raises(InvalidInput, match="not from both"):
        validate(MachineSpec(kernel=file, firmware=FirmwareSpec(image=file)))
    with pytest.raises(InvalidInput, match="has neither"):
        validate(MachineSpec())
