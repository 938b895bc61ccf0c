"""What guests have, also while they run: attach, detach and ls of `inn disk` and `inn network`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.columns import columns
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.flags import AsJson
from innkeeper.cli.names import Name
from innkeeper.cli.output import print_json
from innkeeper.errors import InvalidInput
from innkeeper.machine import DiskFormat, DiskSpec, Overlay, parse_network
from innkeeper.services import plugging
from innkeeper.services.plugging import GRACE, Plugged

Id = Annotated[str | None, typer.Option("--id", help="By which it is taken out; else one is made.")]
Device = Annotated[str, typer.Argument(help="Its id, as inn disk ls has it.", metavar="ID")]
Timeout = Annotated[
    str, typer.Option(metavar="TIME", help="How long the guest gets to let go of it.")
]
_GRACE = f"{GRACE:g}s"


def attach_disk(
    name: Name,
    path: Annotated[Path, typer.Argument(help="The image's file.", metavar="FILE")],
    device: Id = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="The guest cannot write to it.")
    ] = False,
    temporary: Annotated[
        bool, typer.Option("--temporary", help="What the guest writes is thrown away.")
    ] = False,
    image_format: Annotated[
        DiskFormat, typer.Option("--format", help="Where its first bytes do not tell.")
    ] = DiskFormat.PROBE,
    trust_backing: Annotated[
        bool, typer.Option(help="Follow backing files outside the image's directory.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give a guest a disk, at once where it runs, and for its later runs; print the disk's id.

    In a Linux guest it is /dev/disk/by-id/virtio-ID.

    [dim]inn disk attach web data.qcow2 --id data[/dim]
    """
    disk = DiskSpec(
        path=path,
        format=image_format,
        read_only=read_only,
        overlay=Overlay.TEMPORARY if temporary else Overlay.NONE,
        trust_backing=trust_backing,
        id=device or "",
    )
    _told(plugging.attach_disk(name, disk), as_json=as_json)


def detach_disk(name: Name, device: Device, timeout: Timeout = _GRACE) -> None:
    """Take a disk out of a guest: of one that runs, once it has let go of it.

    Unmount it in the guest first: what a file system has not written yet is lost.
    """
    plugging.detach(name, device, "disk", parse_duration(timeout))


def list_disks(name: Name, as_json: AsJson = False) -> None:
    """List a guest's disks."""
    found = plugging.listed(name, "disk")
    if as_json:
        print_json([_document(one) for one in found])
        return
    rows = [
        (one.id, "read-only" if one.read_only else "read-write", *_place(one), one.what)
        for one in found
    ]
    print("\n".join(columns(("ID", "ACCESS", "SLOT", "STATE", "FILE"), rows)))


def attach_network(
    name: Name,
    network: Annotated[
        str, typer.Argument(help="user, or user,isolated or user,host.", metavar="NETWORK")
    ] = "user",
    device: Id = None,
    mac: Annotated[str | None, typer.Option(help="Its Ethernet address.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a guest another network card, at once where it runs, and for its later runs.

    [dim]inn network attach web user[/dim]
    """
    spec = parse_network(network)
    if spec is None:
        raise InvalidInput("a card that is attached to none is not attached")
    card = replace(spec, id=device or "", mac=(mac or "").lower())
    _told(plugging.attach_network(name, card), as_json=as_json)


def detach_network(name: Name, device: Device, timeout: Timeout = _GRACE) -> None:
    """Take a network card out of a guest: of one that runs, once it has let go of it."""
    plugging.detach(name, device, "network card", parse_duration(timeout))


def _told(plugged: Plugged, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(plugged))
    else:
        print(plugged.id)


def _place(plugged: Plugged) -> tuple[str, str]:
    if plugged.slot is None:
        return "-", "-"
    return str(plugged.slot), "leaving" if plugged.leaving else "here"


def _document(plugged: Plugged) -> dict[str, object]:
    return {
        "id": plugged.id,
        "kind": plugged.kind,
        "what": plugged.what,
        "read_only": plugged.read_only,
        "slot": plugged.slot,
        "leaving": plugged.leaving,
    }
