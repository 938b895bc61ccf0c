"""What a guest is: frozen descriptions, checked before anything is opened or started."""

from innkeeper.machine.size import format_size, parse_size
from innkeeper.machine.spec import (
    MIB,
    DiskFormat,
    DiskSpec,
    EngineChoice,
    MachineSpec,
    Overlay,
    validate,
)

__all__ = [
    "MIB",
    "DiskFormat",
    "DiskSpec",
    "EngineChoice",
    "MachineSpec",
    "Overlay",
    "format_size",
    "parse_size",
    "validate",
]
