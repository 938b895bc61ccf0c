"""`inn fork`: running copies of a guest."""

from typing import Annotated

import typer

from innkeeper.cli.names import Name
from innkeeper.errors import InvalidInput
from innkeeper.services import forks


def fork(
    name: Name,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="What the copies are called; else GUEST-1, GUEST-2…, as far as these are free.",
            metavar="COPY…",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many copies.")] = 1,
) -> None:
    """Make running copies of a running guest.

    They share its memory and its disks until they write there. Each has a name, random numbers, a
    machine ID and a network address of its own. Ports that the guest publishes are not published
    for them.
    """
    if names and count not in (1, len(names)):
        raise InvalidInput(f"{len(names)} names are given for {count} copies")
    wanted = names or forks.names_for(name, count)
    forks.fork(name, wanted)
    print("\n".join(wanted))
