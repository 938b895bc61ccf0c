"""What the source tells the target before anything moves; and the target takes apart with care."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine import DiskSpec, MachineSpec, Overlay
from innkeeper.machine.new_image import ExistingImage
from innkeeper.services.definition import Definition
from innkeeper.services.request import GuestRequest
from innkeeper.vm import disk_copy, disk_images
from innkeeper.vm.moving import processor
from innkeeper.vm.order import Order
from innkeeper.vm.qmp.commands import version

PROTOCOL: Final = 1
# Of a guest that may begin before all of its memory has come.
POST_COPY: Final = 2
VERSION: Final = str(version()["package"])
_SECTOR: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A file that goes along as it is: `role` says which."""

    role: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A disk whose content goes along: its number, and its bytes."""

    number: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """`processor` is what the guest's model is on that host, in short. `address` is the last number
    of the guest's address in its network, 0 where it has none that matters. With `post_copy` the
    guest may begin there before all of its memory has come.
    """

    protocol: int
    version: str
    migration: str
    name: str
    definition: Definition
    order: Order
    engine: str
    processor: str
    copied: tuple[Copied, ...] = ()
    brought: tuple[Brought, ...] = ()
    address: int = 0
    post_copy: bool = False


def written(offer: Offer) -> dict[str, Any]:
    """As it is said: hosts that know of no post-copy read what has nothing to do with it."""
    word: dict[str, Any] = stored.encode(offer)
    if not offer.post_copy:
        del word["post_copy"]
    return word


def read(word: Mapping[str, Any]) -> Offer:
    """
    Raises:
        InvalidInput: when it is none that can be taken here, in words for the source.
    """
    protocol = word.get("protocol")
    if protocol not in (PROTOCOL, POST_COPY):
        raise InvalidInput(
            f"this host ({VERSION}) migrates by protocol {PROTOCOL} or {POST_COPY}, not "
            f"{protocol!r}"
        )
    try:
        offer = stored.decode(Offer, word)
        uuid.UUID(offer.migration)
        uuid.UUID(offer.definition.id)
    except (stored.Unreadable, ValueError) as error:
        raise InvalidInput(f"this host ({VERSION}) cannot read it: {error}") from error
    return offer


def model_of(spec: MachineSpec) -> str:
    return hashlib.sha256(processor(spec.cpu_model).encode()).hexdigest()


def files_of(definition: Definition, seed: Path | None) -> dict[str, Path]:
    """What of a guest of one's own kernel goes along, by role."""
    found: dict[str, Path] = {}
    request = definition.request
    if request.kernel is not None:
        found["kernel"] = request.kernel
    for number, path in enumerate(request.initrds):
        found[f"initrd{number}"] = path
    if seed is not None:
        found["seed"] = seed
    return found


def disks_of(spec: MachineSpec, own: Path, *, shared: bool, seed: int | None) -> tuple[Copied, ...]:
    """Those whose content goes along. `own` is where the guest's process works; `seed` is the
    number of one that goes along as a file.

    Raises:
        InvalidInput: for a disk that cannot go.
    """
    copied = []
    for number, disk in enumerate(spec.disks):
        if disk_copy.is_kept_nowhere(disk):
            raise InvalidInput(
                f"what the guest writes to its disk {number}, {disk.path}, is kept nowhere, so it "
                "cannot be migrated"
            )
        if disk.nbd is not None or number == seed or (shared and _is_shared(disk)):
            continue
        copied.append(Copied(number=number, size=_size(disk, own)))
    return tuple(copied)


def _is_shared(disk: DiskSpec) -> bool:
    # What is written over a disk is the guest's own, and lies in its directory.
    return disk.overlay is Overlay.NONE and not disk.layers


def _size(disk: DiskSpec, own: Path) -> int:
    image = ExistingImage(
        path=own / disk.path, format=disk.format, trust_backing=disk.trust_backing
    )
    try:
        size = disk_images.disk_info(image).size
    except InvalidInput as error:
        raise HostFailure(f"cannot look at the disk {disk.path}: {error}") from error
    return -(-size // _SECTOR) * _SECTOR


def check_movable(request: GuestRequest, spec: MachineSpec) -> None:
    """
    Raises:
        InvalidInput: when such a guest cannot be migrated, on whatever hosts.
    """
    screens = [screen for screen in (request.screen, spec.screen) if screen is not None]
    sockets = [vsock for vsock in (request.vsock, spec.vsock) if vsock is not None]
    ports = [port for port in (request.parallel, spec.parallel) if port is not None]
    cards = [card for card in (request.network, spec.network) if card is not None]
    for named, what in (
        (request.firmware or spec.firmware, "firmware"),
        (request.folders or spec.folders, "folders of a host"),
        (_has_plugged(request) or _has_plugged(spec), "devices that were plugged into it"),
        (any(card.rom or card.tftp for card in cards), "files to boot from the network by"),
        (request.sound or spec.sound, "its sound in a file"),
        (any(port.file for port in ports), "a printer's file"),
        (any(screen.rom for screen in screens), "a ROM of its screen"),
        (any(it.vnc and it.vnc.password for it in screens), "a file with its screen's password"),
        (any(socket.path for socket in sockets), "a name for its vsock socket"),
        (request.symbols or spec.symbols, "a file of symbols"),
    ):
        if named:
            raise InvalidInput(f"a guest that has {what} cannot be migrated")


def _has_plugged(what: MachineSpec | GuestRequest) -> bool:
    """Did devices come to the guest, or go from it, while it ran?"""
    return bool(what.cards) or any(disk.gone or disk.slot is not None for disk in what.disks)
