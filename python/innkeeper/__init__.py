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
    from innkeeper.guest.sdk import AttachedGuest, CommandFailed, CommandResult, Guest
    from innkeeper.machine import DiskSpec, EngineChoice
    from innkeeper.vm.statistics import GuestStatistics

    __version__: str

_HOMES = {
    "AttachedGuest": "innkeeper.guest.sdk",
    "CommandFailed": "innkeeper.guest.sdk",
    "CommandResult": "innkeeper.guest.sdk",
    "DiskSpec": "innkeeper.machine",
    "EngineChoice": "innkeeper.machine",
    "Guest": "innkeeper.guest.sdk",
    "GuestStatistics": "innkeeper.vm.statistics",
    "InnkeeperError": "innkeeper.errors",
}

__all__ = [
    "AttachedGuest",
    "CommandFailed",
    "CommandResult",
    "DiskSpec",
    "EngineChoice",
    "Guest",
    "GuestStatistics",
    "InnkeeperError",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        found: object = import_module("importlib.metadata").version("innkeeper")
    elif name in _HOMES:
        found = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
