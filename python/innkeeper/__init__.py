"""Innkeeper: a hypervisor with a Python face.

from innkeeper import Guest

with Guest("debian", memory="512M") as guest:
    print(guest.run(["uname", "-a"]).stdout)
"""

# What a name stands for is loaded when it is first asked for: the command line is then ready for
# Ctrl-C before it loads all that a guest needs.
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innkeeper.errors import InnkeeperError
    from innkeeper.guest.process import Process
    from innkeeper.machine import DiskSpec, EngineChoice
    from innkeeper.sdk.aio import AsyncGuest, AsyncProcess
    from innkeeper.sdk.devices import Firewall, Plugged
    from innkeeper.sdk.guest import AttachedGuest, CommandFailed, CommandResult, Guest
    from innkeeper.services import backups, forks, media, networks, snapshots
    from innkeeper.services.logs import events
    from innkeeper.vm.statistics import GuestStatistics

    __version__: str

_HOMES = {
    "AsyncGuest": "innkeeper.sdk.aio",
    "AsyncProcess": "innkeeper.sdk.aio",
    "AttachedGuest": "innkeeper.sdk.guest",
    "CommandFailed": "innkeeper.sdk.guest",
    "CommandResult": "innkeeper.sdk.guest",
    "DiskSpec": "innkeeper.machine",
    "EngineChoice": "innkeeper.machine",
    "Firewall": "innkeeper.sdk.devices",
    "Guest": "innkeeper.sdk.guest",
    "GuestStatistics": "innkeeper.vm.statistics",
    "InnkeeperError": "innkeeper.errors",
    "Plugged": "innkeeper.sdk.devices",
    "Process": "innkeeper.guest.process",
    "events": "innkeeper.services.logs",
}
# Modules that are worth more whole: networks.create("lab").
_MODULES = {
    "backups": "innkeeper.services.backups",
    "forks": "innkeeper.services.forks",
    "media": "innkeeper.services.media",
    "networks": "innkeeper.services.networks",
    "snapshots": "innkeeper.services.snapshots",
}

__all__ = [
    "AsyncGuest",
    "AsyncProcess",
    "AttachedGuest",
    "CommandFailed",
    "CommandResult",
    "DiskSpec",
    "EngineChoice",
    "Firewall",
    "Guest",
    "GuestStatistics",
    "InnkeeperError",
    "Plugged",
    "Process",
    "__version__",
    "backups",
    "events",
    "forks",
    "media",
    "networks",
    "snapshots",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        found: object = import_module("importlib.metadata").version("innkeeper")
    elif name in _HOMES:
        found = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        found = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
