"""Commands that are loaded when they are called: `inn ps` has no use for what `inn run` needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.main import get_command

from innkeeper.cli.help import Command, Group


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is: a function, or a `Typer` with commands below it.

    With `passes_on`, options behind its first argument are another command's.
    """

    module: str
    name: str
    hidden: bool = False
    passes_on: bool = False


class LazyGroup(Group):
    """The commands of `places`, in that order."""

    places: ClassVar[Mapping[str, Place]] = {}

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - as Typer calls it
        super().__init__(**attributes)
        # Known by name, so that what is mistyped can be told from what there is.
        self.commands = dict.fromkeys(self.places)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - no public names
        place = self.places.get(cmd_name)
        return None if place is None else _load(cmd_name, place)


def _load(name: str, place: Place) -> object:
    found = getattr(import_module(place.module), place.name)
    if isinstance(found, typer.Typer):
        app = found
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode="rich")
        settings = {"allow_interspersed_args": not place.passes_on}
        app.command(name, cls=Command, context_settings=settings)(found)
    command = get_command(app)
    command.name, command.hidden = name, place.hidden
    return command
