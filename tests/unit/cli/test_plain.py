"""Values that are made without Pydantic are those that it would make."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Protocol, get_args

import pytest
import typer
from typer._click import Context
from typer._coercion import build_runtime_param
from typer.core import TyperArgument, TyperGroup, TyperOption

from innkeeper.cli.main import app
from innkeeper.cli.plain import Values

Parameter = TyperArgument | TyperOption


class Maker(Protocol):
    def coerce(self, value: object, *, param: Parameter, ctx: None) -> object: ...


def parameters() -> Iterator[object]:
    commands = [typer.main.get_command(app)]
    while commands:
        command = commands.pop()
        context = Context(command)
        yield from command.get_params(context)
        if isinstance(command, TyperGroup):
            found = (command.get_command(context, name) for name in command.list_commands(context))
            commands += [one for one in found if one is not None]


def is_plain(parameter: object) -> bool:
    """Those that demand more of a value, as a range does, stay Typer's own."""
    return isinstance(getattr(parameter, "_runtime_param", None), Values)


ALL = [one for one in parameters() if isinstance(one, Parameter) and is_plain(one)]


def test_most_are_plain() -> None:
    assert len(ALL) > 400


def texts(parameter: Parameter) -> list[object]:
    kind = parameter.type_descriptor.annotation
    kinds = get_args(kind) or (kind,)
    enums = [one for one in kinds if isinstance(one, type) and issubclass(one, Enum)]
    members = [value for enum in enums for member in enum for value in (member, member.value)]
    ones = [*members, "", "x", "12", "0", " 7", "+7", "1_000", "7.0", "9" * 12, str(Path(__file__))]
    many = parameter.multiple or parameter.nargs == -1
    return [None, *([[one] for one in ones] if many else ones), parameter.default]


def made(by: Maker, value: object, parameter: Parameter) -> object:
    try:
        return by.coerce(value, param=parameter, ctx=None)
    except typer.BadParameter as error:
        return str(error)


@pytest.mark.parametrize("parameter", ALL, ids=lambda one: one.name)
def test_values_are_those_of_typer(parameter: Parameter) -> None:
    for value in texts(parameter):
        plain = made(Values(), value, parameter)
        known = made(build_runtime_param(parameter.type_descriptor), value, parameter)
        assert (plain, type(plain)) == (known, type(known)), value


def test_nearly_every_parameter_does_without() -> None:
    assert len(ALL) > 20
    # A minimum is checked by Typer.
    demanding = [one for one in ALL if not isinstance(one._runtime_param, Values)]
    assert all(one.min is not None for one in demanding)
