"""How help looks: a flag is a flag, and does not announce that it is a `<bool>`."""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


class Command(TyperCommand):
    """A command that does something."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer gives it no public name
        return [*_plain_flags(super().get_params(ctx))]


class Group(TyperGroup):
    """A command that only has commands below it."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer gives it no public name
        return [*_plain_flags(super().get_params(ctx))]


def _plain_flags(parameters: Iterable[object]) -> Iterable[object]:
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
        yield parameter
