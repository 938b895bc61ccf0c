"""Innkeeper: a hypervisor with a Python face.

from innkeeper import Guest

with Guest("debian", memory="512M") as guest:
    print(guest.run(["uname", "-a"]).stdout)
"""

from importlib.metadata import version

from innkeeper.errors import InnkeeperError
from innkeeper.guest.sdk import CommandFailed, CommandResult, Guest
from innkeeper.machine import DiskSpec, EngineChoice

__version__ = version("innkeeper")

__all__ = [
    "CommandFailed",
    "CommandResult",
    "DiskSpec",
    "EngineChoice",
    "Guest",
    "InnkeeperError",
    "__version__",
]
