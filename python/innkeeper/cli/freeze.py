"""`inn freeze` and `inn thaw`: a guest's file systems stand still while its disks are copied."""

from typing import Annotated

import typer

from innkeeper.cli.durations import parse_duration
from innkeeper.cli.names import Name
from innkeeper.services import freeze as freezing


def freeze(
    name: Name,
    limit: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="After so long, such as 90s, the guest thaws them by itself."
        ),
    ] = f"{freezing.DEFAULT_LIMIT:g}s",
) -> None:
    """Let a guest's file systems stand still, whole, until inn thaw; print how many there are.

    What writes to them waits. Its disks can be copied meanwhile.

    [dim]inn freeze db && cp disk.img backup.img && inn thaw db[/dim]
    """
    print(freezing.freeze(name, parse_duration(limit)))


def thaw(name: Name) -> None:
    """Let a guest's file systems go on; print how many there are.

    It fails when none was frozen any more: what was copied meanwhile may not be whole.
    """
    print(freezing.thaw(name))
