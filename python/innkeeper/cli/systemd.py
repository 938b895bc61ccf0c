"""`inn systemd`: a unit for a guest."""

from typing import Annotated

import typer

from innkeeper.cli.control import DEFAULT_GRACE, Grace
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.names import Name
from innkeeper.services import units


def systemd(
    name: Name,
    timeout: Grace = DEFAULT_GRACE,
    system: Annotated[
        bool, typer.Option("--system", help="For the system's units rather than your own.")
    ] = False,
) -> None:
    """Print a systemd unit that starts and stops a guest.

    [dim]inn systemd web > ~/.config/systemd/user/web.service[/dim]

    [dim]systemctl --user enable --now web[/dim]
    """
    grace = round(parse_duration(timeout, least=0))
    print(units.unit(name, grace=grace, for_system=system), end="")
