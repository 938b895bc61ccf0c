"""The names under which devices are asked for: `pvpanic`, or `module:factory` for your own."""

import importlib
import traceback
from typing import Final

from innkeeper.devices import isa_debug_exit, pc_testdev, pvpanic
from innkeeper.devices.base import Factory, Host, MmioDevice, PortDevice
from innkeeper.errors import DeviceFailed, InvalidInput

BUILT_IN: Final[dict[str, Factory]] = {
    "isa-debug-exit": isa_debug_exit.create,
    "pc-testdev": pc_testdev.create,
    "pvpanic": pvpanic.create,
}


def make(name: str, host: Host) -> list[PortDevice | MmioDevice]:
    """The devices behind `name`.

    Raises:
        InvalidInput: when there are none of that name.
        DeviceFailed: when the author's code raised, with the traceback.
    """
    factory = find(name)
    if not callable(factory):
        raise InvalidInput(f"the device {name!r} is {factory!r}, and not a function that makes one")
    try:
        return list(factory(host))
    except Exception as error:
        raise _failed(name, error) from error


def find(name: str) -> Factory:
    """The factory behind `name`.

    Raises:
        InvalidInput: when there is no such device.
        DeviceFailed: when its module raised something of its own, with the traceback.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        known = ", ".join(sorted(BUILT_IN))
        raise InvalidInput(f"no device {name!r}: there are {known}, and your own as module:factory")
    try:
        module = importlib.import_module(module_name)
        factory: Factory = getattr(module, attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(f"cannot load device {name!r}: {error}") from error
    except Exception as error:
        raise _failed(name, error) from error
    return factory


def _failed(name: str, error: Exception) -> DeviceFailed:
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    what = f"the device {name} failed: {type(error).__name__}: {error}"
    return DeviceFailed(what, f"Traceback (most recent call last):\n{frames}")
