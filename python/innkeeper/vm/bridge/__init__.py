"""Networks on a bridge of the host's: the bridge, its rules, and a guest's place on it."""

from innkeeper.vm.bridge.host import exists, interface_name, lay, lift, tap_name, tidy
from innkeeper.vm.bridge.plug import Plug

__all__ = ["Plug", "exists", "interface_name", "lay", "lift", "tap_name", "tidy"]
