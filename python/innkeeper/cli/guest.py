"""`inn guest`: the guests that were kept."""

import datetime
from typing import Annotated

import typer

from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import print_json, print_table, remark, table
from innkeeper.images import KeptGuest
from innkeeper.machine import format_size
from innkeeper.services import kept

app = typer.Typer(
    cls=Group, help="Guests that were started with --keep: list, remove.", no_args_is_help=True
)


def complete_guest(incomplete: str) -> list[str]:
    return [name for name in kept.names() if name.startswith(incomplete)]


@app.command("ls", cls=Command)
def list_guests(as_json: AsJson = False) -> None:
    """List the guests whose disk was kept."""
    found = kept.listed()
    if as_json:
        print_json([_document(guest) for guest in found])
        return
    if not found:
        remark("no guest is kept; inn run debian --keep --name NAME keeps one")
        return
    rows = table("NAME", "IMAGE", "DIGEST", "STATE", "WRITTEN", "LAST USED (UTC)")
    for guest in found:
        rows.add_row(
            guest.name,
            guest.image.name if guest.image else "gone",
            guest.image.digest[:12] if guest.image else "-",
            _state(guest),
            format_size(guest.written),
            _changed(guest).strftime("%Y-%m-%d %H:%M"),
        )
    print_table(rows)


@app.command(cls=Command)
def rm(
    name: Annotated[
        str,
        typer.Argument(help="As in inn guest ls.", metavar="NAME", autocompletion=complete_guest),
    ],
    as_json: AsJson = False,
) -> None:
    """Remove a kept guest and all that it has written. One that runs has to end first."""
    removed = kept.remove(name)
    if as_json:
        print_json(_document(removed))


def _document(guest: KeptGuest) -> dict[str, object]:
    return {
        "name": guest.name,
        "image": guest.image.name if guest.image else None,
        "digest": guest.image.digest if guest.image else None,
        "directory": str(guest.directory),
        "state": _state(guest),
        "written": guest.written,
        "last_used": _changed(guest).isoformat(timespec="seconds"),
    }


def _state(guest: KeptGuest) -> str:
    return "running" if guest.running else "off"


def _changed(guest: KeptGuest) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(guest.changed, datetime.UTC)
