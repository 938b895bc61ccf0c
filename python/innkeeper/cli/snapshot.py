"""`inn snapshot`: what guests were, to go back to."""

from collections.abc import Mapping
from typing import Annotated

import typer

from innkeeper.cli.columns import ago, columns
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.names import Name, for_each
from innkeeper.cli.output import print_json, remark
from innkeeper.cli.progress import written
from innkeeper.machine import EngineChoice, format_size
from innkeeper.services import snapshots
from innkeeper.services.snapshot_files import Snapshot

app = typer.Typer(
    cls=Group,
    help="Snapshots of guests: make, list, go back to, remove.",
    no_args_is_help=True,
)


def complete_snapshot(ctx: typer.Context, incomplete: str) -> list[str]:
    guest = ctx.params.get("name") or ctx.params.get("guest")
    found = snapshots.listed(str(guest)) if guest else []
    return [snapshot.name for snapshot in found if snapshot.name.startswith(incomplete)]


SnapshotName = Annotated[
    str,
    typer.Argument(
        help="As in inn snapshot ls.", metavar="SNAPSHOT", autocompletion=complete_snapshot
    ),
]


@app.command(cls=Command)
def create(
    name: Name,
    snapshot: Annotated[
        str | None, typer.Argument(help="Its name; else one made from the time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save a guest with its processors, devices, memory and disks.

    A guest that runs goes on: it stands still for a moment only. Of one that does not run, its
    disks are saved.
    """
    with written("Writing memory") as progress:
        made = snapshots.create(name, snapshot, progress)
    if as_json:
        print_json(_document(made, snapshots.sizes(name)))
    else:
        print(made.name)


@app.command("ls", cls=Command)
def list_snapshots(name: Name, as_json: AsJson = False) -> int:
    """List a guest's snapshots, the oldest first.

    SIZE is what one takes on the disk beside the older ones, whose files it shares.
    """
    found, status = _listed(name)
    sizes = snapshots.sizes(name)
    if as_json:
        print_json([_document(snapshot, sizes) for snapshot in found])
    elif found:
        _print_table(found, sizes)
    elif status == 0:
        remark(f"the guest {name} has no snapshot; inn snapshot create {name} makes one")
    return status


def _listed(guest: str) -> tuple[list[Snapshot], int]:
    """Those that are whole, and the exit status; of each other it is said what is wrong."""
    damages: list[str] = []
    found = snapshots.listed(guest, damages.append)
    for sentence in damages:
        remark(sentence)
    return found, 1 if damages else 0


def _print_table(found: list[Snapshot], sizes: Mapping[str, int]) -> None:
    rows = [
        (
            snapshot.name,
            f"{ago(snapshot.created)} ago",
            "running" if snapshot.running else "disks",
            format_size(sizes.get(snapshot.name, 0)),
            next((other.name for other in found if snapshot.builds_upon(other)), "-"),
        )
        for snapshot in found
    ]
    print("\n".join(columns(("NAME", "CREATED", "OF", "SIZE", "PARENT"), rows)))


@app.command(cls=Command)
def tree(name: Name) -> int:
    """Show which of a guest's snapshots were made from which."""
    found, status = _listed(name)

    def show(inside: list[Snapshot], indent: str) -> None:
        for number, snapshot in enumerate(inside):
            last = number == len(inside) - 1
            print(f"{indent}{'└─' if last else '├─'} {snapshot.name}")
            above = [it for it in found if it.builds_upon(snapshot)]
            show(above, f"{indent}{'   ' if last else '│  '}")

    print(name)
    show([it for it in found if not any(map(it.builds_upon, found))], "")
    return status


@app.command(cls=Command)
def show(
    name: Name,
    snapshot: SnapshotName,
    _as_json: Annotated[bool, typer.Option("--json", help="As without it.")] = False,
) -> None:
    """Print all that is known about a snapshot, as JSON."""
    print_json(_document(snapshots.find(name, snapshot), snapshots.sizes(name)))


@app.command(cls=Command)
def restore(
    name: Name,
    snapshot: SnapshotName,
    engine: Annotated[
        EngineChoice | None,
        typer.Option(help="Let it go on with another engine than it was saved with."),
    ] = None,
) -> None:
    """Make a guest what it was when the snapshot was made.

    What it is now is lost, unless it is saved first. It goes on if it ran then.
    """
    snapshots.restore(name, snapshot, engine)


@app.command(cls=Command)
def verify(name: Name, snapshot: SnapshotName) -> None:
    """Read all of a snapshot, and say whether it is what it was."""
    snapshots.verify(name, snapshot)
    print(f"{snapshot} is what it was")


@app.command(cls=Command)
def rm(
    name: Name,
    names: Annotated[
        list[str],
        typer.Argument(
            help="As in inn snapshot ls.",
            metavar="SNAPSHOT…",
            autocompletion=complete_snapshot,
        ),
    ],
) -> int:
    """Remove snapshots; others that were made from them stay whole."""
    return for_each(names, lambda snapshot: snapshots.remove(name, snapshot))


def _document(snapshot: Snapshot, sizes: Mapping[str, int]) -> dict[str, object]:
    spec = snapshot.order.spec
    return {
        "name": snapshot.name,
        "id": snapshot.id,
        "parent": snapshot.parent or None,
        "parent_id": snapshot.parent_id or None,
        "created": snapshot.created,
        "running": snapshot.running,
        "pause": snapshot.pause,
        "size": sizes.get(snapshot.name, 0),
        "image": snapshot.definition.request.image,
        "memory": spec.memory,
        "cpus": spec.vcpus,
        "files": [
            {"name": file.name, "size": file.size, "sha256": file.sum} for file in snapshot.files
        ],
    }
