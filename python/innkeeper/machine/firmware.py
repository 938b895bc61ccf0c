"""Firmware of the PC's: what starts a guest that brings its own boot loader."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput


class BootDevice(StrEnum):
    """What firmware boots from."""

    DISK = "disk"
    CD = "cd"
    FLOPPY = "floppy"
    NET = "net"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareSpec:
    """`image` goes into the machine's ROM. `boot` is what it boots from, the first choice first;
    empty for its own order. `log` gets what firmware says of itself.
    """

    image: Path
    boot: tuple[BootDevice, ...] = ()
    serial_console: bool = True
    log: Path | None = None


# What a name stands for: the file, and the package of Debian and Ubuntu that has it.
NAMED: Final = {
    "seabios": (Path("/usr/share/seabios/bios-256k.bin"), "seabios"),
}


def parse_firmware(text: str) -> Path:
    """The image that `text` stands for: a name of `NAMED`, or a file.

    Raises:
        InvalidInput: for a name whose image is not on this host.
    """
    if text not in NAMED:
        return Path(text)
    path, package = NAMED[text]
    if not path.exists():
        raise InvalidInput(
            f"the firmware {text} is not on this host: install the package {package}, "
            "or name a file of your own"
        )
    return path


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
