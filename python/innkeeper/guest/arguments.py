"""What the callers of `Guest` may pass, checked where they pass it: one sentence, InvalidInput.

Python does not hold anybody to the types that are written down, and some mistakes would pass for
something else: a text is a sequence of texts, too.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from threading import TIMEOUT_MAX
from typing import TypeVar

from innkeeper.errors import InvalidInput
from innkeeper.machine import (
    DiskFormat,
    DiskSpec,
    FolderSpec,
    Limits,
    NetworkSpec,
    Overlay,
    Rate,
    parse_cpu_limit,
    parse_firewall,
    parse_folder,
    parse_network,
    parse_port,
    parse_rate,
)
from innkeeper.machine.firewall import NO_FIREWALL

Choice = TypeVar("Choice", bound=StrEnum)


def text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{what} is a text, not {value!r}")
    if "\0" in value:
        raise InvalidInput(f"{what} has a zero byte in it: {value!r}")
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what} has half a character in it: {value!r}") from error
    return value


def count(value: object, what: str) -> int:
    # True is an int.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{what} is a whole number, not {value!r}")
    return value


def choice(kind: type[Choice], value: object, what: str) -> Choice:
    for known in kind:
        if value == known:
            return known
    raise InvalidInput(f"{what} is one of {', '.join(kind)}, not {value!r}")


def seconds(value: object, what: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidInput(f"{what} is a number of seconds, not {value!r}")
    if math.isnan(value) or value < 0:
        raise InvalidInput(f"{what} cannot be {value!r} seconds")
    return min(float(value), TIMEOUT_MAX)


def network(
    value: object, ports: object, rules: object = (), firewall: object = ""
) -> NetworkSpec | None:
    spec = parse_network(text(value, "the network"))
    published = tuple(parse_port(port) for port in texts(ports, "ports"))
    wall = parse_firewall(texts(rules, "rules"), text(firewall, "firewall"))
    if spec is None:
        if published:
            raise InvalidInput("ports need a network")
        if wall != NO_FIREWALL:
            raise InvalidInput("rules need a network")
        return None
    return replace(spec, ports=published, firewall=wall)


def texts(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InvalidInput(f"{what} are a list of texts, not {value!r}")
    return tuple(text(each, f"each of {what}") for each in value)


def command(value: object) -> tuple[str, ...]:
    """The words of a command, of which there is one at least."""
    words = texts(value, "a command's words")
    if not words:
        raise InvalidInput("a command has one word at least")
    return words


def variables(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"the environment is a mapping of names to texts, not {value!r}")
    for name, content in value.items():
        text(content, f"the environment's {name!r}")
        if not text(name, "a variable's name") or "=" in name:
            raise InvalidInput(f"{name!r} is no name of a variable")
    return dict(value)


def disks(value: object) -> tuple[DiskSpec, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise InvalidInput(f"disks are a list of DiskSpec, not {value!r}")
    return tuple(_disk(each) for each in value)


def stdin(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidInput(f"standard input is bytes or a text, not {value!r}")
    return bytes(value)


def _disk(value: object) -> DiskSpec:
    if not isinstance(value, DiskSpec):
        raise InvalidInput(f"a disk is a DiskSpec(path=...), not {value!r}")
    return replace(
        value,
        path=path(value.path, "a disk's path"),
        overlay_path=(
            None if value.overlay_path is None else path(value.overlay_path, "a disk's path")
        ),
        format=choice(DiskFormat, value.format, "a disk's format"),
        overlay=choice(Overlay, value.overlay, "a disk's overlay"),
    )


def path(value: object, what: str) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise InvalidInput(f"{what} is a path, not {value!r}")
    return Path(value)


def limits(cpu: object, disk: object, network: object) -> Limits:
    """As on the command line; without one there is none."""
    return Limits(
        cpu=None if cpu is None else parse_cpu_limit(text(cpu, "cpu_limit")),
        disk=Rate() if disk is None else parse_rate(text(disk, "disk_limit")),
        network=Rate() if network is None else parse_rate(text(network, "network_limit")),
    )


def folders(value: object) -> tuple[FolderSpec, ...]:
    """As on the command line."""
    given = texts(value, "volumes")
    return tuple(parse_folder(each, index) for index, each in enumerate(given))
