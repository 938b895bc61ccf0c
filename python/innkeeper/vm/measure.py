"""What the core finds out about this host, and how fast an engine is here."""

import os
import struct
import threading
import time
from pathlib import Path
from typing import Final

from innkeeper._core import EngineReport, Machine, engines
from innkeeper.machine.spec import MINIMUM_MEMORY, EngineChoice, MachineSpec
from innkeeper.vm.wiring import Wiring

__all__ = ["EngineReport", "engines", "speed"]

_SECONDS: Final = 0.2
_ADDRESS: Final = 0x10_0000
# Multiboot Specification 0.6.96, "OS image format": magic, flags (the addresses follow), checksum.
_MAGIC: Final = 0x1BADB002
_ADDRESSES_FOLLOW: Final = 1 << 16
_HEADER: Final = 32  # bytes
# A loop of integer arithmetic, of which every third instruction goes to memory:
#     add eax, ecx / mov [esi], eax / lea edx, [eax*4+7] / xor edx, [esi] / dec ecx / jmp
_LOOP: Final = bytes.fromhex("01c8 8906 8d148507000000 3316 49 ebf0")
_SET_UP: Final = bytes.fromhex("be00002000")  # mov esi, 2 MiB


def speed(engine: str) -> float:
    """Guest instructions a second in ring 0, on one processor, measured for a fifth of a second.

    Raises:
        EngineUnavailable, HostFailure: when the engine cannot run here.
    """
    kernel = os.memfd_create("measure")
    try:
        os.write(kernel, _kernel())
        spec = MachineSpec(
            kernel=Path(f"/proc/self/fd/{kernel}"),
            memory=MINIMUM_MEMORY,
            engine=EngineChoice(engine),
            devices=(),
            rng=False,
        )
        machine = Machine(spec, Wiring())
    finally:
        os.close(kernel)
    timer = threading.Timer(_SECONDS, machine.control.stop)
    timer.start()
    began = time.perf_counter()
    machine.run()
    elapsed = time.perf_counter() - began
    timer.join()
    return sum(vcpu.instructions for vcpu in machine.statistics().vcpus) / elapsed


def _kernel() -> bytes:
    code = _SET_UP + _LOOP
    entry = _ADDRESS + _HEADER
    end = entry + len(code)
    checksum = -(_MAGIC + _ADDRESSES_FOLLOW) & 0xFFFF_FFFF
    magic = struct.pack("<III", _MAGIC, _ADDRESSES_FOLLOW, checksum)
    return magic + struct.pack("<IIIII", _ADDRESS, _ADDRESS, end, end, entry) + code
