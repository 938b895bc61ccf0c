"""Debian's installer for the network: a kernel and an initrd, from the package that has them."""

import fnmatch
import os
import subprocess
import tarfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

from innkeeper.errors import ImageBuildFailed
from innkeeper.images.apt import Apt

_FILES: Final = "./usr/lib/debian-installer/images/*/{architecture}/text/debian-installer/*/"
_KERNEL: Final = "linux"
_INITRD: Final = "initrd.gz"
_CHUNK: Final = 1 << 20


class Architecture(StrEnum):
    AMD64 = "amd64"
    I386 = "i386"


@dataclass(frozen=True, slots=True)
class Installer:
    kernel: Path
    initrd: Path


def fetch(apt: Apt, release: str, architecture: Architecture, directory: Path) -> Installer:
    """The installer of Debian `release` (a number), in `directory`.

    Raises:
        ImageBuildFailed: when the host's mirrors do not have it.
    """
    package = f"debian-installer-{release}-netboot-{architecture}"
    deb = apt.download(package, directory)
    pattern = _FILES.format(architecture=architecture)
    listing = ["dpkg-deb", "--fsys-tarfile", os.fspath(deb)]
    with (
        subprocess.Popen(listing, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as archive,
    ):
        for member in archive:
            name = member.name.rpartition("/")[2]
            wanted = name in (_KERNEL, _INITRD) and fnmatch.fnmatch(member.name, pattern + name)
            if wanted and (content := archive.extractfile(member)) is not None:
                _copy(content, directory / name)
    deb.unlink()
    found = Installer(directory / _KERNEL, directory / _INITRD)
    if not (found.kernel.exists() and found.initrd.exists()):
        raise ImageBuildFailed(f"the package {package} has no kernel and initrd where they were")
    return found


def _copy(content: IO[bytes], path: Path) -> None:
    with path.open("wb") as file:
        while data := content.read(_CHUNK):
            file.write(data)
