"""Disks and network cards that come and go while a guest runs, in the guest's process.

That process may be locked in, where nobody opens a file of that name. So files come open, as
descriptors over the control socket, from whoever may open them.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from innkeeper.errors import GuestNotRunning, InvalidInput
from innkeeper.machine.network import NetworkKind, NetworkSpec
from innkeeper.machine.spec import MAXIMUM_DISKS, DiskSpec, MachineSpec, disk_id, without
from innkeeper.vm.disk_images import OpenDisk, open_disk
from innkeeper.vm.running import Control

MOST_CARDS: Final = 8


class Subject(Protocol):
    """A guest, as what is plugged into it needs it."""

    spec: MachineSpec

    @property
    def locked_in(self) -> bool: ...
    def control(self) -> Control: ...
    def tell_plugged(self) -> None: ...


class Plugs:
    """What came to one guest while it ran, for all its machines."""

    def __init__(self, guest: Subject) -> None:
        self._guest = guest
        self._disks: dict[str, OpenDisk] = {}
        # What the guest writes to, for whoever copies it.
        self.sources: dict[str, int] = {}
        # Those that nobody outside has written down.
        self.unknown: set[str] = set()

    @property
    def disks(self) -> tuple[tuple[str, OpenDisk], ...]:
        """For the wiring of a machine that is made anew."""
        return tuple(self._disks.items())

    def add_disk(
        self, disk: DiskSpec, number: int, files: Sequence[tuple[Path, int]], *, known: bool
    ) -> int:
        """The disk's slot. `number` is where it comes among the machine's disks; the first of
        `files`, which stay the caller's, is the image.

        Raises:
            InvalidInput, HostFailure, GuestNotRunning: when it cannot be plugged in.
        """
        self._check_disk(disk, number)
        opened = open_disk(disk, files)
        slot = self._guest.control().plug_disk(disk, opened)
        if slot is None:
            raise GuestNotRunning("the guest is not running")
        self._disks[disk.id] = opened
        if files:
            self.sources[disk.id] = os.dup(files[0][1])
        if not known:
            self.unknown.add(disk.id)
        spec = self._guest.spec
        rest = spec.disks[number:]
        if rest and rest[0].gone:
            rest = rest[1:]
        disks = (*spec.disks[:number], replace(disk, slot=slot), *rest)
        self._guest.spec = replace(spec, disks=disks)
        self._guest.tell_plugged()
        return slot

    def add_card(self, card: NetworkSpec, *, known: bool) -> int:
        """The network card's slot.

        Raises:
            InvalidInput, HostFailure, GuestNotRunning: when it cannot be plugged in.
        """
        self._check_card(card)
        slot = self._guest.control().plug_network(card, ())
        if slot is None:
            raise GuestNotRunning("the guest is not running")
        if not known:
            self.unknown.add(card.id)
        spec = self._guest.spec
        cards = tuple(one for one in spec.cards if not one.gone)
        self._guest.spec = replace(spec, cards=(*cards, replace(card, slot=slot)))
        self._guest.tell_plugged()
        return slot

    def ask_out(self, name: str) -> None:
        """Asks the guest to let go of it.

        Raises:
            InvalidInput: when there is none of that id.
            GuestNotRunning: when it does not run.
        """
        if not self._guest.control().ask_out(name):
            raise GuestNotRunning("the guest is not running")

    def here(self) -> list[dict[str, object]]:
        """All that may be taken out. What has gone is forgotten by then, its files closed."""
        self._guest.tell_plugged()
        spec = self._guest.spec
        disks = {disk_id(number, disk) for number, disk in enumerate(spec.disks)}
        return [
            {
                "id": name,
                "type": "disk" if name in disks else "network",
                "slot": slot,
                "leaving": leaving,
            }
            for name, slot, leaving in self._guest.control().plugged()
        ]

    def gone(self, name: str) -> None:
        """The guest has let go of it."""
        self._guest.spec = without(self._guest.spec, name)
        self._disks.pop(name, None)
        self.unknown.discard(name)
        if (source := self.sources.pop(name, None)) is not None:
            os.close(source)

    def _check_disk(self, disk: DiskSpec, number: int) -> None:
        disks = self._guest.spec.disks
        if not disk.id:
            raise InvalidInput("a disk that is plugged in has an id")
        if not 0 <= number <= len(disks):
            raise InvalidInput(f"the guest has {len(disks)} disks, and none comes as {number}")
        if sum(not one.gone for one in disks) >= MAXIMUM_DISKS:
            raise InvalidInput(f"a guest has at most {MAXIMUM_DISKS} disks")

    def _check_card(self, card: NetworkSpec) -> None:
        spec = self._guest.spec
        if sum(not one.gone for one in spec.cards) >= MOST_CARDS:
            raise InvalidInput(f"a guest has at most {MOST_CARDS} more network cards")
        if not self._guest.locked_in:
            return
        if card.kind is not NetworkKind.USER:
            raise InvalidInput(
                f"the guest's process is locked in, and {card.shared or card.interface} is "
                "outside: stop it first"
            )
        first = spec.network
        if not spec.cards and (first is None or first.kind is NetworkKind.TAP):
            raise InvalidInput(
                "the guest's process was started without a network of its own, and is locked in: "
                "stop it first"
            )
