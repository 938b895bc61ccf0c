"""What a guest of another host may be here. Whoever brings one is trusted with guests, and with
nothing else of this host: a description names no files but disks that are shared, no programs, and
no interfaces.

Descriptions grow. So a path that one has at a place which is not known here is refused, whatever
it is for.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.images.networks import Networks
from innkeeper.machine.network import NetworkKind, NetworkSpec
from innkeeper.machine.spec import DiskSpec, Overlay
from innkeeper.services.migration import offer as offers
from innkeeper.services.migration.offer import Offer
from innkeeper.vm.detached.registry import check_name

# Of what is asked for: files that come along, and disks, which are looked at one by one. What an
# order has of these is not used: it is made anew.
_ASKED: Final = frozenset({"kernel", "initrds", "disks.path", "disks.overlay_path"})
_SEEDED: Final = ("seed.",)
_ORDERED: Final = frozenset({"kernel", "initrds", "network.directory", "cards.directory"})
_DISKS: Final = ("disks.",)
_MAC: Final = re.compile("[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def check(offer: Offer, shared: tuple[Path, ...] | None) -> None:
    """`shared`: directories that disks of other hosts may lie in, or anywhere.

    Raises:
        InvalidInput: in words for the source.
    """
    request, spec = offer.definition.request, offer.order.spec
    offers.check_movable(request, spec)
    for where in [
        *_unknown(request, _ASKED, _SEEDED),
        *_unknown(spec, _ORDERED, _DISKS),
    ]:
        raise InvalidInput(
            f"the guest names a file of its host ({where}), so it cannot be migrated"
        )
    if not request.jail or not offer.order.jail:
        raise InvalidInput("a guest without a jail cannot be migrated")
    if any(":" in name for name in (*request.devices, *spec.devices)):
        raise InvalidInput("a guest with Python devices of its host cannot be migrated")
    _check_disks(offer, shared)
    _check_networks(request.network, spec.network)


def _unknown(value: object, known: frozenset[str], below: tuple[str, ...]) -> list[str]:
    found = (where for where, _ in paths(value))
    return [where for where in found if where not in known and not where.startswith(below)]


def paths(value: object, where: str = "") -> Iterator[tuple[str, Path]]:
    """Every path in a description, with the names of the fields that lead to it."""
    if isinstance(value, Path):
        yield where, value
    elif isinstance(value, tuple):
        for each in value:
            yield from paths(each, where)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = f"{where}.{field.name}" if where else field.name
            yield from paths(getattr(value, field.name), inner)


def _check_disks(offer: Offer, shared: tuple[Path, ...] | None) -> None:
    request = offer.definition.request
    copied = [disk.number for disk in offer.copied]
    if len(set(copied)) != len(copied) or not all(
        0 <= number < len(offer.order.spec.disks) for number in copied
    ):
        raise InvalidInput("it brings disks that the guest does not have")
    # An image's own is the first of the machine's.
    for number, disk in enumerate(request.disks, start=int(request.image is not None)):
        if number not in copied:
            _check_left(disk, shared)
        elif disk.nbd is not None:
            raise InvalidInput("what an NBD server has is not brought along")


def _check_left(disk: DiskSpec, shared: tuple[Path, ...] | None) -> None:
    """One that does not come along."""
    if disk.overlay is not Overlay.NONE or disk.overlay_path is not None or disk.layers:
        raise InvalidInput(f"what is written over the disk {disk.path} has to come along")
    if disk.trust_backing:
        raise InvalidInput(f"the disk {disk.path} may name files of its host")
    if disk.nbd is None:
        check_shared(disk.path, shared)
    elif not re.match("nbds?://", disk.nbd):
        raise InvalidInput(f"the disk {disk.nbd} is a socket of its host")


def check_shared(path: Path, shared: tuple[Path, ...] | None) -> None:
    """
    Raises:
        InvalidInput: when it is no disk of this host that others may have.
    """
    resolved = Path(os.path.realpath(path))
    if shared is not None and not any(resolved.is_relative_to(place) for place in shared):
        raise InvalidInput(
            f"this host does not share the disk {path}: inn host serve --shared names the "
            "directories that it does"
        )
    if not resolved.exists():
        raise InvalidInput(f"the disk {path}, which is to be shared, is not on this host")


def _check_networks(asked: NetworkSpec | None, ordered: NetworkSpec | None) -> None:
    """What it asks for is what it gets; what it had says where it was."""
    for network in (asked, ordered):
        if network is not None and network.kind is NetworkKind.TAP:
            raise InvalidInput("a guest on an interface of its host cannot be migrated")
    names = [None if network is None else network.shared or None for network in (asked, ordered)]
    if names[0] != names[1]:
        raise InvalidInput("the guest is not in the network that it asks for")
    if ordered is None or not ordered.shared:
        return
    here = Networks().find(ordered.shared)
    if here.bridge is None or ordered.bridge is None:
        raise InvalidInput(
            f"guests in the network {ordered.shared}, which is on no bridge of both hosts, cannot "
            "be migrated"
        )
    # They become words in the network's own lists.
    check_name(ordered.member)
    if not _MAC.fullmatch(ordered.mac or ""):
        raise InvalidInput("the guest's card has no address that there could be")
