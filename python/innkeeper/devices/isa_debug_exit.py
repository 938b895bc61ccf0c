"""isa-debug-exit: a guest ends itself with a status of its own; test programs use it.

A value V written to the port ends the process with (V << 1) | 1, so that no guest can pretend
success. Spec: QEMU hw/misc/debugexit.c, as kvm-unit-tests and many kernels' tests rely on it.
"""

from collections.abc import Mapping, Sequence

from innkeeper.devices.base import Host


class IsaDebugExit:
    kind = "isa-debug-exit"
    version = 1
    first_port = 0xF4
    port_count = 4

    def __init__(self, host: Host) -> None:
        self._host = host

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        # A process status has eight bits.
        self._host.exit(((value << 1) | 1) & 0xFF)

    def reset(self) -> None:
        """Nothing to forget."""

    def save(self) -> dict[str, object]:
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        if state:
            raise ValueError("isa-debug-exit has no state")


def create(host: Host) -> Sequence[IsaDebugExit]:
    return [IsaDebugExit(host)]
