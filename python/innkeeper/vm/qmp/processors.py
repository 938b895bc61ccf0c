"""The commands about a guest's processors."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from innkeeper.errors import InvalidInput
from innkeeper.vm.order import Order
from innkeeper.vm.qmp.session import CommandError, Handler
from innkeeper.vm.running import RunningMachine

_KIND: Final = "x86_64-cpu"


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def order(self) -> Order: ...
    @property
    def machine(self) -> RunningMachine | None: ...
    def set_vcpus(self, count: int) -> None: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "query-cpus-fast": lambda _: _running(guest),
        "query-hotpluggable-cpus": lambda _: _possible(guest),
        "x-set-cpus": lambda arguments: _set(guest, arguments),
    }


def present(machine: RunningMachine | None, count: int) -> list[bool]:
    """Of each processor that there can be, whether it is there."""
    found = None if machine is None else machine.control.cpus()
    return [True] * count if found is None else found


def path(index: int) -> str:
    return f"/machine/cpu[{index}]"


def _present(guest: Subject) -> list[bool]:
    return present(guest.machine, guest.order.spec.vcpus)


def _running(guest: Subject) -> list[dict[str, object]]:
    threads = _vcpu_threads()
    return [
        {
            "cpu-index": index,
            "qom-path": path(index),
            "thread-id": threads.get(f"vcpu {index}", os.getpid()),
            "props": {"core-id": index},
            "target": "x86_64",
        }
        for index, there in enumerate(_present(guest))
        if there
    ]


def _possible(guest: Subject) -> list[dict[str, object]]:
    found = []
    for index, there in enumerate(_present(guest)):
        told: dict[str, object] = {"type": _KIND, "vcpus-count": 1, "props": {"core-id": index}}
        if there:
            told["qom-path"] = path(index)
        found.append(told)
    return found


def _set(guest: Subject, arguments: Mapping[str, object]) -> None:
    count = arguments["count"]
    assert isinstance(count, int)
    try:
        guest.set_vcpus(count)
    except InvalidInput as error:
        raise CommandError(str(error)) from error


def _vcpu_threads() -> dict[str, int]:
    """The threads of this process by name; the machine names those of its processors."""
    found = {}
    for thread in Path("/proc/self/task").iterdir():
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            found[(thread / "comm").read_text().strip()] = int(thread.name)
    return found
