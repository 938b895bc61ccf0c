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
    LABEL,
    Answers,
    Architecture,
    Choices,
    Disc,
    Family,
    Installer,
    fetch,
    from_disc,
    kickstart,
    kickstart_disk,
    mirror_of,
    preseed,
)
from innkeeper.machine.new_image import NewImage
from innkeeper.machine.spec import DiskSpec
from innkeeper.services import disks, guests
from innkeeper.services.request import GuestRequest
from innkeeper.vm.ending import Ending

SYSTEMS: Final = {
    "debian": Family.DEBIAN,
    "fedora": Family.ANACONDA,
    "rhel": Family.ANACONDA,
    "centos": Family.ANACONDA,
    "rocky": Family.ANACONDA,
    "almalinux": Family.ANACONDA,
}
# What each installer runs in without being told: Anaconda has its own system in memory.
DEFAULT_MEMORY: Final = {Family.DEBIAN: 1 << 30, Family.ANACONDA: 3 << 30}
# Words for the kernel: what is asked all the same is asked in lines; what stands behind the dashes
# is for the installed system as well.
_WORDS: Final = "auto=true priority=critical DEBIAN_FRONTEND=text console=ttyS0"
_LASTING: Final = "--- console=ttyS0"
# Anaconda finds its kickstart without being told; told, it waits for the disk.
_ANACONDA: Final = f"inst.text console=ttyS0 inst.ks=hd:LABEL={LABEL}:/ks.cfg"
_PASSWORD_BYTES: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallOrder:
    """`system` is a name of `SYSTEMS`, or None for what the disc has. `disk` is where to, made with
    `size` bytes when it is missing; what is on one that is there is lost, which `replace` agrees
    to. The installer comes from the disc `iso`, or from a package of the host's mirror, which only
    Debian's does, of its `release`, a number, or else the host's own. `preseed` and `kickstart` are
    files of one's own answers, to the installer that knows such. The guest that it runs in is
    `guest`, without its disks and what it boots, and with
    `memory` bytes, or what its installer needs.
    """

    system: str | None
    disk: DiskSpec
    size: int
    replace: bool = False
    release: str | None = None
    architecture: Architecture = Architecture.AMD64
    iso: Path | None = None
    preseed: Path | None = None
    kickstart: Path | None = None
    hostname: str | None = None
    password: str | None = None
    packages: tuple[str, ...] = ()
    memory: int | None = None
    guest: GuestRequest


@dataclass(frozen=True, slots=True)
class Installed:
    """How the installer's guest ended, and the password of root where it is of our choice."""

    ending: Ending
    password: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What an installer is started with: `initrds` and `disks` beside its own and the target."""

    family: Family
    installer: Installer
    initrds: tuple[Path, ...] = ()
    disks: tuple[DiskSpec, ...] = ()
    words: str
    lasting: str = ""


def install(order: InstallOrder, report: Report) -> Installed:
    """Runs the installer to its end, with its console on this terminal.

    Raises:
        InvalidInput, ImageBuildFailed, EngineUnavailable, HostFailure.
    """
    family = _family(order)
    if not order.replace and (order.disk.nbd is not None or order.disk.path.exists()):
        raise InvalidInput(
            f"the disk {order.disk.path} is there already: --replace installs over what is on it"
        )
    own = next((_read(path) for path in (order.preseed, order.kickstart) if path is not None), "")
    password = order.password or secrets.token_urlsafe(_PASSWORD_BYTES)
    with tempfile.TemporaryDirectory(prefix="innkeeper-install-") as scratch:
        directory = Path(scratch)
        disc = None if order.iso is None else _disc(order.iso, family, directory, report)
        if disc is not None and disc.family is Family.ANACONDA:
            start = _anaconda(order, disc, own, password, directory)
        else:
            start = _debian(order, disc, own, password, directory, report)
        # The guest's process is another user's, who may read what is in here by name.
        directory.chmod(0o711)
        disk = _disk(order)
        ending = guests.run(_guest(order, start, disk), report)
    return Installed(ending, None if order.kickstart is not None else password)


def _family(order: InstallOrder) -> Family | None:
    """The installer's, as far as the order says it."""
    if order.system is not None and order.system not in SYSTEMS:
        raise InvalidInput(
            f"nothing is known of how {order.system!r} is installed: there is {', '.join(SYSTEMS)}"
        )
    if order.system is None and order.iso is None:
        raise InvalidInput(f"say what to install, {', '.join(SYSTEMS)}, or from which disc (--iso)")
    family = None if order.system is None else SYSTEMS[order.system]
    if family is Family.ANACONDA and order.iso is None:
        raise InvalidInput(f"{order.system} is installed from one of its discs: --iso FILE")
    if order.preseed is not None and order.kickstart is not None:
        raise InvalidInput("--preseed is for Debian's installer, --kickstart for Anaconda")
    if order.kickstart is not None and (order.packages or order.password or order.hostname):
        raise InvalidInput(
            "a kickstart of your own is taken as it is: "
            "packages, root's password and the host's name are in it"
        )
    _refuse_answers(order, family)
    return family


def _refuse_answers(order: InstallOrder, family: Family | None) -> None:
    """Refuses those to another installer."""
    if order.preseed is not None and family is Family.ANACONDA:
        raise InvalidInput("--preseed is for Debian's installer; Anaconda takes --kickstart")
    if order.kickstart is not None and family is Family.DEBIAN:
        raise InvalidInput("--kickstart is for Anaconda; Debian's installer takes --preseed")


def _disc(iso: Path, family: Family | None, directory: Path, report: Report) -> Disc:
    report(f"the installer from {iso.name}", 0.0)
    disc = from_disc(iso, directory)
    if family not in (None, disc.family):
        raise InvalidInput(f"the disc {iso} has another installer than that")
    report("done", 1.0)
    return disc


def _debian(
    order: InstallOrder,
    disc: Disc | None,
    own: str,
    password: str,
    directory: Path,
    report: Report,
) -> _Start:
    """Its answers go with the initrd; packages come from the disc as a disk, or from a mirror."""
    _refuse_answers(order, Family.DEBIAN)
    mirror = None
    if disc is not None:
        installer = disc.installer
    else:
        report("packages of the mirror", 0.0)
        apt = Apt(directory / "apt", order.architecture)
        apt.update()
        mirror = mirror_of(apt, order.release)
        if not mirror.release:
            raise InvalidInput(
                f"Debian's {mirror.suite} has no number: --release says whose installer it is"
            )
        report(f"the installer of Debian {mirror.release}", 0.5)
        try:
            installer = fetch(apt, mirror.release, order.architecture, directory)
        except ImageBuildFailed as error:
            raise ImageBuildFailed(
                f"no installer of Debian {mirror.release} for {order.architecture}: {error}"
            ) from error
        report("done", 1.0)
    answers = Answers(
        hostname=order.hostname or "debian",
        password=password,
        mirror=mirror,
        packages=order.packages,
    )
    answered = directory / "preseed.cpio"
    answered.write_bytes(archive({"preseed.cfg": preseed(answers, own).encode()}))
    return _Start(
        family=Family.DEBIAN,
        installer=installer,
        initrds=(answered,),
        disks=() if order.iso is None else (DiskSpec(path=order.iso, read_only=True),),
        words=_WORDS,
        lasting=_LASTING,
    )


def _anaconda(order: InstallOrder, disc: Disc, own: str, password: str, directory: Path) -> _Start:
    """Its answers are on a disk of their own; the system that it runs in is on the disc."""
    assert order.iso is not None
    _refuse_answers(order, Family.ANACONDA)
    text = (
        own
        if order.kickstart is not None
        else kickstart(
            Choices(
                hostname=order.hostname or order.system or "linux",
                password=password,
                bus=order.disk.bus,
                from_disc=disc.has_packages,
                packages=order.packages,
            )
        )
    )
    answered = directory / "kickstart.iso"
    answered.write_bytes(kickstart_disk(text))
    return _Start(
        family=Family.ANACONDA,
        installer=disc.installer,
        disks=tuple(DiskSpec(path=path, read_only=True) for path in (order.iso, answered)),
        words=f"{_ANACONDA} inst.stage2=hd:LABEL={disc.label}",
    )


def _disk(order: InstallOrder) -> DiskSpec:
    path = order.disk.path
    if order.disk.nbd is None and not path.exists():
        disks.create(path, NewImage(format=disks.format_for(path, None), size=order.size))
    return order.disk


def _guest(order: InstallOrder, start: _Start, disk: DiskSpec) -> GuestRequest:
    guest = order.guest
    words = " ".join(filter(None, (start.words, guest.append, start.lasting)))
    return replace(
        guest,
        kernel=start.installer.kernel,
        initrds=(start.installer.initrd, *guest.initrds, *start.initrds),
        append=words,
        disks=(disk, *start.disks),
        memory=order.memory or DEFAULT_MEMORY[start.family],
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the answers in {path}: {error}") from error
