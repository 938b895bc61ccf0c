"""`AttachedGuest` as programs have it: with what it may get and lose while it runs."""

from innkeeper.guest import attached_guest
from innkeeper.machine import DiskSpec, NetworkSpec
from innkeeper.machine.firewall import FirewallSpec, RuleSpec
from innkeeper.sdk.devices import Devices
from innkeeper.services import plugging, rules
from innkeeper.services.plugging import Plugged
from innkeeper.services.rules import Defaults


class AttachedGuest(attached_guest.AttachedGuest, Devices):
    __doc__ = attached_guest.AttachedGuest.__doc__

    # What is changed here holds for the guest's later runs, too.

    def _attach_disk(self, disk: DiskSpec) -> Plugged:
        return plugging.attach_disk(self.name, disk)

    def _attach_card(self, card: NetworkSpec) -> Plugged:
        return plugging.attach_network(self.name, card)

    def _detach(self, device: str, kind: str, patience: float) -> None:
        plugging.detach(self.name, device, kind, patience)

    def _listed(self, kind: str) -> list[Plugged]:
        return plugging.listed(self.name, kind)

    def _firewall(self) -> FirewallSpec:
        return rules.find(self.name)

    def _add_rule(self, rule: RuleSpec, at: int | None) -> None:
        rules.add(self.name, str(rule), at)

    def _remove_rule(self, which: str) -> None:
        rules.remove(self.name, which)

    def _clear_rules(self) -> None:
        rules.clear(self.name)

    def _set_defaults(self, defaults: Defaults) -> None:
        rules.set_defaults(self.name, defaults)
