"""The names under which devices are asked for: `pvpanic`, or `module:factory` for your own."""

import importlib
from typing import Final

from innkeeper.devices import isa_debug_exit, pc_testdev, pvpanic
from innkeeper.devices.base import Factory
from innkeeper.errors import InvalidInput

BUILT_IN: Final[dict[str, Factory]] = {
    "isa-debug-exit": isa_debug_exit.create,
    "pc-testdev": pc_testdev.create,
    "pvpanic": pvpanic.create,
}


def find(name: str) -> Factory:
    """The factory behind `name`.

    Raises:
        InvalidInput: when there is no such device, or its module cannot be imported.
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
    return factory
