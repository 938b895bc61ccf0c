"""pvpanic: the guest tells us that its kernel has crashed.

Spec: QEMU docs/specs/pvpanic.rst, "ISA interface".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from innkeeper.devices.base import Host

PANICKED: Final = 1 << 0
CRASH_LOADED: Final = 1 << 1


class PvPanic:
    kind = "pvpanic"
    version = 1
    first_port = 0x505
    port_count = 1

    def __init__(self, on_panic: Callable[[], None]) -> None:
        self._on_panic = on_panic

    def read(self, offset: int, size: int) -> int:
        return PANICKED | CRASH_LOADED

    def write(self, offset: int, size: int, value: int) -> None:
        # A crash kernel (kdump) is about to run: stopping the guest now would lose the dump.
        if value & PANICKED and not value & CRASH_LOADED:
            self._on_panic()

    def reset(self) -> None:
        """Nothing to forget."""

    def save(self) -> dict[str, object]:
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        if state:
            raise ValueError("pvpanic has no state")


def create(host: Host) -> Sequence[PvPanic]:
    return [PvPanic(host.guest_panicked)]
