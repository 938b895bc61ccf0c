"""Names of guests on the command line, and tab completion of them. Loads next to nothing."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from innkeeper.cli.output import remark, status_of
from innkeeper.errors import InnkeeperError
from innkeeper.vm.detached.registry import registry


def complete_guest(incomplete: str) -> list[str]:
    return [name for name in registry().names() if name.startswith(incomplete)]


Name = Annotated[
    str, typer.Argument(help="As in inn ps.", metavar="GUEST", autocompletion=complete_guest)
]
Names = Annotated[
    list[str],
    typer.Argument(help="As in inn ps.", metavar="GUEST…", autocompletion=complete_guest),
]


def for_each(names: Sequence[str], act: Callable[[str], object], *, silent: bool = False) -> int:
    """Prints each guest that `act` has succeeded with, unless it is to be `silent`. One that fails
    does not spare the others.
    """
    status = 0
    for name in names:
        try:
            act(name)
        except InnkeeperError as error:
            remark(str(error))
            status = max(status, status_of(error))
        else:
            if not silent:
                print(name)
    return status
