"""Installing an operating system onto a disk, unattended, by its own installer."""

import secrets
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import ImageBuildFailed, InvalidInput
from innkeeper.images import Report
from innkeeper.images.apt import Apt
from innkeeper.images.cpio import archive
from innkeeper.images.installers import (
    Answers,
    Architecture,
    Installer,
    Mirror,
    fetch,
    from_disc,
    mirror_of,
    preseed,
)
from innkeeper.machine.new_image import NewImage
from innkeeper.machine.spec import DiskSpec
from innkeeper.services import disks, guests
from innkeeper.services.request import GuestRequest
from innkeeper.vm.ending import Ending

SYSTEMS: Final = ("debian",)
DEFAULT_RELEASE: Final = "12"
# Words for the kernel: what is asked all the same is asked in lines; what stands behind the dashes
# is for the installed system as well.
_WORDS: Final = "auto=true priority=critical DEBIAN_FRONTEND=text console=ttyS0"
_LASTING: Final = "--- console=ttyS0"
_PASSWORD_BYTES: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOrder:
    """`disk` is where to, made with `size` bytes when it is missing; what is on one that is there
    is lost, which `replace` agrees to. The installer comes from the
    disc `iso`, or from a package of the host's mirror. `preseed` is a file of one's own answers.
    The guest that it runs in is `guest`, without its disks and what it boots.
    """

    system: str
    disk: DiskSpec
    size: int
    replace: bool = False
    release: str = DEFAULT_RELEASE
    architecture: Architecture = Architecture.AMD64
    iso: Path | None = None
    preseed: Path | None = None
    hostname: str = "debian"
    password: str | None = None
    packages: tuple[str, ...] = ()
    guest: GuestRequest


@dataclass(frozen=True, slots=True)
class Installed:
    """How the installer's guest ended, and the password of root."""

    ending: Ending
    password: str


def install(order: InstallOrder, report: Report) -> Installed:
    """Runs the installer to its end, with its console on this terminal.

    Raises:
        InvalidInput, ImageBuildFailed, EngineUnavailable, HostFailure.
    """
    if order.system not in SYSTEMS:
        raise InvalidInput(
            f"nothing is known of how {order.system!r} is installed: there is {', '.join(SYSTEMS)}"
        )
    if not order.replace and (order.disk.nbd is not None or order.disk.path.exists()):
        raise InvalidInput(
            f"the disk {order.disk.path} is there already: --replace installs over what is on it"
        )
    own = "" if order.preseed is None else _read(order.preseed)
    password = order.password or secrets.token_urlsafe(_PASSWORD_BYTES)
    with tempfile.TemporaryDirectory(prefix="innkeeper-install-") as scratch:
        directory = Path(scratch)
        installer, mirror = _installer(order, directory, report)
        answers = Answers(
            hostname=order.hostname, password=password, mirror=mirror, packages=order.packages
        )
        answered = directory / "preseed.cpio"
        answered.write_bytes(archive({"preseed.cfg": preseed(answers, own).encode()}))
        # The guest's process is another user's, who may read what is in here by name.
        directory.chmod(0o711)
        disk = _disk(order)
        ending = guests.run(_guest(order, installer, answered, disk), report)
    return Installed(ending, password)


def _installer(
    order: InstallOrder, directory: Path, report: Report
) -> tuple[Installer, Mirror | None]:
    if order.iso is not None:
        report(f"the installer from {order.iso.name}", 0.0)
        found = from_disc(order.iso, directory)
        report("done", 1.0)
        return found, None
    report("packages of the mirror", 0.0)
    apt = Apt(directory / "apt", order.architecture)
    apt.update()
    mirror = mirror_of(apt)
    report(f"the installer of Debian {order.release}", 0.5)
    try:
        found = fetch(apt, order.release, order.architecture, directory)
    except ImageBuildFailed as error:
        raise ImageBuildFailed(
            f"no installer of Debian {order.release} for {order.architecture}: {error}"
        ) from error
    report("done", 1.0)
    return found, mirror


def _disk(order: InstallOrder) -> DiskSpec:
    path = order.disk.path
    if order.disk.nbd is None and not path.exists():
        disks.create(path, NewImage(format=disks.format_for(path, None), size=order.size))
    return order.disk


def _guest(
    order: InstallOrder, installer: Installer, answered: Path, disk: DiskSpec
) -> GuestRequest:
    guest = order.guest
    target = [disk]
    if order.iso is not None:
        target.append(DiskSpec(path=order.iso, read_only=True))
    words = " ".join(filter(None, (_WORDS, guest.append, _LASTING)))
    return replace(
        guest,
        kernel=installer.kernel,
        initrds=(installer.initrd, *guest.initrds, answered),
        append=words,
        disks=tuple(target),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the answers in {path}: {error}") from error
