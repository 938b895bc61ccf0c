"""`inn ssh`: log into a guest."""

import os
from typing import Annotated

import typer

from innkeeper.cli.durations import parse_duration
from innkeeper.cli.names import complete_guest
from innkeeper.services import login

# Whom the images of Debian have for people.
_USER = "debian"


def ssh(
    guest: Annotated[
        str,
        typer.Argument(
            help="As in inn ps, perhaps with a user before it.",
            metavar="[USER@]GUEST",
            autocompletion=complete_guest,
        ),
    ],
    command: Annotated[
        list[str] | None, typer.Argument(help="Without: a shell.", metavar="COMMAND")
    ] = None,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long its SSH server is waited for.")
    ] = "2m",
) -> None:
    """Log into a guest by SSH, with the key that cloud-init has put there.

    The guest's port 22 has to lead to the host: for guests with a seed for
    cloud-init it does, for others with [bold]-p 127.0.0.1:2222:22[/bold]. The status is ssh's.

    [dim]inn ssh web[/dim]

    [dim]inn ssh root@web uname -a[/dim]
    """
    user, _, name = guest.rpartition("@")
    given = command or []
    words = login.ssh(
        name,
        user or _USER,
        given[1:] if given[:1] == ["--"] else given,
        parse_duration(timeout),
    )
    os.execv(words[0], words)
