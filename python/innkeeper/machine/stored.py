"""Descriptions as JSON documents and back: of any frozen dataclass whose fields are plain values,
paths, addresses, enumerations, one of several of these, tuples of these, and descriptions in turn.

A document says its format. A member that is not known comes from a newer version of Innkeeper, and
is refused rather than lost; one that is missing has its default, so that a field may be added.
"""

import contextlib
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

# What is written as a text that it can be made of again.
_WRITTEN: Final = (Path, PurePosixPath, IPv4Address, IPv6Address)

Description = TypeVar("Description")


class Unreadable(Exception):
    """A document that describes nothing of the kind, in words."""


def encode(value: object) -> Any:  # noqa: ANN401 - whatever JSON has
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: encode(getattr(value, field.name)) for field in fields}
    if isinstance(value, tuple):
        return [encode(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    # Python spells what is not UTF-8 in names of files so that JSON can have it.
    return str(value) if isinstance(value, _WRITTEN) else value


def decode(kind: type[Description], document: object) -> Description:
    """
    Raises:
        Unreadable: when `document` is not what `encode` makes of a `kind`.
    """
    found = _value(kind, document)
    assert isinstance(found, kind)
    return found


def _description(kind: Any, document: object) -> object:  # noqa: ANN401 - a dataclass
    if not isinstance(document, Mapping):
        raise Unreadable(f"{kind.__name__} is not an object")
    hints = _hints(kind)
    values = {}
    for name, told in document.items():
        if name not in hints:
            raise Unreadable(f"{kind.__name__} has a member {name!r}, which is not known here")
        try:
            values[name] = _value(hints[name], told)
        except Unreadable as error:
            raise Unreadable(f"{name}: {error}") from error
    try:
        return kind(**values)
    except TypeError as error:
        raise Unreadable(str(error)) from error


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    return typing.get_type_hints(kind)


def _value(kind: Any, told: object) -> object:  # noqa: ANN401 - a type or what stands for one
    if dataclasses.is_dataclass(kind):
        return _description(kind, told)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, told)
    if origin is tuple:
        return _tuple(arguments, told)
    if issubclass(kind, (Enum, *_WRITTEN)):
        return _made(kind, told)
    accepted = (int, float) if kind is float else (kind,)
    # True is an int in Python, and no number to anybody else.
    if not isinstance(told, accepted) or (isinstance(told, bool) and kind is not bool):
        raise Unreadable(f"{told!r} is no {kind.__name__}")
    return told


def _one_of(kinds: tuple[Any, ...], told: object) -> object:
    if told is None and type(None) in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not type(None))
    for kind in others:
        with contextlib.suppress(Unreadable):
            return _value(kind, told)
    return _value(last, told)


def _tuple(kinds: tuple[Any, ...], told: object) -> object:
    if not isinstance(told, list):
        raise Unreadable(f"{told!r} is no list")
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], each) for each in told)
    if len(told) != len(kinds):
        raise Unreadable(f"{told!r} has not {len(kinds)} elements")
    return tuple(_value(kind, each) for kind, each in zip(kinds, told, strict=True))


def _made(kind: Any, told: object) -> object:  # noqa: ANN401 - an enumeration or a path
    if not isinstance(told, str):
        raise Unreadable(f"{told!r} is no text")
    try:
        return kind(told)
    except ValueError as error:
        raise Unreadable(str(error)) from error
