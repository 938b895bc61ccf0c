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
from collections.abc import Callable, Mapping, Sequence
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
    found = _reader(typing.cast("Any", kind))(document)
    assert isinstance(found, kind)
    return found


# Makes a value of what JSON has, or raises Unreadable.
_Reader = Callable[[object], object]


@functools.cache
def _reader(kind: Any) -> _Reader:  # noqa: ANN401 - a type or what stands for one
    """Looking at a type takes longer than reading a value of it."""
    if dataclasses.is_dataclass(kind):
        return functools.partial(_description, kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [_reader(each) for each in arguments if each is not type(None)]
        return functools.partial(_one_of, kinds, type(None) in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return functools.partial(_tuple, _reader(arguments[0]))
        return functools.partial(_row, [_reader(each) for each in arguments])
    if issubclass(kind, (Enum, *_WRITTEN)):
        return functools.partial(_made, kind)
    return functools.partial(_plain, kind, (int, float) if kind is float else (kind,))


@functools.cache
def _members(kind: Any) -> dict[str, _Reader]:  # noqa: ANN401 - a dataclass
    return {name: _reader(hint) for name, hint in typing.get_type_hints(kind).items()}


def _description(kind: Any, told: object) -> object:  # noqa: ANN401 - a dataclass
    if not isinstance(told, Mapping):
        raise Unreadable(f"{kind.__name__} is not an object")
    members = _members(kind)
    values = {}
    for name, value in told.items():
        if name not in members:
            raise Unreadable(f"{kind.__name__} has a member {name!r}, which is not known here")
        try:
            values[name] = members[name](value)
        except Unreadable as error:
            raise Unreadable(f"{name}: {error}") from error
    try:
        return kind(**values)
    except TypeError as error:
        raise Unreadable(str(error)) from error


def _plain(kind: type, accepted: tuple[type, ...], told: object) -> object:
    # True is an int in Python, and no number to anybody else.
    if not isinstance(told, accepted) or (isinstance(told, bool) and kind is not bool):
        raise Unreadable(f"{told!r} is no {kind.__name__}")
    return told


def _one_of(kinds: Sequence[_Reader], or_none: bool, told: object) -> object:  # noqa: FBT001
    if told is None and or_none:
        return None
    *others, last = kinds
    for read in others:
        with contextlib.suppress(Unreadable):
            return read(told)
    return last(told)


def _tuple(read: _Reader, told: object) -> object:
    return tuple(map(read, _list(told)))


def _row(kinds: Sequence[_Reader], told: object) -> object:
    """A tuple of so many, each of its own kind."""
    found = _list(told)
    if len(found) != len(kinds):
        raise Unreadable(f"{told!r} has not {len(kinds)} elements")
    return tuple(read(each) for read, each in zip(kinds, found, strict=True))


def _list(told: object) -> list[object]:
    if not isinstance(told, list):
        raise Unreadable(f"{told!r} is no list")
    return told


def _made(kind: Any, told: object) -> object:  # noqa: ANN401 - an enumeration or a path
    if not isinstance(told, str):
        raise Unreadable(f"{told!r} is no text")
    try:
        return kind(told)
    except ValueError as error:
        raise Unreadable(str(error)) from error
