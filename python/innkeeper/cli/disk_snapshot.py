"""`inn disk snapshot`: snapshots inside of a qcow2."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.disk_documents import snapshot_document
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import print_json, print_table, remark, table
from innkeeper.errors import InnkeeperError
from innkeeper.machine import format_size
from innkeeper.services import disks

app = typer.Typer(
    cls=Group, help="Snapshots inside of a qcow2 that no guest has.", no_args_is_help=True
)


def complete_snapshot(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those of the image that was named before."""
    try:
        found = disks.snapshots(Path(str(ctx.params.get("path") or "")))
    except InnkeeperError:
        return []
    return [snapshot.name for snapshot in found if snapshot.name.startswith(incomplete)]


Image = Annotated[Path, typer.Argument(help="The image's file.", metavar="PATH")]
Name = Annotated[
    str,
    typer.Argument(
        help="Its name or number.", metavar="SNAPSHOT", autocompletion=complete_snapshot
    ),
]


@app.command("ls", cls=Command)
def list_snapshots(path: Image, as_json: AsJson = False) -> None:
    """List the snapshots inside of an image."""
    found = disks.snapshots(path)
    if as_json:
        print_json([snapshot_document(snapshot) for snapshot in found])
        return
    if not found:
        remark(f"{path} has no snapshots")
        return
    rows = table("ID", "NAME", "TAKEN (UTC)", "DISK")
    for snapshot in found:
        taken = datetime.fromtimestamp(snapshot.date, UTC).strftime("%Y-%m-%d %H:%M")
        rows.add_row(snapshot.id, snapshot.name, taken, format_size(snapshot.size))
    print_table(rows)


@app.command(cls=Command)
def create(
    path: Image, name: Annotated[str, typer.Argument(help="What it shall be called.")]
) -> None:
    """Keep the disk as it is now."""
    disks.create_snapshot(path, name)


@app.command("apply", cls=Command)
def apply_snapshot(path: Image, name: Name) -> None:
    """Make the disk what it was then. What it is now is lost, unless a snapshot has it."""
    disks.apply_snapshot(path, name)


@app.command(cls=Command)
def rm(path: Image, name: Name) -> None:
    """Let a snapshot go."""
    disks.delete_snapshot(path, name)
