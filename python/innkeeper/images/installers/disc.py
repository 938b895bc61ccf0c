"""An operating system's installer from the image of one of its discs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from innkeeper.errors import InvalidInput
from innkeeper.images.installers.netboot import Installer

if TYPE_CHECKING:
    from pycdlib import PyCdlib


class Family(StrEnum):
    """By whose installer a system is installed."""

    DEBIAN = "debian"
    ANACONDA = "anaconda"


# Where discs have kernel and initrd: those of Debian for amd64 and i386, small ones of it for the
# network, and those with Anaconda.
_PLACES: Final = (
    (Family.DEBIAN, "/install.amd/vmlinuz", "/install.amd/initrd.gz"),
    (Family.DEBIAN, "/install.386/vmlinuz", "/install.386/initrd.gz"),
    (Family.DEBIAN, "/linux", "/initrd.gz"),
    (Family.ANACONDA, "/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"),
)
# Where discs of Fedora, and those of RHEL and its kin, have lists of the packages on them.
_REPOSITORIES: Final = ("/repodata/repomd.xml", "/BaseOS/repodata/repomd.xml")


@dataclass(frozen=True, slots=True)
class Disc:
    """What was found on it. `label` is written as udev and the kernel's command line have it;
    `has_packages` is known of Anaconda's alone.
    """

    family: Family
    installer: Installer
    label: str
    has_packages: bool


def from_disc(iso: Path, directory: Path) -> Disc:
    """Kernel and initrd of the disc, copied into `directory`.

    Raises:
        InvalidInput: when it is no disc, or none whose installer is known.
    """
    installer = Installer(directory / "linux", directory / "initrd.gz")
    with _opened(iso) as disc:
        for family, kernel, initrd in _PLACES:
            if _copied(disc, kernel, installer.kernel) and _copied(disc, initrd, installer.initrd):
                has_packages = any(_has(disc, path) for path in _REPOSITORIES)
                return Disc(family, installer, _label(disc), has_packages)
    # Out here, since whatever is raised inside is for a disc that cannot be read.
    raise InvalidInput(f"the disc {iso} has no installer that is known here")


@contextmanager
def _opened(iso: Path) -> Iterator["PyCdlib"]:
    # It is large, and nobody else needs it.
    import pycdlib

    disc = pycdlib.PyCdlib()
    try:
        disc.open(str(iso))
        try:
            yield disc
        finally:
            disc.close()
    # A damaged disc is met by struct.error, ValueError and others besides its own exceptions.
    except Exception as error:
        raise InvalidInput(f"cannot read the disc {iso}: {error}") from error


def _label(disc: "PyCdlib") -> str:
    """Whatever else than letters, digits, dots and dashes is in it would end a kernel's word."""
    label: bytes = disc.pvd.volume_identifier.rstrip(b" \0")
    return "".join(
        chr(byte) if re.match(rb"[\w.-]", bytes([byte])) else f"\\x{byte:02x}" for byte in label
    )


def _copied(disc: "PyCdlib", path: str, to: Path) -> bool:
    from pycdlib.pycdlibexception import PyCdlibException

    try:
        with to.open("wb") as file:
            disc.get_file_from_iso_fp(file, rr_path=path)
    except PyCdlibException:
        return False
    return True


def _has(disc: "PyCdlib", path: str) -> bool:
    from pycdlib.pycdlibexception import PyCdlibException

    try:
        disc.get_record(rr_path=path)
    except PyCdlibException:
        return False
    return True
