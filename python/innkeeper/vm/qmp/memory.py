"""The commands about a guest's memory."""

from collections.abc import Mapping
from typing import Protocol

from innkeeper._core import Memory
from innkeeper.vm.qmp.session import CommandError, Handler
from innkeeper.vm.running import RunningMachine

# A guest that has no less than this left can at least say that it is short of memory.
_LEAST = 1 << 20


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def machine(self) -> RunningMachine | None: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "balloon": lambda arguments: _set_balloon(guest, arguments),
        "query-balloon": lambda _: {"actual": actual(_memory(guest))},
        "query-memory-size-summary": lambda _: {"base-memory": _memory(guest).size},
        "x-query-memory": lambda _: _all(guest),
    }


def actual(memory: Memory) -> int:
    """Bytes that the guest has, without those in its balloon. What it says is not relied on."""
    return max(memory.size - memory.balloon, 0)


def _memory(guest: Subject) -> Memory:
    machine = guest.machine
    memory = None if machine is None else machine.control.memory_report()
    if memory is None:
        raise CommandError("the guest has no memory balloon")
    return memory


def _set_balloon(guest: Subject, arguments: Mapping[str, object]) -> None:
    memory, value = _memory(guest), arguments["value"]
    assert isinstance(value, int)
    if value < _LEAST:
        raise CommandError(f"Parameter 'value' expects a size of {_LEAST} bytes or more")
    assert guest.machine is not None
    guest.machine.control.set_balloon(max(memory.size - value, 0))


def _all(guest: Subject) -> dict[str, object]:
    memory = _memory(guest)
    assert guest.machine is not None
    # For whoever asks next.
    guest.machine.control.ask_memory_statistics()
    return {
        "size": memory.size,
        "resident": memory.resident,
        "balloon-target": memory.balloon_target,
        "balloon": memory.balloon,
        "returned": memory.returned,
        "told": memory.told,
        "guest": dict(memory.statistics),
    }
