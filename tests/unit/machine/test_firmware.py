"""What is said of firmware."""

from pathlib import Path

import pytest

from innkeeper.cli.values import Media, firmware_of, parse_disk
from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine import (
    BootDevice,
    DiskBus,
    FirmwareSpec,
    MachineSpec,
    firmware,
    parse_boot,
    validate,
)
from innkeeper.services.request import GuestRequest, check


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
    found = firmware_of(image, Media(cdrom="a.iso", floppy=Path("b.img")))
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


def test_any_guest_has_nvme_disks(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(512))
    disk = parse_disk(f"{file},bus=nvme")
    assert disk.bus is DiskBus.NVME
    validate(MachineSpec(kernel=file, disks=(disk,)))


def test_ovmf_is_whichever_image_the_host_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, variables = tmp_path / "code", tmp_path / "variables"
    missing = (tmp_path / "missing", None, "ovmf")
    monkeypatch.setitem(firmware.NAMED, "ovmf", missing)
    monkeypatch.setattr(firmware, "_LARGER_OVMF", (code, variables))
    with pytest.raises(InvalidInput, match="install the package ovmf"):
        firmware.parse_firmware("ovmf")
    code.touch()
    assert firmware.parse_firmware("ovmf") == FirmwareSpec(image=code, variables=variables)


def test_a_guests_own_variables_are_made_whole_or_not_at_all(tmp_path: Path) -> None:
    template, store = tmp_path / "template", tmp_path / "own"
    spec = FirmwareSpec(image=template, variables=template, store=store)
    with pytest.raises(HostFailure, match=r"cannot make .*own of .*template: No such file"):
        firmware.prepare_variables(spec)
    assert list(tmp_path.iterdir()) == []
    template.write_bytes(b"begin")
    firmware.prepare_variables(spec)
    assert store.read_bytes() == b"begin"
    # What the guest has written stays.
    store.write_bytes(b"later")
    firmware.prepare_variables(spec)
    assert store.read_bytes() == b"later"


def test_a_kernel_is_for_firmware_that_starts_it(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    bios, _, _ = firmware.NAMED["seabios"]
    check(GuestRequest(kernel=kernel, append="quiet", firmware=FirmwareSpec(image=kernel)))
    with pytest.raises(InvalidInput, match="SeaBIOS starts no kernel"):
        check(GuestRequest(kernel=kernel, firmware=FirmwareSpec(image=bios)))
    with pytest.raises(InvalidInput, match="--append is for --kernel"):
        check(GuestRequest(append="quiet", firmware=FirmwareSpec(image=kernel)))


def test_a_guest_starts_from_something(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"k")
    # UEFI firmware starts it.
    validate(MachineSpec(kernel=file, firmware=FirmwareSpec(image=file)))
    with pytest.raises(InvalidInput, match="has neither"):
        validate(MachineSpec())
