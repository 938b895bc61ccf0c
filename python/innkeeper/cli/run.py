"""`inn run`: boot a guest and stay with it, or let it run on its own."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli import statistics
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.made_of import MadeOf, with_guest
from innkeeper.cli.output import remark
from innkeeper.cli.progress import build_progress
from innkeeper.errors import InvalidInput
from innkeeper.guest.console_mode import ConsoleMode
from innkeeper.services.definition import RestartPolicy
from innkeeper.vm.ending import Ending


@with_guest
def run(
    made: MadeOf,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Let the guest run on its own; print its name.")
    ] = False,
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
    cold: Annotated[
        bool,
        typer.Option(
            "--cold", help="Boot the guest, also where it could begin as one that has booted."
        ),
    ] = False,
    interactive: Annotated[  # noqa: ARG001 - what it asks for is so
        bool,
        typer.Option(
            "--interactive", "-i", help="As it is in any case: standard input is the command's."
        ),
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
    request = replace(
        made.request(),
        console=console,
        timeout=None if timeout is None else parse_duration(timeout),
        keep=keep,
        cold=cold,
        terminal=tty and sys.stdin.isatty() and sys.stdout.isatty(),
        statistics=stats,
        perf_map=perf_map,
        symbols=symbols,
    )
    if detach:
        # A guest that stays is run by a process of its own, which loads what it takes.
        from innkeeper.services import lifecycle

        with build_progress(made.image or "image") as report:
            print(lifecycle.run(request, report, made.restart, autostart=made.autostart))
        return 0
    if made.restart is not RestartPolicy.NO or made.autostart:
        raise InvalidInput("--restart and --autostart are for a guest that --detach lets stay")
    from innkeeper.services import guests

    with _here_importable(), build_progress(made.image or "image") as report:
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
