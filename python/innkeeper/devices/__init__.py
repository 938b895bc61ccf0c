"""The device protocol, and the cold devices: those that no guest touches often."""

from innkeeper.devices.base import Device, Factory, Host, MmioDevice, PortDevice
from innkeeper.devices.registry import BUILT_IN, find, make

__all__ = ["BUILT_IN", "Device", "Factory", "Host", "MmioDevice", "PortDevice", "find", "make"]
