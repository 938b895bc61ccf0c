"""Firmware of the PC's: what starts a guest that brings its own boot loader."""

import os
import shutil
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput


class BootDevice(StrEnum):
    """What firmware boots from."""

    DISK = "disk"
    CD = "cd"
    FLOPPY = "floppy"
    NET = "net"


class CdBus(StrEnum):
    """How a guest reaches its CD-ROM drive: by the disk controller of old, or by AHCI."""

    IDE = "ide"
    SATA = "sata"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareSpec:
    """`image` goes into the machine's ROM. `boot` is what it boots from, the first choice first;
    empty for its own order. `log` gets what firmware says of itself. `cdrom` is the image of the
    disc that lies in the CD-ROM drive, `floppy` that of the disk in the floppy drive, which is
    there with it or where `floppy_drive` says so. Firmware that keeps variables begins with those
    in `variables`; a guest's own are in `store`, which is made when it is missing, or are lost when
    its machine ends.
    """

    image: Path
    boot: tuple[BootDevice, ...] = ()
    serial_console: bool = True
    log: Path | None = None
    cd_drive: bool = True
    cd_bus: CdBus = CdBus.IDE
    cdrom: Path | None = None
    floppy: Path | None = None
    floppy_drive: bool = False
    variables: Path | None = None
    store: Path | None = None


# What newer packages have in place of OVMF's smaller images.
_LARGER_OVMF: Final = (
    Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
    Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
)
# By which its drives are known to whoever changes what is in them.
CD: Final = "cd0"
FLOPPY: Final = "floppy0"
# What a name stands for: the image, what its variables begin with, and the package of Debian and
# Ubuntu that has them.
NAMED: Final = {
    "seabios": (Path("/usr/share/seabios/bios-256k.bin"), None, "seabios"),
    "ovmf": (
        Path("/usr/share/OVMF/OVMF_CODE.fd"),
        Path("/usr/share/OVMF/OVMF_VARS.fd"),
        "ovmf",
    ),
}
# What a guest's own variables are called in its directory.
KEPT_VARIABLES: Final = "variables.fd"


def drives(firmware: FirmwareSpec | None) -> dict[str, Path | None]:
    """The drives whose media can be changed, and what lies in each."""
    found: dict[str, Path | None] = {}
    if firmware is not None and firmware.cd_drive:
        found[CD] = firmware.cdrom
    if firmware is not None and (firmware.floppy is not None or firmware.floppy_drive):
        found[FLOPPY] = firmware.floppy
    return found


def with_medium(firmware: FirmwareSpec, drive: str, medium: Path | None) -> FirmwareSpec:
    """With that in the drive, which stays when there is nothing in it."""
    if drive == CD:
        return replace(firmware, cdrom=medium)
    return replace(firmware, floppy=medium, floppy_drive=True)


def prepare_variables(spec: FirmwareSpec) -> None:
    """Makes the guest's own, if they are missing, whole or not at all: whoever is locked in finds
    them then.

    Raises:
        HostFailure: when they cannot be made.
    """
    if spec.store is None or spec.variables is None or spec.store.exists():
        return
    scratch = spec.store.with_name(f"{spec.store.name}.{os.getpid()}")
    try:
        try:
            shutil.copyfile(spec.variables, scratch)
            scratch.rename(spec.store)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        said = f"cannot make {spec.store} of {spec.variables}: {error.strerror}"
        raise HostFailure(said) from error


def parse_firmware(text: str) -> FirmwareSpec:
    """The image that `text` stands for: a name of `NAMED`, or a file.

    Raises:
        InvalidInput: for a name whose image is not on this host.
    """
    if text not in NAMED:
        return FirmwareSpec(image=Path(text))
    image, variables, package = NAMED[text]
    if text == "ovmf" and not image.exists():
        image, variables = _LARGER_OVMF
    if not image.exists():
        raise InvalidInput(
            f"the firmware {text} is not on this host: install the package {package}, "
            "or name a file of your own"
        )
    return FirmwareSpec(image=image, variables=variables)


def parse_boot(text: str) -> tuple[BootDevice, ...]:
    """What `cd,disk` says.

    Raises:
        InvalidInput: when something is nothing to boot from, or named twice.
    """
    names = text.split(",")
    for name in names:
        if name not in tuple(BootDevice):
            known = ", ".join(BootDevice)
            raise InvalidInput(f"{name!r} is nothing to boot from: there are {known}")
    if len(set(names)) < len(names):
        raise InvalidInput(f"{text!r} names something twice")
    return tuple(BootDevice(name) for name in names)
