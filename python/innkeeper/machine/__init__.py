"""What a guest is: frozen descriptions, checked before anything is opened or started."""

from innkeeper.machine.network import (
    USER_NETWORK,
    NetworkKind,
    NetworkSpec,
    PortSpec,
    mac_of,
    parse_network,
    parse_port,
)
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
    "USER_NETWORK",
    "DiskFormat",
    "DiskSpec",
    "EngineChoice",
    "MachineSpec",
    "NetworkKind",
    "NetworkSpec",
    "Overlay",
    "PortSpec",
    "format_size",
    "mac_of",
    "parse_network",
    "parse_port",
    "parse_size",
    "validate",
]
