"""What is given on the command line, as the values that commands take.

Typer has Pydantic make them, which it loads for that: a third of the time that `inn` takes to
start. Nearly always there is nothing to it, and it is done here. Whatever is not so plain
is still Typer's, above all what is wrong, so that its sentences are the same.
"""

import os
import re
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from typer.models import OptionInfo

_COUNT: Final = re.compile(r"[0-9]{1,9}")
_USUAL: Final = OptionInfo()
# What else may be asked of a value. A parameter that does is Typer's.
_DEMANDS: Final = (
    *("parser", "min", "max", "clamp", "formats", "case_sensitive", "exists", "file_okay"),
    *("dir_okay", "readable", "writable", "resolve_path", "allow_dash", "path_type"),
)


class _Other(Exception):
    """Not as plain as that."""


class Values:
    """Stands where a parameter of Typer's keeps how its values are made."""

    def coerce(self, value: object, param: Any, ctx: Any) -> object:  # noqa: ANN401 - Typer's
        try:
            return _values(value, param)
        except _Other:
            from typer._coercion import build_runtime_param

            return build_runtime_param(param.type_descriptor).coerce(value, param=param, ctx=ctx)


def make_plain(parameter: object) -> None:
    """Lets `parameter` do without Pydantic, if it is one that would ask it."""
    if getattr(parameter, "_runtime_param", parameter) is None and not _demands(parameter):
        setattr(parameter, "_runtime_param", Values())  # noqa: B010 - Typer's, and private


def _demands(parameter: Any) -> bool:  # noqa: ANN401 - Typer's
    info = parameter.type_descriptor.parameter_info
    return any(getattr(info, name, None) != getattr(_USUAL, name, None) for name in _DEMANDS)


def _values(value: object, param: Any) -> object:  # noqa: ANN401 - Typer's
    many = param.multiple or param.nargs == -1
    if value is None:
        return () if many else None
    kind = param.type_descriptor.annotation
    if not many:
        return _one(value, kind)
    if get_origin(kind) is not list or not isinstance(value, Sequence) or isinstance(value, str):
        raise _Other
    return [_one(item, get_args(kind)[0]) for item in value]


def _one(value: object, kind: object) -> object:
    if isinstance(kind, type) and issubclass(kind, Enum):
        if isinstance(value, kind):
            return value
        for member in kind:
            if member.value == value:
                return member
    elif isinstance(value, str):
        if kind is str:
            return value
        if kind is int and _COUNT.fullmatch(value):
            return int(value)
        # What is not there, or cannot be read, may be wrong.
        if kind is Path and os.access(value, os.R_OK):
            return Path(value)
    elif type(value) is kind:
        return value
    raise _Other
