"""`inn install`: an operating system onto a disk, by its own installer."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from innkeeper.cli import options
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.output import remark
from innkeeper.cli.progress import build_progress
from innkeeper.cli.values import Media, firmware_of, network_of, parse_disk
from innkeeper.errors import InvalidInput
from innkeeper.images.installers import Architecture
from innkeeper.machine import EngineChoice
from innkeeper.machine.size import parse_size
from innkeeper.services.install import SYSTEMS, InstallOrder
from innkeeper.services.install import install as run_installer
from innkeeper.services.request import GuestRequest

# Debian 13's installer leaves the EFI system partition out when it sees whether a system has room:
# from 8.5 to 9.3 GB it takes what has none, and stops.
_DEFAULT_SIZE: Final = "10G"


def install(
    disk: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="Where to: made if it is missing. Options as for inn run --disk."
        ),
    ],
    system: Annotated[
        str | None,
        typer.Argument(
            help=f"What to install: {', '.join(SYSTEMS)}. Without, what the disc of --iso has."
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Of a disk that is made, such as 20G.")
    ] = _DEFAULT_SIZE,
    replace: Annotated[
        bool, typer.Option("--replace", help="Install over what is on a disk that is there.")
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="Debian's release, of which the host's apt has a mirror. Without, the host's own.",
        ),
    ] = None,
    architecture: Annotated[
        Architecture, typer.Option(help="Of the system that is installed.")
    ] = Architecture.AMD64,
    iso: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Install from this disc. Debian alone can also be installed by the network.",
        ),
    ] = None,
    preseed: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Answers of your own to Debian's installer, which count before ours.",
        ),
    ] = None,
    kickstart: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A kickstart of your own, for Anaconda, in the place of ours."
        ),
    ] = None,
    hostname: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What it calls itself. Without, by the system's name."),
    ] = None,
    password: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A file with root's password. Without, one is made and printed."
        ),
    ] = None,
    package: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A package besides. Repeatable.")
    ] = None,
    firmware: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="ovmf, or an image of UEFI firmware of your own, for a system that UEFI starts. "
            "Without, it is one that a BIOS starts.",
        ),
    ] = None,
    firmware_variables: options.FirmwareVariables = None,
    cpus: options.Cpus = 1,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Guest memory. Without, 1G for Debian's installer, 3G for Anaconda.",
        ),
    ] = None,
    engine: options.Engine = EngineChoice.AUTO,
    cpu_model: options.CpuModel = "innkeeper-v1",
    network: options.Network = "user",
    initrd: options.Initrds = None,
    append: options.Append = "",
    jail: options.Jail = True,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Give up after this long, such as 90m."),
    ] = None,
) -> int:
    """Install an operating system onto a disk, unattended, and switch the guest off.

    The installer's console is this terminal. Debian's fetches packages from the mirror that the
    host's own apt has, that of Fedora and of RHEL's kin (Anaconda) starts from a disc.

    [dim]inn install debian --disk web.qcow2 --size 20G[/dim]

    [dim]inn run --disk web.qcow2 --boot disk[/dim]

    [dim]inn install debian --disk uefi.qcow2 --firmware ovmf --firmware-variables uefi.fd[/dim]

    [dim]inn install fedora --disk fedora.qcow2 --iso Fedora-Server-dvd.iso[/dim]
    """
    order = InstallOrder(
        system=system,
        disk=parse_disk(disk),
        size=parse_size(size),
        replace=replace,
        release=release,
        architecture=architecture,
        iso=iso,
        preseed=preseed,
        kickstart=kickstart,
        hostname=hostname,
        password=None if password is None else _first_line(password),
        packages=tuple(package or ()),
        memory=None if memory is None else parse_size(memory),
        guest=GuestRequest(
            firmware=firmware_of(firmware, Media(store=firmware_variables)),
            initrds=tuple(initrd or ()),
            append=append,
            vcpus=cpus,
            engine=engine,
            cpu_model=cpu_model,
            network=network_of(network, []),
            jail=jail,
            timeout=None if timeout is None else parse_duration(timeout),
        ),
    )
    with build_progress(system or "the system") as report:
        installed = run_installer(order, report)
    if installed.ending.sentence:
        remark(installed.ending.sentence)
    elif password is None and installed.password is not None:
        print(f"root's password on {disk} is {installed.password}", file=sys.stderr)
    return installed.ending.status


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the password in {path}: {error}") from error
