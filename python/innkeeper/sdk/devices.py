"""What a guest may get and lose while it runs, for those who write Python: disks, network cards,
and rules of what may pass its network. A guest of a block has the same as one that stays.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from os import PathLike
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.guest import arguments
from innkeeper.machine import DiskFormat, DiskSpec, NetworkSpec, Overlay, parse_network
from innkeeper.machine.firewall import Action, FirewallSpec, RuleSpec, parse_rule
from innkeeper.services.plugging import GRACE, Plugged
from innkeeper.services.rules import Defaults

__all__ = ["Devices", "Firewall", "Plugged"]

_DISK: Final = "disk"
_CARD: Final = "network card"


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """What may come to a guest by its network and leave it: the first of `rules` that fits decides,
    else `into` and `out`, which are accept, drop or reject.
    """

    into: str
    out: str
    rules: tuple[str, ...]


class Devices(ABC):
    """Disks, network cards and rules of a guest that runs.

    All raise InvalidInput for what cannot be, GuestNotRunning when the guest has ended, and
    HostFailure when the host or its process refuses.
    """

    def attach_disk(
        self,
        path: str | PathLike[str],
        *,
        device: str | None = None,
        read_only: bool = False,
        temporary: bool = False,
        image_format: DiskFormat | str = DiskFormat.PROBE,
        trust_backing: bool = False,
    ) -> Plugged:
        """Gives the guest a disk. `device` is the id by which it is taken out, else one is made; in
        a Linux guest the disk is /dev/disk/by-id/virtio-ID. Of a `temporary` one, what the guest
        writes is thrown away. As inn disk attach.
        """
        disk = DiskSpec(
            path=arguments.path(path, "the disk's path"),
            format=arguments.choice(DiskFormat, image_format, "a disk's format"),
            read_only=bool(read_only),
            overlay=Overlay.TEMPORARY if temporary else Overlay.NONE,
            trust_backing=bool(trust_backing),
            id="" if device is None else arguments.text(device, "the disk's id"),
        )
        return self._attach_disk(disk)

    def detach_disk(self, device: str, *, timeout: float = GRACE) -> None:
        """Takes a disk out, once the guest has let go of it: unmount it there first.

        Raises:
            HostFailure: when the guest has not let go of it after `timeout` seconds.
        """
        self._detach(arguments.text(device, "the disk's id"), _DISK, _patience(timeout))

    def disks(self) -> list[Plugged]:
        """Those that the guest has. As inn disk ls."""
        return self._listed(_DISK)

    def attach_network(
        self, network: str = "user", *, device: str | None = None, mac: str | None = None
    ) -> Plugged:
        """Gives the guest another network card, on a user network: user, or user,isolated or
        user,host. As inn network attach.
        """
        spec = parse_network(arguments.text(network, "the network"))
        if spec is None:
            raise InvalidInput("a card that is attached to none is not attached")
        wanted = "" if device is None else arguments.text(device, "the card's id")
        address = "" if mac is None else arguments.text(mac, "the card's address").lower()
        return self._attach_card(replace(spec, id=wanted, mac=address))

    def detach_network(self, device: str, *, timeout: float = GRACE) -> None:
        """As `detach_disk`, for a network card."""
        self._detach(arguments.text(device, "the card's id"), _CARD, _patience(timeout))

    def network_cards(self) -> list[Plugged]:
        """Those that the guest has; net0 is the one that it began with."""
        return self._listed(_CARD)

    def firewall(self) -> Firewall:
        """What holds now. As inn network rule ls."""
        now = self._firewall()
        rules = tuple(str(rule) for rule in now.rules)
        return Firewall(into=now.into.value, out=now.out.value, rules=rules)

    def add_rule(self, rule: str, *, at: int | None = None) -> None:
        """Adds a rule, such as in accept tcp from 192.0.2.0/24 port 22, before the one that is
        number `at` (the first is 1), or behind all.
        """
        number = None if at is None else arguments.count(at, "a rule's number")
        self._add_rule(parse_rule(arguments.text(rule, "a rule")), number)

    def remove_rule(self, which: int | str) -> None:
        """`which` is a rule's number or the rule itself."""
        if isinstance(which, int):
            which = str(arguments.count(which, "a rule's number"))
        self._remove_rule(arguments.text(which, "a rule"))

    def clear_rules(self) -> None:
        """Removes all rules. What holds without one stays."""
        self._clear_rules()

    def set_firewall(self, *, into: str | None = None, out: str | None = None) -> None:
        """What holds where no rule fits: accept, drop or reject. None stays as it is."""
        self._set_defaults(Defaults(into=_action(into), out=_action(out)))

    @abstractmethod
    def _attach_disk(self, disk: DiskSpec) -> Plugged: ...
    @abstractmethod
    def _attach_card(self, card: NetworkSpec) -> Plugged: ...
    @abstractmethod
    def _detach(self, device: str, kind: str, patience: float) -> None: ...
    @abstractmethod
    def _listed(self, kind: str) -> list[Plugged]: ...
    @abstractmethod
    def _firewall(self) -> FirewallSpec: ...
    @abstractmethod
    def _add_rule(self, rule: RuleSpec, at: int | None) -> None: ...
    @abstractmethod
    def _remove_rule(self, which: str) -> None: ...
    @abstractmethod
    def _clear_rules(self) -> None: ...
    @abstractmethod
    def _set_defaults(self, defaults: Defaults) -> None: ...


def _action(value: object) -> Action | None:
    return None if value is None else arguments.choice(Action, value, "what holds")


def _patience(timeout: object) -> float:
    limit = arguments.seconds(timeout, "timeout")
    if limit is None:
        raise InvalidInput("a guest gets some time to let go of what it has, not any")
    return limit
