"""fw_cfg: facts about the machine, read a byte at a time by firmware and by test programs.

A guest writes a 16-bit key to port 510h and reads the item's bytes from port 511h; past its end an
item reads zero. Spec: QEMU docs/specs/fw_cfg.rst, "Legacy x86 interface"; this is the selector and
data register with the items that a guest without firmware asks for.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from innkeeper.devices.base import Host, check_fields

SIGNATURE: Final = 0x00
INTERFACE: Final = 0x01
RAM_SIZE: Final = 0x03
NB_CPUS: Final = 0x05
MAX_CPUS: Final = 0x0F


class FwCfg:
    kind = "fw-cfg"
    version = 1
    first_port = 0x510
    port_count = 2

    def __init__(self, *, memory: int, vcpus: int) -> None:
        self._items: dict[int, bytes] = {
            SIGNATURE: b"QEMU",
            INTERFACE: (1).to_bytes(4, "little"),
            RAM_SIZE: memory.to_bytes(8, "little"),
            NB_CPUS: vcpus.to_bytes(2, "little"),
            MAX_CPUS: vcpus.to_bytes(2, "little"),
        }
        self._key = 0
        self._position = 0

    def read(self, offset: int, size: int) -> int:
        if offset == 0:
            return self._key
        item = self._items.get(self._key, b"")
        value = item[self._position] if self._position < len(item) else 0
        self._position = min(self._position + 1, len(item))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._key = value & 0xFFFF
            self._position = 0

    def reset(self) -> None:
        self._key = self._position = 0

    def save(self) -> dict[str, object]:
        return {"key": self._key, "position": self._position}

    def restore(self, state: Mapping[str, object]) -> None:
        check_fields(state, {"key": int, "position": int})
        key, position = state["key"], state["position"]
        if key not in range(0x1_0000) or position not in range(0x1_0000):
            raise ValueError(f"key {key!r}, position {position!r}")
        self._key, self._position = int(str(key)), int(str(position))


def create(host: Host) -> Sequence[FwCfg]:
    return [FwCfg(memory=host.memory, vcpus=host.vcpus)]
