"""`inn run`: boot a guest and stay with it, or let it run on its own."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli import options, statistics
from innkeeper.cli.output import remark
from innkeeper.cli.progress import build_progress
from innkeeper.cli.values import (
    folders_of,
    growth_of,
    limits_of,
    network_of,
    parse_disk,
    parse_duration,
    seed_of,
    shares_of,
)
from innkeeper.errors import InvalidInput
from innkeeper.guest.console_mode import ConsoleMode
from innkeeper.machine import (
    EngineChoice,
    Limits,
    SeedSpec,
    Shares,
    VsockSpec,
    parse_size,
    parse_vsock,
)
from innkeeper.services.definition import RestartPolicy
from innkeeper.services.request import GuestRequest
from innkeeper.vm.ending import Ending


def run(
    image: options.Image = None,
    command: options.GuestCommand = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Let the guest run on its own; print its name.")
    ] = False,
    cpus: options.Cpus = 1,
    max_cpus: options.MaxCpus = None,
    memory: options.Memory = "512M",
    max_memory: options.MaxMemory = None,
    engine: options.Engine = EngineChoice.AUTO,
    cpu_model: options.CpuModel = "innkeeper-v1",
    disk: options.Disks = None,
    device: options.Devices = None,
    network: options.Network = "user",
    publish: options.Publish = None,
    vsock: options.Vsock = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The guest's name, and its host name.")
    ] = None,
    volume: options.Folders = None,
    user_data: options.UserData = None,
    meta_data: options.MetaData = None,
    network_config: options.NetworkConfig = None,
    ssh_key: options.SshKeys = None,
    hostname: options.Hostname = "",
    cloud_init: options.CloudInit = False,
    cpu_limit: options.CpuLimit = None,
    cpu_shares: options.CpuShares = None,
    cpuset: options.Cpuset = None,
    memory_min: options.MemoryMin = None,
    disk_limit: options.DiskLimit = None,
    network_limit: options.NetworkLimit = None,
    restart: options.Restart = RestartPolicy.NO,
    autostart: options.Autostart = False,
    jail: options.Jail = True,
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
    kernel: options.Kernel = None,
    initrd: options.Initrds = None,
    append: options.Append = "",
) -> int:
    """Boot a guest and stay with it, or let it run on its own.

    Without a command, this terminal is the guest's console; [bold]Ctrl-][/bold] leaves. With a
    command, it runs as root in the guest, and its exit status becomes that of inn.

    With [bold]--detach[/bold], the guest stays: see inn ps, exec, console, stop, rm. It ends with
    its command, where it has one.

    [dim]inn run debian -- uname -a[/dim]

    [dim]inn run --detach --name web debian[/dim]
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
        growth=growth_of(max_memory, max_cpus),
        engine=engine,
        cpu_model=cpu_model,
        disks=tuple(parse_disk(text) for text in disk or ()),
        devices=tuple(device or ()),
        network=network_of(network, publish or []),
        folders=folders_of(volume or []),
        seed=seed_of(
            SeedSpec(
                user_data=user_data,
                meta_data=meta_data,
                network_config=network_config,
                ssh_keys=tuple(ssh_key or ()),
                hostname=hostname,
            ),
            wanted=cloud_init,
        ),
        vsock=VsockSpec() if vsock is None else parse_vsock(vsock),
        name=name,
        jail=jail,
        limits=limits_of(cpu_limit, disk_limit, network_limit, Limits()),
        shares=shares_of(cpu_shares, cpuset, memory_min, Shares()),
        console=console,
        timeout=None if timeout is None else parse_duration(timeout),
        keep=keep,
        terminal=tty and sys.stdin.isatty() and sys.stdout.isatty(),
        statistics=stats,
        perf_map=perf_map,
        symbols=symbols,
    )
    if detach:
        # A guest that stays is run by a process of its own, which loads what it takes.
        from innkeeper.services import lifecycle

        with build_progress(image or "image") as report:
            print(lifecycle.run(request, report, restart, autostart=autostart))
        return 0
    if restart is not RestartPolicy.NO or autostart or not jail:
        raise InvalidInput(
            "--restart, --autostart and --no-jail are for a guest that --detach lets stay"
        )
    from innkeeper.services import guests

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


@contextlib.contextmanager
def _here_importable() -> Iterator[None]:
    """`--device my_device:create` finds my_device.py in the current directory."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
