"""What a device is, whoever wrote it and in whatever language.

A device knows offsets, never its address, its thread or the engine. It is called with one access
at a time. An exception in a device ends the guest with the traceback for the device's author; it
never crashes the host process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable


class Device(Protocol):
    """The part that every device has.

    `save` gives the whole state as JSON values; `restore` takes such a value of the same `kind` and
    of a `version` not newer than its own, or raises ValueError and is then unchanged.
    """

    @property
    def kind(self) -> str: ...
    @property
    def version(self) -> int: ...
    def read(self, offset: int, size: int) -> int:
        """An access of `size` bytes (1, 2, 4 or 8). What does not exist reads all-ones."""
        ...

    def write(self, offset: int, size: int, value: int) -> None: ...
    def reset(self) -> None:
        """Back to the state at power-on."""
        ...

    def save(self) -> dict[str, object]: ...
    def restore(self, state: Mapping[str, object]) -> None: ...


@runtime_checkable
class PortDevice(Device, Protocol):
    """A device on the I/O-port bus: `port_count` ports from `first_port` on."""

    @property
    def first_port(self) -> int: ...
    @property
    def port_count(self) -> int: ...


@runtime_checkable
class MmioDevice(Device, Protocol):
    """A device in guest-physical address space: `length` bytes from `first_address` on."""

    @property
    def first_address(self) -> int: ...
    @property
    def length(self) -> int: ...


class Host(Protocol):
    """What a device may ask of the machine around it. Every call returns at once."""

    @property
    def vcpus(self) -> int: ...
    @property
    def memory(self) -> int:
        """Bytes of guest memory."""
        ...

    def exit(self, code: int) -> None:
        """Ends the guest; `inn` ends with `code`."""
        ...

    def guest_panicked(self) -> None:
        """The guest reports that its kernel has crashed."""
        ...

    def set_line(self, gsi: int, high: bool) -> None:  # noqa: FBT001 - a wire is high or low
        """Drives the interrupt line with this global system interrupt number."""
        ...


Factory = Callable[[Host], Sequence[PortDevice | MmioDevice]]
"""Makes the devices behind one name."""


def check_fields(state: Mapping[str, object], fields: Mapping[str, type]) -> None:
    """Refuses a saved state that does not have exactly `fields`, each of its type.

    Raises:
        ValueError: naming what is wrong.
    """
    if state.keys() != fields.keys():
        raise ValueError(f"fields {sorted(state)} where {sorted(fields)} belong")
    for name, wanted in fields.items():
        if type(state[name]) is not wanted:
            raise ValueError(f"{name} is {state[name]!r}, not of type {wanted.__name__}")
