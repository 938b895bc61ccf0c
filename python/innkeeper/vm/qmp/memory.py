"""The commands about a guest's memory."""

from collections.abc import Mapping
from typing import Final, Protocol

from innkeeper._core import Memory
from innkeeper.errors import InvalidInput
from innkeeper.vm.qmp.session import CommandError, Handler
from innkeeper.vm.running import RunningMachine

# A guest that has no less than this left can at least say that it is short of memory.
_LEAST: Final = 1 << 20
# Its name among the devices of the machine.
PLUGGABLE: Final = "memory0"
_BLOCK: Final = 2 << 20


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def machine(self) -> RunningMachine | None: ...
    def set_memory(self, size: int) -> None: ...


def handlers(guest: Subject) -> dict[str, Handler]:
    return {
        "balloon": lambda arguments: _set_balloon(guest, arguments),
        "query-balloon": lambda _: {"actual": actual(_balloon(guest))},
        "query-memory-devices": lambda _: devices(_memory(guest)),
        "query-memory-size-summary": lambda _: _summary(_memory(guest)),
        "x-query-memory": lambda _: _all(guest),
        "x-set-memory": lambda arguments: _set_memory(guest, arguments),
    }


def actual(memory: Memory) -> int:
    """Bytes that the guest has, without those in its balloon. What it says is not relied on."""
    return max(memory.size + plugged_in(memory) - memory.balloon, 0)


def plugged_in(memory: Memory) -> int:
    """Bytes that the guest has plugged in."""
    return 0 if memory.hotplug is None else memory.hotplug[3]


def _memory(guest: Subject) -> Memory:
    machine = guest.machine
    memory = None if machine is None else machine.control.memory_report()
    if memory is None:
        raise CommandError("the guest is not running")
    return memory


def _balloon(guest: Subject) -> Memory:
    memory = _memory(guest)
    if not memory.has_balloon:
        raise CommandError("No balloon device has been activated")
    return memory


def devices(memory: Memory) -> list[dict[str, object]]:
    """Memory that comes and goes, as `query-memory-devices` tells of it."""
    if memory.hotplug is None:
        return []
    base, size, requested, plugged = memory.hotplug
    data = {
        "id": PLUGGABLE,
        "memaddr": base,
        "requested-size": requested,
        "size": plugged,
        "max-size": size,
        "block-size": _BLOCK,
        "node": 0,
        "memdev": "/objects/ram",
    }
    return [{"type": "virtio-mem", "data": data}]


def _summary(memory: Memory) -> dict[str, object]:
    return {"base-memory": memory.size, "plugged-memory": plugged_in(memory)}


def _set_memory(guest: Subject, arguments: Mapping[str, object]) -> None:
    size = arguments["size"]
    assert isinstance(size, int)
    _require_size("size", size)
    try:
        guest.set_memory(size)
    except InvalidInput as error:
        raise CommandError(str(error)) from error


def _require_size(name: str, size: int) -> None:
    if size < _LEAST:
        raise CommandError(f"Parameter '{name}' expects a size of {_LEAST} bytes or more")


def _set_balloon(guest: Subject, arguments: Mapping[str, object]) -> None:
    memory, value = _balloon(guest), arguments["value"]
    assert isinstance(value, int)
    _require_size("value", value)
    assert guest.machine is not None
    size = memory.size + plugged_in(memory)
    guest.machine.control.set_balloon(max(size - value, 0))


def _all(guest: Subject) -> dict[str, object]:
    memory = _memory(guest)
    assert guest.machine is not None
    # For whoever asks next.
    guest.machine.control.ask_memory_statistics()
    return {
        "size": memory.size,
        "resident": memory.resident,
        "plugged": plugged_in(memory),
        "balloon-target": memory.balloon_target,
        "balloon": memory.balloon,
        "returned": memory.returned,
        "told": memory.told,
        "guest": dict(memory.statistics),
    }
