"""Debian's installer from the image of one of its discs."""

from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.images.installers.netboot import Installer

# Where discs of amd64 and i386, and small ones for the network, have kernel and initrd.
_PLACES: Final = (
    ("/install.amd/vmlinuz", "/install.amd/initrd.gz"),
    ("/install.386/vmlinuz", "/install.386/initrd.gz"),
    ("/linux", "/initrd.gz"),
)


def from_disc(iso: Path, directory: Path) -> Installer:
    """Kernel and initrd of the disc, copied into `directory`.

    Raises:
        InvalidInput: when it is no disc, or none that Debian is installed from.
    """
    # It is large, and nobody else needs it.
    import pycdlib
    from pycdlib.pycdlibexception import PyCdlibException

    installer = Installer(directory / "linux", directory / "initrd.gz")
    disc = pycdlib.PyCdlib()
    try:
        disc.open(str(iso))
    except (OSError, PyCdlibException) as error:
        raise InvalidInput(f"cannot read the disc {iso}: {error}") from error
    try:
        for kernel, initrd in _PLACES:
            try:
                with installer.kernel.open("wb") as file:
                    disc.get_file_from_iso_fp(file, rr_path=kernel)
                with installer.initrd.open("wb") as file:
                    disc.get_file_from_iso_fp(file, rr_path=initrd)
            except PyCdlibException:
                continue
            return installer
    finally:
        disc.close()
    raise InvalidInput(f"the disc {iso} has no installer of Debian that is known here")
