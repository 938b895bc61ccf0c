"""What a guest may take of its host at most, and how that is written."""

import re
from dataclasses import dataclass, field
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine.size import parse_size

_PERCENT: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)%")
_PROCESSORS: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?")
_OPERATIONS: Final = re.compile(r"([0-9]{1,16})(?:iops|pps)")
_LEAST_CPU: Final = 0.01
_MOST_CPU: Final = 1024.0
_MOST_RATE: Final = 1 << 50
# What takes a limit away.
_NONE: Final = frozenset({"none", "unlimited"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What may pass in a second; None is without bounds. `operations` are requests of a disk, or
    frames of a network card.
    """

    bytes: int | None = None
    operations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`cpu` is in processors, 1.5 for all of one and half of another; None is without bounds.
    `disk` is for all disks together, `network` for each direction.
    """

    cpu: float | None = None
    disk: Rate = field(default=Rate())
    network: Rate = field(default=Rate())


def parse_cpu_limit(text: str) -> float | None:
    """150%, 1.5 or none.

    Raises:
        InvalidInput: when it is nothing of that.
    """
    if text in _NONE:
        return None
    if percent := _PERCENT.fullmatch(text):
        share = float(percent[1]) / 100
    elif _PROCESSORS.fullmatch(text):
        share = float(text)
    else:
        raise InvalidInput(f"{text!r} is no share of processors: 150%, 1.5 or none")
    if not _LEAST_CPU <= share <= _MOST_CPU:
        raise InvalidInput(f"a guest's limit is 1% of a processor or more, not {text}")
    return share


def parse_rate(text: str) -> Rate:
    """50M, 1000iops (or pps, packets), both with a comma between, or none.

    Raises:
        InvalidInput: when it is nothing of that.
    """
    if text in _NONE:
        return Rate()
    found: dict[str, int] = {}
    for part in text.split(","):
        operations = _OPERATIONS.fullmatch(part)
        kind = "operations" if operations else "bytes"
        try:
            amount = int(operations[1]) if operations else parse_size(part.removesuffix("/s"))
        except InvalidInput as error:
            raise InvalidInput(
                f"{part!r} is no rate: bytes a second such as 50M, 1000iops, 1000pps, or none"
            ) from error
        if kind in found:
            raise InvalidInput(f"{text!r} says twice how much may pass")
        if not 1 <= amount <= _MOST_RATE:
            raise InvalidInput(f"{part!r} is no rate: nothing would ever pass")
        found[kind] = amount
    return Rate(**found)


def written(limits: Limits) -> dict[str, int]:
    """As the control socket has them; 0 is without bounds."""
    return {
        "cpu-permille": round(1000 * (limits.cpu or 0)),
        "disk-bytes": limits.disk.bytes or 0,
        "disk-operations": limits.disk.operations or 0,
        "network-bytes": limits.network.bytes or 0,
        "network-operations": limits.network.operations or 0,
    }


def format_cpu_limit(cpu: float | None) -> str:
    """As `parse_cpu_limit` reads it."""
    return "none" if cpu is None else f"{cpu * 100:g}%"
