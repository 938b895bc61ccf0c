"""What people write on the command line, as values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine import (
    BootDevice,
    DiskBus,
    DiskFormat,
    DiskSpec,
    FirmwareSpec,
    FolderSpec,
    Growth,
    Limits,
    NetworkSpec,
    Overlay,
    ScreenSpec,
    SeedSpec,
    Shares,
    check_cpu_shares,
    parse_boot,
    parse_cpu_limit,
    parse_cpuset,
    parse_firewall,
    parse_firmware,
    parse_folder,
    parse_network,
    parse_port,
    parse_rate,
    parse_screen,
    parse_size,
    parse_vnc,
)
from innkeeper.machine.firmware import CdBus

_DISK_FORMATS: Final = [name for name in DiskFormat if name is not DiskFormat.PROBE]


def is_nbd(text: str) -> bool:
    """Is this an NBD server's URI rather than a path?"""
    return text.startswith(("nbd://", "nbd+unix://"))


def parse_disk(text: str) -> DiskSpec:
    """`PATH[,option]…`; a comma in a path is written twice.

    Raises:
        InvalidInput: for an option that does not exist.
    """
    path, *options = re.split(r"(?<!,),(?!,)", text)
    if not path:
        raise InvalidInput(f"{text!r} names no disk")
    path = path.replace(",,", ",")
    spec = DiskSpec(path=Path(path), nbd=path if is_nbd(path) else None)
    for option in options:
        match option.split("="):
            case ["ro"]:
                spec = replace(spec, read_only=True)
            case ["temporary"]:
                spec = replace(spec, overlay=Overlay.TEMPORARY)
            case ["trust-backing"]:
                spec = replace(spec, trust_backing=True)
            case ["bus", name] if name in tuple(DiskBus):
                spec = replace(spec, bus=DiskBus(name))
            case ["format", name] if name in _DISK_FORMATS:
                spec = replace(spec, format=DiskFormat(name))
            case _:
                formats = ", ".join(f"format={name}" for name in _DISK_FORMATS)
                raise InvalidInput(
                    f"disk option {option!r} is none of ro, temporary, trust-backing, bus=nvme, "
                    f"bus=sata, bus=usb, bus=ide, {formats}"
                )
    return spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """What is said of firmware besides its name."""

    boot: str | None = None
    cdrom: str | None = None
    floppy: Path | None = None
    store: Path | None = None
    log: Path | None = None


def parse_cdrom(text: str) -> tuple[Path, CdBus]:
    """A disc, and how its drive is reached: disc.iso, or disc.iso,bus=sata.

    Raises:
        InvalidInput: for another bus.
    """
    path, separator, bus = text.rpartition(",bus=")
    if not separator:
        return Path(text), CdBus.IDE
    if bus not in tuple(CdBus):
        raise InvalidInput(f"a CD-ROM drive is on the bus ide or sata, and not {bus!r}")
    return Path(path), CdBus(bus)


def firmware_of(name: str | None, media: Media) -> FirmwareSpec | None:
    """What the options about firmware ask for together.

    Raises:
        InvalidInput: when one is nothing that exists, or they do not go together.
    """
    if name is None and media.boot is None and media.cdrom is None and media.floppy is None:
        if media.log is not None or media.store is not None:
            raise InvalidInput("--firmware-log and --firmware-variables are for --firmware")
        return None
    spec = parse_firmware(name or "seabios")
    cdrom, cd_bus = (None, CdBus.IDE) if media.cdrom is None else parse_cdrom(media.cdrom)
    if media.boot is not None:
        order = parse_boot(media.boot)
    elif media.cdrom is not None:
        order = (BootDevice.CD,)
    else:
        order = () if media.floppy is None else (BootDevice.FLOPPY,)
    return replace(
        spec,
        boot=order,
        cdrom=cdrom,
        cd_bus=cd_bus,
        floppy=media.floppy,
        variables=spec.variables or media.store,
        store=media.store,
        log=media.log,
    )


def network_of(
    network: str, publish: list[str], rules: Sequence[str] = (), default: str = ""
) -> NetworkSpec | None:
    """What --network, --publish, --rule and --firewall ask for together.

    Raises:
        InvalidInput: when one is nothing that exists, or they do not go together.
    """
    spec = parse_network(network)
    for option, given in (("--publish", publish), ("--rule", rules), ("--firewall", default)):
        if given and spec is None:
            raise InvalidInput(f"{option} needs a network, and --network is none")
    if spec is None:
        return None
    ports = tuple(parse_port(text) for text in publish)
    return replace(spec, ports=ports, firewall=parse_firewall(rules, default))


def folders_of(volumes: list[str]) -> tuple[FolderSpec, ...]:
    """What each --volume asks for.

    Raises:
        InvalidInput: when one is nothing that there is.
    """
    return tuple(parse_folder(text, index) for index, text in enumerate(volumes))


def seed_of(given: SeedSpec, *, wanted: bool) -> SeedSpec | None:
    """What the options about cloud-init ask for; without any of them there is no seed."""
    return given if wanted or given != SeedSpec() else None


def limits_of(cpu: str | None, disk: str | None, network: str | None, now: Limits) -> Limits:
    """`now`, and what the options say instead.

    Raises:
        InvalidInput: when one is nothing that there is.
    """
    return Limits(
        cpu=now.cpu if cpu is None else parse_cpu_limit(cpu),
        disk=now.disk if disk is None else parse_rate(disk),
        network=now.network if network is None else parse_rate(network),
    )


def shares_of(cpu: int | None, cpuset: str | None, memory: str | None, now: Shares) -> Shares:
    """As `limits_of`."""
    return Shares(
        cpu=now.cpu if cpu is None else check_cpu_shares(cpu),
        cpuset=now.cpuset if cpuset is None else parse_cpuset(cpuset),
        memory=now.memory if memory is None else _promise(memory),
    )


def _promise(text: str) -> int:
    return 0 if text == "none" else parse_size(text)


def growth_of(memory: str | None, vcpus: int | None) -> Growth:
    """What --max-memory and --max-cpus say."""
    return Growth(memory=None if memory is None else parse_size(memory), vcpus=vcpus)


def screen_of(
    display: str, vnc: str | None, password: Path | None, *, tls: bool
) -> ScreenSpec | None:
    """
    Raises:
        InvalidInput: when they are nothing that they can be.
    """
    if vnc is None:
        if password is not None:
            raise InvalidInput("--vnc-password is for --vnc")
        if tls:
            raise InvalidInput("--vnc-tls is for --vnc")
        return parse_screen(display)
    # Who wants to look at a screen wants one.
    screen = parse_screen("vga" if display == "none" else display)
    return screen and replace(screen, vnc=parse_vnc(vnc, password, tls=tls))
