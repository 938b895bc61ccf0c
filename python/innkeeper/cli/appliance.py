"""`inn import` and `inn export`: machines of others as guests, and guests for others."""

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.flags import AsJson
from innkeeper.cli.names import Name
from innkeeper.cli.output import print_json, remark
from innkeeper.cli.progress import byte_progress
from innkeeper.machine import EngineChoice, format_size, parse_network
from innkeeper.machine.spec import DiskBus


def import_(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="An OVA, or an OVF descriptor beside its disks.")
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The guest's name, if not as the machine is called."),
    ] = None,
    bus: Annotated[
        DiskBus | None,
        typer.Option(help="How the guest reaches its disks, if not as the machine did."),
    ] = None,
    network: Annotated[
        str, typer.Option(metavar="NETWORK", help="Where its network card leads: see inn run.")
    ] = "user",
    engine: Annotated[
        EngineChoice, typer.Option(help="How guest instructions run; see inn doctor.")
    ] = EngineChoice.AUTO,
    firmware: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="seabios, ovmf or a file, if not what the machine started from."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a guest of a machine that was exported elsewhere, as OVA or OVF; print its name.

    It has the machine's processors, memory, disks and firmware, and is started with inn start.

    [dim]inn import appliance.ova --name web[/dim]
    """
    from innkeeper.services.ovf import importing

    wanted = importing.Wanted(
        name=name, bus=bus, network=parse_network(network), engine=engine, firmware=firmware
    )
    made = importing.import_(path, wanted, byte_progress)
    for each in made.remarks:
        remark(each)
    if as_json:
        found = made.appliance
        print_json(
            {
                "name": made.name,
                "cpus": found.vcpus,
                "memory": found.memory,
                "disks": [drive.capacity for drive in found.drives],
                "firmware": "ovmf" if found.efi else "seabios",
                "remarks": list(made.remarks),
            }
        )
    else:
        print(made.name)


def export(
    name: Name,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The new OVA.")],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace a file that is there.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a guest that does not run as an OVA, for other hypervisors.

    [dim]inn export web web.ova[/dim]
    """
    from innkeeper.services.ovf import exporting

    made = exporting.export(name, path, byte_progress, force=force)
    for each in made.remarks:
        remark(each)
    if as_json:
        print_json({"path": str(path), "size": made.size, "remarks": list(made.remarks)})
    else:
        print(f"{path} {format_size(made.size)}")
