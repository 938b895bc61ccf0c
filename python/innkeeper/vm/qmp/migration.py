"""The commands by which a guest is sent to another host: QEMU's, as far as a migration by a
descriptor goes. Spec: QEMU QMP Reference Manual, "Migration".
"""

import os
from collections.abc import Mapping
from typing import Protocol

from innkeeper.errors import InnkeeperError
from innkeeper.vm.qmp.session import DESCRIPTOR, CommandError, Handler

Arguments = Mapping[str, object]


class Departure(Protocol):
    """As innkeeper.guest.departure has it."""

    @property
    def capabilities(self) -> Mapping[str, bool]: ...

    downtime: float

    def keep(self, name: str, descriptor: int) -> None: ...
    def drop(self, name: str) -> bool: ...
    def set_capability(self, name: str, *, on: bool) -> None: ...
    def copy(self, disks: tuple[int, ...]) -> None: ...
    def take(self, uri: str) -> int: ...
    def begin(self, uri: str) -> None: ...
    def go_on(self, uri: str) -> None: ...
    def proceed(self) -> None: ...
    def cancel(self) -> None: ...
    def settle(self, *, here: bool) -> None: ...
    def status(self) -> dict[str, object]: ...


class LateMemory(Protocol):
    """As innkeeper.guest.late_memory has it."""

    def go_on(self, descriptor: int) -> None: ...
    def status(self) -> dict[str, object]: ...


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def departure(self) -> Departure: ...
    @property
    def late_memory(self) -> LateMemory: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "getfd": lambda arguments: _get(guest, arguments),
        "closefd": lambda arguments: _close(guest, str(arguments["fdname"])),
        "migrate": lambda arguments: _migrate(guest, arguments),
        "migrate_cancel": lambda _: guest.departure.cancel(),
        "migrate-recover": lambda arguments: _recover(guest, str(arguments["uri"])),
        "migrate-continue": lambda arguments: _continue(guest, str(arguments["state"])),
        "migrate-set-capabilities": lambda arguments: _set(guest, arguments["capabilities"]),
        "migrate-set-parameters": lambda arguments: _parameters(guest, arguments),
        "query-migrate": lambda _: guest.departure.status() or guest.late_memory.status(),
        "query-migrate-capabilities": lambda _: [
            {"capability": name, "state": on} for name, on in guest.departure.capabilities.items()
        ],
        "query-migrate-parameters": lambda _: {
            "downtime-limit": round(guest.departure.downtime * 1000)
        },
        "x-migrate-disks": lambda arguments: guest.departure.copy(_numbers(arguments["copied"])),
        "x-migrate-settle": lambda arguments: guest.departure.settle(
            here=arguments["here"] is True
        ),
    }


def _get(guest: Subject, arguments: Arguments) -> None:
    descriptor = arguments[DESCRIPTOR]
    assert isinstance(descriptor, int)
    guest.departure.keep(str(arguments["fdname"]), descriptor)


def _close(guest: Subject, name: str) -> None:
    if not guest.departure.drop(name):
        raise CommandError(f"File descriptor named '{name}' not found")


def _migrate(guest: Subject, arguments: Arguments) -> None:
    if arguments.get("resume") is True:
        guest.departure.go_on(str(arguments["uri"]))
    else:
        guest.departure.begin(str(arguments["uri"]))


def _recover(guest: Subject, uri: str) -> None:
    descriptor = guest.departure.take(uri)
    try:
        guest.late_memory.go_on(descriptor)
    except InnkeeperError as error:
        raise CommandError(str(error)) from error
    finally:
        os.close(descriptor)


def _continue(guest: Subject, state: str) -> None:
    if state != "pre-switchover":
        raise CommandError("a migration waits in the state pre-switchover, and in no other")
    guest.departure.proceed()


def _set(guest: Subject, capabilities: object) -> None:
    assert isinstance(capabilities, list)
    for each in capabilities:
        guest.departure.set_capability(str(each["capability"]), on=each["state"] is True)


def _parameters(guest: Subject, arguments: Arguments) -> None:
    limit = arguments.get("downtime-limit")
    if isinstance(limit, int):
        guest.departure.downtime = limit / 1000


def _numbers(told: object) -> tuple[int, ...]:
    assert isinstance(told, list)
    return tuple(int(number) for number in told)
