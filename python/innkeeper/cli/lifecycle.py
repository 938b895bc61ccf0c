"""`inn start`, `restart`, `rm`: for which all that makes a guest is loaded."""

from typing import Annotated

import typer

from innkeeper.cli.control import DEFAULT_GRACE, Grace
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.names import Names, complete_guest, for_each
from innkeeper.errors import InvalidInput
from innkeeper.services import lifecycle


def start(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="As in inn ps.", metavar="GUEST…", autocompletion=complete_guest),
    ] = None,
    autostart: Annotated[
        bool, typer.Option("--autostart", help="All that were made with --autostart.")
    ] = False,
) -> int:
    """Start guests that do not run."""
    if bool(names) == autostart:
        raise InvalidInput("name the guests to start, or say --autostart")
    return for_each(names or lifecycle.autostarted(), lifecycle.start)


def restart(names: Names, timeout: Grace = DEFAULT_GRACE) -> int:
    """Stop guests, and start them again."""
    grace = parse_duration(timeout, least=0)
    return for_each(names, lambda name: lifecycle.restart(name, grace))


def rm(
    names: Names,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="End a guest that runs, first.")
    ] = False,
) -> int:
    """Remove guests, with all that they have written."""
    return for_each(names, lambda name: lifecycle.remove(name, force=force))
