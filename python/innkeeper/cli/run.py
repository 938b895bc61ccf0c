"""`inn run`: boot a guest and stay with it."""

import contextlib
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import Annotated

import typer

from innkeeper.cli import statistics
from innkeeper.cli.output import remark
from innkeeper.cli.progress import build_progress
from innkeeper.errors import InvalidInput
from innkeeper.guest.console import ConsoleMode
from innkeeper.machine import (
    DiskFormat,
    DiskSpec,
    EngineChoice,
    NetworkSpec,
    Overlay,
    parse_network,
    parse_port,
    parse_size,
)
from innkeeper.services import guests, images
from innkeeper.services.request import GuestRequest
from innkeeper.vm.ending import Ending

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|h)?")


def complete_image(incomplete: str) -> list[str]:
    return [name for name in images.names() if name.startswith(incomplete)]


def run(
    image: Annotated[
        str | None,
        typer.Argument(
            help="Image to boot, such as debian.",
            metavar="IMAGE",
            autocompletion=complete_image,
        ),
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            help="Command to run in the guest, after --. Without: a shell.", metavar="COMMAND"
        ),
    ] = None,
    cpus: Annotated[int, typer.Option(metavar="COUNT", help="Virtual processors.")] = 1,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Guest memory, such as 512M or 2G.")
    ] = "512M",
    engine: Annotated[
        EngineChoice, typer.Option(help="How guest instructions run; see inn doctor.")
    ] = EngineChoice.AUTO,
    cpu_model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="CPU that the guest sees: MODEL,+FEATURE,-FEATURE,vendor=amd, all but the first "
            "optional.",
        ),
    ] = "innkeeper-v1",
    disk: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Disk image, raw or qcow2. After PATH may follow ,ro or ,temporary and "
            ",format=raw or ,format=qcow2. Repeatable.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Python device: a built-in one, module:factory or none. Repeatable.",
        ),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            metavar="NETWORK",
            help="user: by the host's own connections; user,host: and to the host's own services; "
            "tap=INTERFACE; or none.",
        ),
    ] = "user",
    publish: Annotated[
        list[str] | None,
        typer.Option(
            "--publish",
            "-p",
            metavar="PORT",
            help="A port of the host that leads to one of the guest, such as 8080:80, "
            "127.0.0.1:8080:80 or 5353:53/udp. Repeatable.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The guest's host name.")] = None,
    console: Annotated[
        ConsoleMode | None,
        typer.Option(
            help="What is on this terminal: virtio (default of images), serial (default of "
            "--kernel, also shows boot messages) or none."
        ),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End the guest after this long, such as 90, 90s or 5m."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what the guest writes to its disk, by --name.")
    ] = False,
    tty: Annotated[
        bool, typer.Option("--tty", "-t", help="Give the command a terminal in the guest.")
    ] = False,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="Tell on standard error, at the end, what the engine did."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --stats: as one line of JSON.")
    ] = False,
    perf_map: Annotated[
        bool,
        typer.Option("--perf-map", help="Write /tmp/perf-PID.map, by which perf names guest code."),
    ] = False,
    symbols: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --perf-map: names of the guest's kernel, from a System.map, the guest's "
            "/proc/kallsyms or an ELF.",
        ),
    ] = None,
    kernel: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Kernel of your own: bzImage, ELF (PVH) or multiboot."),
    ] = None,
    initrd: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Initrd for --kernel. Repeatable.")
    ] = None,
    append: Annotated[
        str, typer.Option(metavar="TEXT", help="Added to the kernel command line.")
    ] = "",
) -> int:
    """Boot a guest and stay with it.

    Without a command, this terminal is the guest's console; [bold]Ctrl-][/bold] leaves. With a
    command, it runs as root in the guest, and its exit status becomes that of inn.

    [dim]inn run debian -- uname -a[/dim]
    """
    if as_json and not stats:
        raise InvalidInput("--json is for --stats")
    request = GuestRequest(
        image=image,
        command=tuple(command or ()),
        kernel=kernel,
        initrds=tuple(initrd or ()),
        append=append,
        vcpus=cpus,
        memory=parse_size(memory),
        engine=engine,
        cpu_model=cpu_model,
        disks=tuple(parse_disk(text) for text in disk or ()),
        devices=tuple(device or ()),
        network=network_of(network, publish or []),
        name=name,
        console=console,
        timeout=None if timeout is None else parse_duration(timeout),
        keep=keep,
        terminal=tty and sys.stdin.isatty() and sys.stdout.isatty(),
        statistics=stats,
        perf_map=perf_map,
        symbols=symbols,
    )
    with _here_importable(), build_progress(image or "image") as report:
        ending = guests.run(request, report)
    _tell(ending)
    if ending.statistics is not None:
        tell = statistics.print_json if as_json else statistics.print_tables
        tell(ending.statistics)
    return ending.status


def _tell(ending: Ending) -> None:
    if ending.sentence:
        colon = ":" if ending.last_words else ""
        remark(f"{ending.sentence}{colon}")
    for line in ending.last_words:
        print(f"  | {line}", file=sys.stderr)


def parse_disk(text: str) -> DiskSpec:
    """`PATH[,option]…`; a comma in a path is written twice.

    Raises:
        InvalidInput: for an option that does not exist.
    """
    path, *options = re.split(r"(?<!,),(?!,)", text)
    if not path:
        raise InvalidInput(f"{text!r} names no disk")
    spec = DiskSpec(path=Path(path.replace(",,", ",")))
    for option in options:
        match option.split("="):
            case ["ro"]:
                spec = replace(spec, read_only=True)
            case ["temporary"]:
                spec = replace(spec, overlay=Overlay.TEMPORARY)
            case ["format", name] if name in (DiskFormat.RAW, DiskFormat.QCOW2):
                spec = replace(spec, format=DiskFormat(name))
            case _:
                raise InvalidInput(
                    f"disk option {option!r} is none of ro, temporary, format=raw, format=qcow2"
                )
    return spec


def network_of(network: str, publish: list[str]) -> NetworkSpec | None:
    """What --network and --publish ask for together.

    Raises:
        InvalidInput: when one is nothing that exists, or they do not go together.
    """
    spec = parse_network(network)
    if not publish:
        return spec
    if spec is None:
        raise InvalidInput("--publish needs a network, and --network is none")
    return replace(spec, ports=tuple(parse_port(text) for text in publish))


def parse_duration(text: str) -> float:
    """Seconds of 90, 90s, 5m or 2h.

    Raises:
        InvalidInput: when `text` is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise InvalidInput(f"{text!r} is not a time; write it like 90, 90s or 5m")
    return min(float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"], TIMEOUT_MAX)


@contextlib.contextmanager
def _here_importable() -> Iterator[None]:
    """`--device my_device:create` finds my_device.py in the current directory."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
