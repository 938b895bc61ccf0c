"""`inn media`: what lies in a guest's drives."""

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.columns import columns
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.names import Name
from innkeeper.cli.output import print_json
from innkeeper.machine.firmware import CD, FLOPPY
from innkeeper.services import media
from innkeeper.services.media import GRACE, Drive

app = typer.Typer(
    cls=Group,
    help="What lies in a guest's CD-ROM drive and floppy drive, also while it runs.",
    no_args_is_help=True,
)


def _drives(incomplete: str) -> list[str]:
    return [drive for drive in (CD, FLOPPY) if drive.startswith(incomplete)]


Drive_ = Annotated[
    str,
    typer.Argument(
        help="cd0 or floppy0, as inn media ls has it.", metavar="DRIVE", autocompletion=_drives
    ),
]
File = Annotated[Path, typer.Argument(help="The image's file.", metavar="FILE")]
Force = Annotated[
    bool, typer.Option("--force", "-f", help="Take what is there also from a guest that holds it.")
]
Timeout = Annotated[
    str, typer.Option(metavar="TIME", help="How long the guest gets to let go of what is there.")
]
_GRACE = f"{GRACE:g}s"


@app.command("ls", cls=Command)
def list_(name: Name, as_json: AsJson = False) -> None:
    """List a guest's drives."""
    found = media.listed(name)
    if as_json:
        print_json([_document(drive) for drive in found])
        return
    rows = [(one.id, _state(one), "-" if one.file is None else str(one.file)) for one in found]
    print("\n".join(columns(("DRIVE", "STATE", "FILE"), rows)))


@app.command(cls=Command)
def eject(name: Name, drive: Drive_ = CD, force: Force = False, timeout: Timeout = _GRACE) -> None:
    """Take out what is in a drive: of a guest that holds it, once it has let go.

    [dim]inn media eject web[/dim]
    """
    media.eject(name, drive, force=force, patience=parse_duration(timeout))


@app.command(cls=Command)
def insert(name: Name, drive: Drive_, path: File) -> None:
    """Put an image into a drive that is empty.

    [dim]inn media insert web cd0 drivers.iso[/dim]
    """
    media.insert(name, path, drive)


@app.command(cls=Command)
def change(
    name: Name, drive: Drive_, path: File, force: Force = False, timeout: Timeout = _GRACE
) -> None:
    """Put an image into a drive, in place of what is there.

    [dim]inn media change web cd0 disc2.iso[/dim]
    """
    media.change(name, path, drive, force=force, patience=parse_duration(timeout))


def _state(drive: Drive) -> str:
    if drive.open:
        return "open"
    return "locked" if drive.locked else "closed"


def _document(drive: Drive) -> dict[str, object]:
    return {
        "id": drive.id,
        "kind": drive.kind,
        "file": None if drive.file is None else str(drive.file),
        "open": drive.open,
        "locked": drive.locked,
    }
