"""pc-testdev: what kvm-unit-tests need of a machine beside real hardware.

Four ranges: a loop-back register at ports E0h-E3h, a page flush at E4h (nothing to do here: no
page of a guest is ever swapped out behind its back), one port a interrupt line from 2000h on, and
64 KiB of memory behind MMIO. Spec: QEMU hw/misc/pc-testdev.c, as kvm-unit-tests use it.
"""

from collections.abc import Mapping, Sequence

from innkeeper.devices.base import Host, MmioDevice, PortDevice, check_fields


class Bytes:
    """A little-endian store of bytes: the loop-back register, and the memory."""

    version = 1

    def __init__(self, kind: str, count: int) -> None:
        self.kind = kind
        self._count = count
        self._bytes = bytearray(count)

    def read(self, offset: int, size: int) -> int:
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        end = min(offset + size, self._count)
        self._bytes[offset:end] = value.to_bytes(size, "little")[: end - offset]

    def reset(self) -> None:
        self._bytes[:] = bytes(self._count)

    def save(self) -> dict[str, object]:
        return {"bytes": self._bytes.hex()}

    def restore(self, state: Mapping[str, object]) -> None:
        check_fields(state, {"bytes": str})
        saved = bytes.fromhex(str(state["bytes"]))
        if len(saved) != self._count:
            raise ValueError(f"{len(saved)} bytes where {self._count} belong")
        self._bytes[:] = saved


class LoopBack(Bytes):
    first_port = 0xE0
    port_count = 4

    def __init__(self) -> None:
        super().__init__("pc-testdev-loopback", self.port_count)


class Memory(Bytes):
    first_address = 0xFF00_0000
    length = 0x1_0000

    def __init__(self) -> None:
        super().__init__("pc-testdev-memory", self.length)


class PageFlush:
    kind = "pc-testdev-flush"
    version = 1
    first_port = 0xE4
    port_count = 4

    def read(self, offset: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """The page stays where it is."""

    def reset(self) -> None:
        """Nothing to forget."""

    def save(self) -> dict[str, object]:
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        check_fields(state, {})


class InterruptLines:
    kind = "pc-testdev-lines"
    version = 1
    first_port = 0x2000
    port_count = 24

    def __init__(self, host: Host) -> None:
        self._host = host
        self._high: set[int] = set()

    def read(self, offset: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        (self._high.add if value else self._high.discard)(offset)
        self._host.set_line(offset, bool(value))

    def reset(self) -> None:
        for line in sorted(self._high):
            self._host.set_line(line, high=False)
        self._high.clear()

    def save(self) -> dict[str, object]:
        return {"high": sorted(self._high)}

    def restore(self, state: Mapping[str, object]) -> None:
        check_fields(state, {"high": list})
        lines = state["high"]
        if not isinstance(lines, list) or not all(line in range(self.port_count) for line in lines):
            raise ValueError(f"interrupt lines {lines!r}")
        self._high = set(lines)


def create(host: Host) -> Sequence[PortDevice | MmioDevice]:
    return [LoopBack(), PageFlush(), InterruptLines(host), Memory()]
