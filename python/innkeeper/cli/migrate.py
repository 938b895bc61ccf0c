"""`inn migrate`: guests that move to another host while they run."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from innkeeper.cli.flags import AsJson
from innkeeper.cli.host import complete_host
from innkeeper.cli.names import complete_guest
from innkeeper.cli.output import print_json
from innkeeper.cli.progress import byte_progress
from innkeeper.errors import InnkeeperError, InvalidInput
from innkeeper.machine.size import format_size
from innkeeper.services.migration import asking, receiving, sending
from innkeeper.services.migration.line import Line


def migrate(
    name: Annotated[
        str | None,
        typer.Argument(help="The guest.", metavar="GUEST", autocompletion=complete_guest),
    ] = None,
    host: Annotated[
        str | None,
        typer.Argument(
            help="Where to: a host as in inn host trusted, or ssh://USER@HOST.",
            metavar="HOST",
            autocompletion=complete_host,
        ),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared", help="The other host finds the guest's disks where they are; copy none."
        ),
    ] = False,
    downtime: Annotated[
        int, typer.Option(help="Milliseconds that the guest may stand still.")
    ] = 300,
    converge: Annotated[
        bool,
        typer.Option(
            "--converge/--no-converge",
            help="Slow a guest down that writes faster than it can be sent.",
        ),
    ] = True,
    post_copy: Annotated[
        bool,
        typer.Option(
            "--post-copy",
            help="Let a guest that writes faster than it can be sent begin there, and send the "
            "rest of its memory then. Whoever loses either host meanwhile loses the guest.",
        ),
    ] = False,
    compress: Annotated[
        bool, typer.Option("--compress/--no-compress", help="Compress what is sent.")
    ] = True,
    status: Annotated[
        bool, typer.Option("--status", help="Say how the guest's migration stands.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End the guest's migration; it goes on here.")
    ] = False,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="The connection was cut when a part of the guest's memory was here: go on.",
        ),
    ] = False,
    here: Annotated[
        bool,
        typer.Option(
            "--here",
            help="The guest does not run on the other host, which you know for certain: it is to "
            "go on here.",
        ),
    ] = False,
    receive: Annotated[
        bool, typer.Option("--receive", hidden=True, help="By standard input and output.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move a running guest to another host, without stopping it.

    Its memory is sent while it runs, and its disks unless they are shared. It stands still for a
    moment, and goes on there. Whatever fails, it runs on one host; with --post-copy it may stand
    still there until --recover.
    """
    if receive:
        _receive()
        return
    if name is None:
        raise InvalidInput("name the guest that is to move")
    alone = (status, cancel, recover, here)
    if alone.count(True) > 1 or (host is not None and any(alone)):
        raise InvalidInput(
            "--status, --cancel, --recover and --here are each for themselves, and need no host"
        )
    if cancel:
        asking.cancel(name)
    elif recover:
        _recover(name, as_json)
    elif here:
        asking.take_back(name)
    elif status:
        found = asking.status(name)
        _say(found, found["sentence"], as_json)
    elif not 1 <= downtime <= 60_000:
        raise InvalidInput("a guest may stand still for 1 to 60000 milliseconds")
    elif host is None:
        raise InvalidInput("name the host that the guest is to move to: see inn host trusted")
    else:
        wishes = sending.Wishes(
            shared=shared,
            downtime=downtime / 1000,
            slows=converge,
            post_copy=post_copy,
            compress=compress,
        )
        _move(name, host, wishes, as_json)


def _move(name: str, host: str, wishes: sending.Wishes, as_json: bool) -> None:
    with _progress(name) as progress:
        found = sending.migrate(name, host, wishes, progress)
    _say(found, _sentence(name, host, found), as_json)


def _recover(name: str, as_json: bool) -> None:
    with _progress(name) as progress:
        found = sending.recover(name, progress)
    _say(found, f"all of the memory of {name} is where it runs", as_json)


@contextlib.contextmanager
def _progress(name: str) -> Iterator[sending.Progress]:
    with byte_progress(f"moving {name}") as report:

        def progress(found: Mapping[str, Any]) -> None:
            ram = found.get("ram", {})
            total = ram.get("total", 0)
            if total:
                report(total - min(ram["remaining"], total), total)

        yield progress


def _say(found: Mapping[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(sentence)


def _sentence(name: str, host: str, found: Mapping[str, Any]) -> str:
    sent = format_size(found.get("ram", {}).get("transferred", 0))
    still = f", and it stood still for {found['downtime']} ms" if "downtime" in found else ""
    took = found.get("total-time", 0) / 1000
    return f"{name} runs on {host}: {sent} were sent in {took:.1f} s{still}"


def _receive() -> None:
    reader, writer = sys.stdin.fileno(), sys.stdout.fileno()
    # Whoever is at the other end is told, and says it: there is nobody here.
    with Line(reader, writer) as line, contextlib.suppress(InnkeeperError):
        receiving.serve(line, None)
