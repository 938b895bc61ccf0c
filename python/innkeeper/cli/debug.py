"""`inn debug`: for those who work on Innkeeper itself."""

from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import remark
from innkeeper.cli.progress import build_progress
from innkeeper.machine import EngineChoice, parse_size
from innkeeper.services import guests
from innkeeper.services.request import GuestRequest

app = typer.Typer(cls=Group, help="Tools for work on Innkeeper itself.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Keeps this a group: one of a single command would be taken for the command."""


@app.command(cls=Command)
def lockstep(
    image: Annotated[
        str | None, typer.Argument(help="Image to boot, such as debian.", metavar="IMAGE")
    ] = None,
    command: Annotated[
        list[str] | None,
        typer.Argument(help="Command to run in the guest, after --.", metavar="COMMAND"),
    ] = None,
    kernel: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Kernel of your own instead of an image.")
    ] = None,
    initrd: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Initrd for --kernel. Repeatable.")
    ] = None,
    append: Annotated[
        str, typer.Option(metavar="TEXT", help="Added to the kernel command line.")
    ] = "",
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Guest memory.")] = "512M",
) -> int:
    """Run a guest whose translated code is checked against the interpreter, unit by unit.

    It ends at the first unit that differs and shows its code. See docs/reference/lockstep.md.
    """
    request = GuestRequest(
        image=image,
        command=tuple(command or ()),
        kernel=kernel,
        initrds=tuple(initrd or ()),
        append=append,
        memory=parse_size(memory),
        engine=EngineChoice.LOCKSTEP,
    )
    with build_progress(image or "image") as report:
        ending = guests.run(request, report)
    if ending.sentence:
        remark(ending.sentence)
    return ending.status
