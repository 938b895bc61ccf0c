"""`inn ps` and `inn inspect`: which guests there are, and how they stand."""

from typing import Annotated

import typer

from innkeeper.cli.columns import ago, columns
from innkeeper.cli.flags import AsJson
from innkeeper.cli.names import Name
from innkeeper.cli.output import print_json, remark
from innkeeper.machine.size import format_size
from innkeeper.services import listing
from innkeeper.services.listing import Document

_TITLES = ("NAME", "STATE", "PID", "IMAGE", "ENGINE", "CPUS", "MEMORY", "STATUS")


def ps(
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Those that do not run as well.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Names alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the guests that stay: see inn run --detach."""
    found = listing.listed(everything=everything)
    if as_json:
        print_json(found)
    elif quiet:
        for guest in found:
            print(guest["name"])
    elif found:
        print("\n".join(columns(_TITLES, [_row(guest) for guest in found])))
    elif everything:
        remark("there are no guests; inn run --detach debian starts one")
    else:
        remark("no guest is running; inn ps --all lists the others")


def inspect(
    name: Name,
    _as_json: Annotated[bool, typer.Option("--json", help="As without it.")] = False,
) -> None:
    """Print all that is known about a guest, as JSON."""
    document = listing.inspect(name)
    if document["pid"] is not None:
        # Of all that is printed, the only thing that the guest's process is asked.
        from innkeeper.services import usage

        document["cards"] = usage.cards(name)
    print_json(document)


def _row(guest: Document) -> tuple[str, ...]:
    memory = guest["memory"]
    return (
        str(guest["name"]),
        str(guest["state"]),
        _or_dash(guest["pid"]),
        _or_dash(guest["image"] or guest["kernel"]),
        _or_dash(guest["engine"]),
        _or_dash(guest["cpus"]),
        format_size(memory) if isinstance(memory, int) else "-",
        _status(guest),
    )


def _status(guest: Document) -> str:
    since = guest["since"]
    when = ago(since) if isinstance(since, float) else None
    if guest["state"] == "created":
        return "never started"
    told = f": {guest['sentence']}" if guest["sentence"] else ""
    if guest["state"] != "exited":
        times = "once" if guest["restarts"] == 1 else f"{guest['restarts']} times"
        again = f", started again {times}" if guest["restarts"] else ""
        return f"up {when}{again}{told}" if when else ""
    status = "" if guest["status"] is None else f" {guest['status']}"
    return f"exited{status}{f' {when} ago' if when else ''}{told}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
