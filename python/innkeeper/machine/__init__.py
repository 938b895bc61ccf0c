"""What a guest is: frozen descriptions, checked before anything is opened or started."""

from innkeeper.machine.firewall import FirewallSpec, parse_firewall, parse_rule
from innkeeper.machine.firmware import BootDevice, FirmwareSpec, parse_boot, parse_firmware
from innkeeper.machine.folder import FolderSpec, parse_folder
from innkeeper.machine.growth import Growth
from innkeeper.machine.limits import (
    Limits,
    Rate,
    format_cpu_limit,
    parse_cpu_limit,
    parse_rate,
)
from innkeeper.machine.network import (
    USER_NETWORK,
    CardModel,
    NetworkKind,
    NetworkSpec,
    PortSpec,
    mac_of,
    parse_network,
    parse_port,
    rom_of,
)
from innkeeper.machine.parallel import (
    ParallelSpec,
    parse_parallel,
    prepare_parallel,
    without_paper,
)
from innkeeper.machine.screen import ScreenSpec, VncSpec, parse_screen, parse_vnc
from innkeeper.machine.seed import SeedSpec
from innkeeper.machine.shares import Shares, check_cpu_shares, parse_cpuset
from innkeeper.machine.size import format_size, parse_size
from innkeeper.machine.sound import SoundSpec, parse_sound, prepare_sound, unheard
from innkeeper.machine.spec import (
    MIB,
    DiskBus,
    DiskFormat,
    DiskSpec,
    EngineChoice,
    MachineSpec,
    Overlay,
    UsbController,
    validate,
)
from innkeeper.machine.tpm import TpmSpec
from innkeeper.machine.vsock import VsockSpec, parse_vsock

__all__ = [
    "MIB",
    "USER_NETWORK",
    "BootDevice",
    "CardModel",
    "DiskBus",
    "DiskFormat",
    "DiskSpec",
    "EngineChoice",
    "FirewallSpec",
    "FirmwareSpec",
    "FolderSpec",
    "Growth",
    "Limits",
    "MachineSpec",
    "NetworkKind",
    "NetworkSpec",
    "Overlay",
    "ParallelSpec",
    "PortSpec",
    "Rate",
    "ScreenSpec",
    "SeedSpec",
    "Shares",
    "SoundSpec",
    "TpmSpec",
    "UsbController",
    "VncSpec",
    "VsockSpec",
    "check_cpu_shares",
    "format_cpu_limit",
    "format_size",
    "mac_of",
    "parse_boot",
    "parse_cpu_limit",
    "parse_cpuset",
    "parse_firewall",
    "parse_firmware",
    "parse_folder",
    "parse_network",
    "parse_parallel",
    "parse_port",
    "parse_rate",
    "parse_rule",
    "parse_screen",
    "parse_size",
    "parse_sound",
    "parse_vnc",
    "parse_vsock",
    "prepare_parallel",
    "prepare_sound",
    "rom_of",
    "unheard",
    "validate",
    "without_paper",
]
