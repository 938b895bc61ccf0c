"""What a guest of a block may get and lose while it runs: in its own process, which is asked by the
socket that it was started with.
"""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any, Final

from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput
from innkeeper.machine import DiskSpec, NetworkSpec, mac_of
from innkeeper.machine.firewall import NO_FIREWALL, FirewallSpec, RuleSpec, check_rules
from innkeeper.machine.spec import DiskBus, MachineSpec, disk_id
from innkeeper.sdk.devices import Devices
from innkeeper.services import rules
from innkeeper.services.plugging import (
    FIRST_CARD,
    Plugged,
    check_card,
    check_id,
    checked_disk,
    opened,
    shown_card,
    shown_disk,
)
from innkeeper.services.rules import Defaults
from innkeeper.vm.changes import AskOut, Change, ListPlugged, PlugCard, PlugDisk, SetFirewall
from innkeeper.vm.process import GuestProcess

# The disk that it boots from.
_ROOT: Final = "virtio0"
# Seconds between two looks whether the guest has let go.
_LOOK: Final = 0.05


class OwnDevices(Devices):
    """`_process` runs the guest, while it does."""

    _process: GuestProcess | None

    @abstractmethod
    def _is(self) -> MachineSpec | None:
        """What the guest is, while it runs."""

    @abstractmethod
    def _becomes(self, spec: MachineSpec) -> None: ...

    @property
    @abstractmethod
    def name(self) -> str: ...

    def _attach_disk(self, disk: DiskSpec) -> Plugged:
        spec, disk = self._known(), checked_disk(disk)
        taken = self._taken()
        number = len(spec.disks)
        wanted = disk.id or next(one for n in range(999) if (one := f"virtio{n}") not in taken)
        check_id(wanted, taken)
        disk = replace(disk, id=wanted, serial=disk.serial or wanted)
        with contextlib.ExitStack() as files:
            paths, fds = zip(*opened(disk, files), strict=True)
            slot = self._change(PlugDisk(disk, paths), *fds)
        disk = replace(disk, slot=_slot(slot))
        self._becomes(replace(spec, disks=(*spec.disks, disk)))
        return shown_disk(number, disk)

    def _attach_card(self, card: NetworkSpec) -> Plugged:
        spec = self._known()
        check_card(card)
        taken = self._taken()
        wanted = card.id or next(one for n in range(1, 99) if (one := f"net{n}") not in taken)
        check_id(wanted, taken)
        card = replace(card, id=wanted, mac=card.mac or mac_of(f"{self.name} {wanted}"))
        card = replace(card, slot=_slot(self._change(PlugCard(card))))
        self._becomes(replace(spec, cards=(*spec.cards, card)))
        return shown_card(card)

    def _detach(self, device: str, kind: str, patience: float) -> None:
        self._known()
        if self._taken().get(device) != kind:
            raise InvalidInput(f"the guest {self.name!r} has no {kind} {device!r}")
        if device == _ROOT:
            raise InvalidInput(f"{device} is the disk that {self.name!r} boots from: it stays")
        self._change(AskOut(device))
        until = time.monotonic() + patience
        while device in self._here():
            if time.monotonic() > until:
                raise HostFailure(
                    f"the guest {self.name!r} has not let go of the {kind} {device!r} after "
                    f"{patience:g} s"
                )
            time.sleep(_LOOK)
        self._becomes(_without(self._known(), device))

    def _listed(self, kind: str) -> list[Plugged]:
        spec, here = self._known(), self._here()
        found = [shown_disk(number, disk) for number, disk in _disks(spec, here)]
        cards = ([] if spec.network is None else [spec.network]) + list(spec.cards)
        found += [one for card in cards if (one := shown_card(card)).id in here]
        return [
            replace(one, slot=now.get("slot"), leaving=now.get("leaving") is True)
            for one in found
            if one.kind == kind
            for now in (here.get(one.id, {}),)
        ]

    def _firewall(self) -> FirewallSpec:
        network = self._known().network
        if network is None:
            raise InvalidInput(f"the guest {self.name!r} has no network, for which rules could be")
        return network.firewall

    def _add_rule(self, rule: RuleSpec, at: int | None) -> None:
        self._set_rules(rules.with_rule(self._firewall(), self.name, rule, at))

    def _remove_rule(self, which: str) -> None:
        self._set_rules(rules.without_rule(self._firewall(), self.name, which))

    def _clear_rules(self) -> None:
        self._set_rules(replace(self._firewall(), rules=NO_FIREWALL.rules))

    def _set_defaults(self, defaults: Defaults) -> None:
        self._set_rules(rules.with_defaults(self._firewall(), defaults))

    def _set_rules(self, firewall: FirewallSpec) -> None:
        spec, firewall = self._known(), check_rules(firewall)
        assert spec.network is not None
        self._change(SetFirewall(firewall))
        self._becomes(replace(spec, network=replace(spec.network, firewall=firewall)))

    def _known(self) -> MachineSpec:
        spec = self._is()
        if self._process is None or spec is None:
            raise GuestNotRunning("the guest is not running")
        return spec

    def _change(self, change: Change, *files: int) -> object:
        if self._process is None:
            raise GuestNotRunning("the guest is not running")
        return self._process.change(change, files)

    def _here(self) -> dict[str, dict[str, Any]]:
        """What can be taken out, by id."""
        told = self._change(ListPlugged())
        if not isinstance(told, list):
            raise HostFailure("the guest's process answers nonsense")
        return {one["id"]: one for one in told}

    def _taken(self) -> dict[str, str]:
        """The ids of what is there, and whether each is a disk or a network card."""
        spec, here = self._known(), self._here()
        disks = {disk_id(number, disk): "disk" for number, disk in _disks(spec, here)}
        return {**dict.fromkeys(here, "network card"), **disks}


def _without(spec: MachineSpec, device: str) -> MachineSpec:
    disks = tuple(
        replace(disk, gone=True) if disk_id(number, disk) == device else disk
        for number, disk in enumerate(spec.disks)
    )
    network = spec.network
    if network is not None and device == FIRST_CARD:
        network = replace(network, gone=True)
    cards = tuple(card for card in spec.cards if card.id != device)
    return replace(spec, disks=disks, network=network, cards=cards)


def _disks(spec: MachineSpec, here: Container[str]) -> Iterator[tuple[int, DiskSpec]]:
    """Those that the guest has, with their numbers. Only virtio's come and go."""
    for number, disk in enumerate(spec.disks):
        stays = disk.bus is not DiskBus.VIRTIO
        if not disk.gone and (stays or disk_id(number, disk) in here):
            yield number, disk


def _slot(told: object) -> int:
    if not isinstance(told, int):
        raise HostFailure("the guest's process answers nonsense")
    return told
