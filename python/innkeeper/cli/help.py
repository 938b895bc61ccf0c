"""How commands read their options and tell of them: a flag does not announce that it is a `<bool>`,
nor a name that it is `<str>`."""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from innkeeper.cli.plain import make_plain


class Command(TyperCommand):
    """A command that does something."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer gives it no public name
        return [*_plain(super().get_params(ctx))]


class Group(TyperGroup):
    """A command that only has commands below it."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer gives it no public name
        return [*_plain(super().get_params(ctx))]


def _plain(parameters: Iterable[object]) -> Iterable[object]:
    for parameter in parameters:
        make_plain(parameter)
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
        if isinstance(parameter, TyperArgument):
            # Its name says what it is; an option's type is written as its metavar.
            setattr(parameter, "display_type_rich", _nothing)  # noqa: B010 - for mypy, a method
        yield parameter


def _nothing(*, ctx: object) -> None:  # noqa: ARG001 - as Typer calls it
    return None
