"""Answers to what Anaconda would ask, the installer of Fedora and of Red Hat's kin: a kickstart.

Spec: pykickstart's documentation, "Kickstart Documentation"; of Fedora 26 and RHEL 8 on.
"""

import shlex
from dataclasses import dataclass
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.images import seed
from innkeeper.machine.spec import DiskBus

# Anaconda looks for a disk with this label, and for this file on it, without being told to.
# Spec: Anaconda's documentation, "Boot Options", inst.ks.
LABEL: Final = "OEMDRV"
_FILE: Final = "ks.cfg"
# What holds of every installation.
_ALWAYS: Final = """\
text
lang en_US.UTF-8
keyboard us
timezone UTC --utc
skipx
firstboot --disable
zerombr
autopart --type=plain --nohome
"""
# As Linux calls the first disk of each kind.
_DISKS: Final = {
    DiskBus.VIRTIO: "vda",
    DiskBus.NVME: "nvme0n1",
    DiskBus.SATA: "sda",
    DiskBus.IDE: "sda",
    DiskBus.USB: "sda",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What one installation is told. `bus` is that of the disk that it goes to, which is the first
    of its kind. Where the disc has no packages (`from_disc` is false), the installer takes those of
    the mirror that it likes best.
    """

    hostname: str
    password: str
    bus: DiskBus
    from_disc: bool
    packages: tuple[str, ...] = ()


def kickstart(choices: Choices) -> str:
    """All of it as a file.

    Raises:
        InvalidInput: for a password, a host name or a package that no line of such a file can hold.
    """
    for what, text in (
        ("a password", choices.password),
        ("a host name", choices.hostname),
        *(("a package", package) for package in choices.packages),
    ):
        if not text or not text.isprintable():
            raise InvalidInput(f"{what} has one line of characters that can be printed")
    for package in choices.packages:
        # What a section would take for its end, for a comment or for an option.
        if package.startswith(("%", "#")):
            raise InvalidInput(f"{package!r} is no package")
    disk = _DISKS[choices.bus]
    lines = [
        # Only the disc has to be named: without a source, the installer asks for mirrors.
        *(["cdrom"] if choices.from_disc else []),
        f"network --bootproto=dhcp --hostname={shlex.quote(choices.hostname)}",
        f"rootpw --plaintext {shlex.quote(choices.password)}",
        f"ignoredisk --only-use={disk}",
        f"clearpart --all --initlabel --drives={disk}",
        f"bootloader --boot-drive={disk} --append=console=ttyS0",
        "poweroff",
        "%packages",
        "@core",
        *choices.packages,
        "%end",
    ]
    return _ALWAYS + "\n".join(lines) + "\n"


def kickstart_disk(text: str) -> bytes:
    """A disk on which the installer finds it."""
    return seed.disk({_FILE: text.encode()}, LABEL)
