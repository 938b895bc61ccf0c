"""What a guest's process says, for whoever started it. The guest may have come to run code of its
own there, so nothing of that is trusted: it is so long at most, comes in so long, and has the shape
of what was asked for, or is nonsense.
"""

import json
import os
import select
import time
from collections.abc import Mapping
from typing import Final

from innkeeper import errors
from innkeeper.errors import DeviceFailed, HostFailure, InnkeeperError
from innkeeper.vm.ending import EndKind
from innkeeper.vm.statistics import GuestStatistics

LONGEST: Final = 16 << 20
"""Bytes of one answer: statistics of many processors are some of them."""
_CHUNK: Final = 1 << 16

Outcome = tuple[EndKind, int | None, str | None]


def nonsense() -> HostFailure:
    return HostFailure("the guest's process answers nonsense")


def silence() -> HostFailure:
    return HostFailure("the guest's process does not answer")


def comes(fd: int, until: float | None) -> bool:
    """Whether there is something to read, or its end, before it is `until`."""
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    left = None if until is None else max(0.0, until - time.monotonic()) * 1000
    return bool(waiting.poll(left))


def read(fd: int, patience: float) -> bytes:
    """All that comes before the end.

    Raises:
        HostFailure: when that takes longer than `patience` seconds, or it is too long.
    """
    until = time.monotonic() + patience
    data = bytearray()
    while comes(fd, until):
        piece = os.read(fd, _CHUNK)
        if not piece:
            return bytes(data)
        data += piece
        if len(data) > LONGEST:
            raise nonsense()
        if time.monotonic() > until:
            break
    raise silence()


def parsed(words: bytes) -> object:
    """
    Raises:
        HostFailure: when it is no JSON.
    """
    try:
        return json.loads(words)
    except (ValueError, RecursionError) as error:
        raise nonsense() from error


def mapping(told: object) -> Mapping[str, object]:
    """
    Raises:
        HostFailure: when it is none.
    """
    if not isinstance(told, dict):
        raise nonsense()
    return told


def failure(told: Mapping[str, object]) -> InnkeeperError:
    """The error that it tells."""
    kind, message = errors.by_code(str(told["error"])), str(told.get("message"))
    if kind.__module__ != errors.__name__:
        # Others have more to say than a message, and are not of machines.
        return InnkeeperError(message)
    if issubclass(kind, DeviceFailed):
        return kind(message, str(told.get("details", "")))
    return kind(message)


def outcome(told: Mapping[str, object]) -> Outcome:
    """How the guest ended, as `RunningMachine.outcome`.

    Raises:
        InnkeeperError: what it ended with; HostFailure when that makes no sense.
    """
    if "error" in told:
        raise failure(told)
    code, what = told.get("code"), told.get("what")
    try:
        kind = EndKind(str(told.get("kind")))
    except ValueError as error:
        raise nonsense() from error
    return kind, code if isinstance(code, int) else None, what if isinstance(what, str) else None


def statistics(told: object) -> GuestStatistics | None:
    """
    Raises:
        HostFailure: when it is none of the kind.
    """
    if told is None:
        return None
    try:
        return GuestStatistics.from_dict(mapping(told))
    except (TypeError, OverflowError) as error:
        raise nonsense() from error
