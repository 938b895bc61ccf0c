"""`inn logs` and `inn events`: what guests said, and what happened to them."""

import json
import sys
import time
from typing import Annotated

import typer

from innkeeper.cli.flags import AsJson
from innkeeper.cli.names import Name
from innkeeper.services import logs as service


def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay until the guest has ended.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", metavar="LINES", min=0, help="The last so many.")
    ] = None,
) -> None:
    """Print what a guest has said on its serial console, and its command's output.

    The last two mebibytes are kept.
    """
    for data in service.log(name, lines=tail, stay=follow):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def events(
    past: Annotated[bool, typer.Option("--past", help="What happened before as well.")] = False,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Do not wait for more.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what happens to guests, as it happens: a line each."""
    for event in service.events(past=past or no_follow, stay=not no_follow):
        print(json.dumps(event) if as_json else _line(event), flush=True)


def _line(event: dict[str, object]) -> str:
    moment = event.pop("time", 0)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(str(moment))))
    what, guest = event.pop("event", "?"), event.pop("guest", "?")
    details = (f"{name}={value}" for name, value in event.items() if value is not None)
    return " ".join((when, str(guest), str(what), *details))
