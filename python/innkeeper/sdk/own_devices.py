"""What a guest of a block may get and lose while it runs: in its own process, which is asked by the
socket that it was started with.
"""

import contextlib
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput
from innkeeper.machine import DiskSpec, NetworkSpec, mac_of
from innkeeper.machine.firewall import NO_FIREWALL, FirewallSpec, RuleSpec, check_rules
from innkeeper.machine.spec import DiskBus, MachineSpec, disk_id, without
from innkeeper.sdk.devices import Devices
from innkeeper.services import rules
from innkeeper.services.plugging import (
    Plugged,
    check_card,
    check_id,
    checked_disk,
    opened,
    shown_card,
    shown_disk,
)
from innkeeper.services.rules import Defaults
from innkeeper.vm import answers
from innkeeper.vm.changes import AskOut, Change, ListPlugged, PlugCard, PlugDisk, SetFirewall
from innkeeper.vm.process import GuestProcess

# The disk that it boots from.
_ROOT: Final = "virtio0"
# Of a PCI bus.
_SLOTS: Final = 32
# Seconds between two looks whether the guest has let go.
_LOOK: Final = 0.05


class OwnDevices(Devices):
    """`_process` runs the guest, while it does."""

    _process: GuestProcess | None

    def __init__(self) -> None:
        super().__init__()
        # What the guest is, is read, changed and written by one thread at a time.
        self._changing = threading.Lock()

    @abstractmethod
    def _is(self) -> MachineSpec | None:
        """What the guest is, while it runs."""

    @abstractmethod
    def _becomes(self, spec: MachineSpec) -> None: ...

    @property
    @abstractmethod
    def name(self) -> str: ...

    def _attach_disk(self, disk: DiskSpec) -> Plugged:
        with self._changing:
            return self._attach(checked_disk(disk))

    def _attach(self, disk: DiskSpec) -> Plugged:
        spec, taken = self._known(), self._taken()
        number = len(spec.disks)
        wanted = disk.id or _free("virtio", range(999), taken)
        check_id(wanted, taken)
        disk = replace(disk, id=wanted, serial=disk.serial or wanted)
        with contextlib.ExitStack() as files:
            paths, fds = zip(*opened(disk, files), strict=True)
            slot = self._change(PlugDisk(disk, paths), *fds)
        disk = replace(disk, slot=_slot(slot))
        self._becomes(replace(spec, disks=(*spec.disks, disk)))
        return shown_disk(number, disk)

    def _attach_card(self, card: NetworkSpec) -> Plugged:
        check_card(card)
        with self._changing:
            return self._attach_checked(card)

    def _attach_checked(self, card: NetworkSpec) -> Plugged:
        spec, taken = self._known(), self._taken()
        wanted = card.id or _free("net", range(1, 99), taken)
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
        while not self._has_gone(device):
            if time.monotonic() > until:
                raise HostFailure(
                    f"the guest {self.name!r} has not let go of the {kind} {device!r} after "
                    f"{patience:g} s"
                )
            time.sleep(_LOOK)

    def _has_gone(self, device: str) -> bool:
        """Whether the guest has let go of it; then it is forgotten."""
        with self._changing:
            if device in self._here():
                return False
            self._becomes(without(self._known(), device))
            return True

    def _listed(self, kind: str) -> list[Plugged]:
        spec, here = self._known(), self._here()
        found = [shown_disk(number, disk) for number, disk in _disks(spec, here)]
        cards = ([] if spec.network is None else [spec.network]) + list(spec.cards)
        found += [one for card in cards if (one := shown_card(card)).id in here]
        return [
            replace(one, slot=_slot_or_none(now.get("slot")), leaving=now.get("leaving") is True)
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
        self._set_rules(lambda now: rules.with_rule(now, self.name, rule, at))

    def _remove_rule(self, which: str) -> None:
        self._set_rules(lambda now: rules.without_rule(now, self.name, which))

    def _clear_rules(self) -> None:
        self._set_rules(lambda now: replace(now, rules=NO_FIREWALL.rules))

    def _set_defaults(self, defaults: Defaults) -> None:
        self._set_rules(lambda now: rules.with_defaults(now, defaults))

    def _set_rules(self, changed: Callable[[FirewallSpec], FirewallSpec]) -> None:
        with self._changing:
            firewall, spec = check_rules(changed(self._firewall())), self._known()
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

    def _here(self) -> dict[str, Mapping[str, object]]:
        """What can be taken out, by id."""
        told = self._change(ListPlugged())
        if not isinstance(told, list):
            raise answers.nonsense()
        return {str(one.get("id")): one for one in map(answers.mapping, told)}

    def _taken(self) -> dict[str, str]:
        """The ids of what is there, and whether each is a disk or a network card."""
        spec, here = self._known(), self._here()
        disks = {disk_id(number, disk): "disk" for number, disk in _disks(spec, here)}
        return {**dict.fromkeys(here, "network card"), **disks}


def _disks(spec: MachineSpec, here: Container[str]) -> Iterator[tuple[int, DiskSpec]]:
    """Those that the guest has, with their numbers. Only virtio's come and go."""
    for number, disk in enumerate(spec.disks):
        stays = disk.bus is not DiskBus.VIRTIO
        if not disk.gone and (stays or disk_id(number, disk) in here):
            yield number, disk


def _free(kind: str, numbers: Iterable[int], taken: Container[str]) -> str:
    for number in numbers:
        if (name := f"{kind}{number}") not in taken:
            return name
    # No bus has room for so many.
    raise answers.nonsense()


def _slot(told: object) -> int:
    if not isinstance(told, int) or not 0 <= told < _SLOTS:
        raise answers.nonsense()
    return told


def _slot_or_none(told: object) -> int | None:
    return None if told is None else _slot(told)
