"""Disks and network cards that come and go while a guest runs, and for all runs that follow.

A guest's process may be locked in: so files are opened here, by whoever asks, and handed over. What
a disk or card was is written down when the guest has it, and no more once it has let go of it.

A disk that has gone leaves its place empty, since what was saved of the others goes by their
numbers; the next one that comes has it.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from innkeeper import stored
from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput, NotFound
from innkeeper.images import connected
from innkeeper.machine import DiskSpec, NetworkSpec, Overlay, mac_of
from innkeeper.machine.network import FIRST_CARD, NetworkKind
from innkeeper.machine.new_image import ExistingImage
from innkeeper.machine.spec import DiskBus, disk_id, validate_choices, validate_disk
from innkeeper.services import beginnings
from innkeeper.services import definition as definitions
from innkeeper.services.adjust import alone, write_at_rest, write_running
from innkeeper.services.definition import Definition
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client

# A disk's serial number has as many bytes.
_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,19}")
# An image's own disk.
_ROOT: Final = "virtio0"
# Seconds between two looks whether a guest has let go.
_LOOK: Final = 0.05
# Seconds that a guest gets by default.
GRACE: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugged:
    """`slot` is None where the guest does not run, and `leaving` says that it was asked to let go.
    `what` is a disk's file or a card's network.
    """

    id: str
    kind: str
    what: str
    read_only: bool = False
    slot: int | None = None
    leaving: bool = False


def attach_disk(name: str, disk: DiskSpec) -> Plugged:
    """
    Raises:
        GuestNotFound, InvalidInput, HostFailure.
        CommandRefused: when the guest's process does not take it.
    """
    disk = checked_disk(disk)
    with registry().open(name) as home, alone(home):
        old = definitions.read(home)
        number, disk = _place(home, old, disk)
        new = _with_disk(old, number, disk)
        validate_choices(new.request.vcpus, new.request.memory, new.request.disks)
        if not write_at_rest(home, new):
            with contextlib.suppress(GuestNotRunning):
                disk = replace(disk, slot=_hand_over(home, number, disk))
            write_running(home, _with_disk(old, number, disk))
            journal.tell(home, "attach", device=disk.id)
    return shown_disk(number, disk)


def attach_network(name: str, card: NetworkSpec) -> Plugged:
    """
    Raises:
        As `attach_disk`.
    """
    check_card(card)
    with registry().open(name) as home, alone(home):
        old = definitions.read(home)
        taken = _ids(old)
        wanted = card.id or next(f"net{n}" for n in range(1, 99) if f"net{n}" not in taken)
        check_id(wanted, taken)
        card = replace(card, id=wanted, mac=card.mac or mac_of(f"{home.name} {wanted}"))
        if not write_at_rest(home, _with_card(old, card)):
            with contextlib.suppress(GuestNotRunning):
                now = stored.encode(connected(card, home.name))
                with Client(home) as client:
                    card = replace(card, slot=_slot(client.execute("x-plug-network", network=now)))
            write_running(home, _with_card(old, card))
            journal.tell(home, "attach", device=card.id)
    return shown_card(card)


def checked_disk(disk: DiskSpec) -> DiskSpec:
    """The disk, if one of its kind can come to a guest that runs.

    Raises:
        InvalidInput: when it cannot.
    """
    if disk.nbd is not None or disk.bus is not DiskBus.VIRTIO:
        raise InvalidInput("a disk that is attached is a file, and a virtio disk in the guest")
    disk = replace(disk, path=disk.path.absolute())
    validate_disk(disk)
    return disk


def check_card(card: NetworkSpec) -> None:
    """
    Raises:
        InvalidInput: when no card of its kind can come to a guest that runs.
    """
    if card.kind is not NetworkKind.USER:
        raise InvalidInput("a card that is attached is on a user network; --network has others")


def detach(name: str, device: str, kind: str, patience: float = GRACE) -> None:
    """Takes a disk or a network card out, as `kind` says. A guest that runs is asked, and gets
    `patience` seconds.

    Raises:
        GuestNotFound, InvalidInput: when there is none of that id.
        HostFailure: when the guest has not let go of it.
        CommandRefused: when the guest cannot be asked.
    """
    with registry().open(name) as home, alone(home):
        old = definitions.read(home)
        known = _ids(old)
        if known.get(device) != kind:
            raise NotFound(f"the guest {home.name!r} has no {kind} {device!r}")
        if old.request.image is not None and device == _ROOT:
            raise InvalidInput(f"{device} is the disk that {home.name!r} boots from: it stays")
        if write_at_rest(home, _without(home, old, device, running=False)):
            return
        with contextlib.suppress(GuestNotRunning):
            _ask(home, device, kind, patience)
        write_running(home, _without(home, old, device, running=True))
        journal.tell(home, "detach", device=device)


def listed(name: str, kind: str) -> list[Plugged]:
    """A guest's disks or network cards.

    Raises:
        GuestNotFound, HostFailure.
    """
    with registry().open(name) as home:
        definition = definitions.read(home)
        spec = beginnings.order(home, definition).spec
        found: list[Plugged] = []
        if kind == "disk":
            numbered = enumerate(spec.disks)
            found += [shown_disk(number, disk) for number, disk in numbered if not disk.gone]
        else:
            cards = ([] if spec.network is None else [spec.network]) + list(spec.cards)
            found += [shown_card(card) for card in cards if not card.gone]
        told: dict[str, dict[str, Any]] = {}
        if home.is_taken():
            with contextlib.suppress(GuestNotRunning), Client(home) as client:
                told = {one["id"]: one for one in _here(client)}
    return [
        replace(one, slot=now.get("slot"), leaving=now.get("leaving") is True)
        for one in found
        for now in (told.get(one.id, {}),)
    ]


def _place(home: Home, definition: Definition, disk: DiskSpec) -> tuple[int, DiskSpec]:
    """The disk's number among those of the machine, and the disk with what it is known by."""
    first = int(definition.request.image is not None)
    begun = beginnings.begun(home)
    saved = set() if begun is None else {number for number, _ in begun.disks}
    number = first + len(definition.request.disks)
    for at, one in enumerate(definition.request.disks, first):
        if one.gone and one.slot is not None and at not in saved:
            number = at
            break
    taken = _ids(definition)
    wanted = disk.id or next(
        name for n in range(number, 999) if (name := f"virtio{n}") not in taken
    )
    check_id(wanted, taken)
    return number, replace(disk, id=wanted, serial=disk.serial or wanted)


def check_id(wanted: str, taken: dict[str, str]) -> None:
    """
    Raises:
        InvalidInput: when it is no id, or one of `taken`, which says whose each is.
    """
    if _ID.fullmatch(wanted) is None:
        raise InvalidInput(
            f"{wanted!r} is no id: a letter, then letters, digits, dots and dashes, at most 20"
        )
    if wanted in taken or wanted == "seed":
        raise InvalidInput(f"the guest has a {taken.get(wanted, 'disk')} {wanted!r} already")


def _ids(definition: Definition) -> dict[str, str]:
    """What the guest has, and whether it is a disk or a network card."""
    request = definition.request
    first = int(request.image is not None)
    found = {f"virtio{number}": "disk" for number in range(first)}
    for number, disk in enumerate(request.disks, first):
        if not disk.gone:
            found[disk_id(number, disk)] = "disk"
    if request.network is not None and not request.network.gone:
        found[FIRST_CARD] = "network card"
    return {**found, **{card.id: "network card" for card in request.cards}}


def _with_disk(definition: Definition, number: int, disk: DiskSpec) -> Definition:
    request = definition.request
    disks = list(request.disks)
    at = number - int(request.image is not None)
    disks[at : at + 1] = [disk]
    return replace(definition, request=replace(request, disks=tuple(disks)))


def _with_card(definition: Definition, card: NetworkSpec) -> Definition:
    request = definition.request
    return replace(definition, request=replace(request, cards=(*request.cards, card)))


def _without(home: Home, definition: Definition, device: str, *, running: bool) -> Definition:
    """Without that device. What keeps its place is there no more when nobody needs that."""
    request = definition.request
    first = int(request.image is not None)
    disks = [
        replace(disk, gone=True) if disk_id(number, disk) == device else disk
        for number, disk in enumerate(request.disks, first)
    ]
    if not running and beginnings.begun(home) is None:
        # By their ids the others are known from here on.
        numbered = enumerate(disks, first)
        disks = [replace(disk, id=disk_id(n, disk)) for n, disk in numbered if not disk.gone]
    network = request.network
    if network is not None and device == FIRST_CARD:
        network = replace(network, gone=True) if running else None
    cards = tuple(card for card in request.cards if card.id != device)
    request = replace(request, disks=tuple(disks), network=network, cards=cards)
    return replace(definition, request=request)


def _hand_over(home: Home, number: int, disk: DiskSpec) -> int:
    """Opens the disk's files for the guest's process; the slot that it has put the disk into."""
    with contextlib.ExitStack() as open_files, Client(home) as client:
        files = []
        for path, fd in opened(disk, open_files):
            files.append({"path": str(path), "fdset-id": client.pass_file(fd)})
        told = client.execute("x-plug-disk", disk=stored.encode(disk), number=number, files=files)
    return _slot(told)


def opened(disk: DiskSpec, open_files: contextlib.ExitStack) -> Iterator[tuple[Path, int]]:
    """The image, and what it names as its parts or its backing files.

    Raises:
        InvalidInput, HostFailure: when one cannot be opened.
    """
    # It loads the core, which somebody who only looks has no use for.
    from innkeeper.vm.disk_images import disk_files

    image = ExistingImage(path=disk.path, format=disk.format, trust_backing=disk.trust_backing)
    others = [Path(path) for path in disk_files(image)]
    for path in (disk.path, *(other for other in others if other != disk.path)):
        writes = path == disk.path and not disk.read_only and disk.overlay is Overlay.NONE
        flags = (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(path, flags)
        except OSError as error:
            raise InvalidInput(f"cannot open disk {path}: {error.strerror}") from error
        open_files.callback(os.close, fd)
        yield path, fd


def _slot(told: object) -> int:
    if not isinstance(told, dict) or not isinstance(slot := told.get("slot"), int):
        raise HostFailure("the guest's process answers nonsense")
    return slot


def _ask(home: Home, device: str, kind: str, patience: float) -> None:
    with Client(home) as client:
        if device not in _plugged(client):
            # The guest has let go of it without having been asked.
            return
        client.execute("device_del", id=device)
        until = time.monotonic() + patience
        while device in _plugged(client):
            if time.monotonic() > until:
                raise HostFailure(
                    f"the guest {home.name!r} has not let go of the {kind} {device!r} after "
                    f"{patience:g} s: it still boots, or does not listen; ask again, or "
                    "inn stop it first"
                )
            time.sleep(_LOOK)


def _plugged(client: Client) -> set[str]:
    return {one["id"] for one in _here(client)}


def _here(client: Client) -> list[dict[str, Any]]:
    told = client.execute("x-query-plugged")
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def shown_disk(number: int, disk: DiskSpec) -> Plugged:
    return Plugged(
        id=disk_id(number, disk),
        kind="disk",
        what=disk.nbd or str(disk.path),
        read_only=disk.read_only,
        slot=disk.slot,
    )


def shown_card(card: NetworkSpec) -> Plugged:
    what = card.shared or card.interface or card.kind.value
    return Plugged(id=card.id or FIRST_CARD, kind="network card", what=what, slot=card.slot)
