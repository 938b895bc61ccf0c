"""Commands that plug disks and network cards into a running guest, and take them out again.

A disk is a node (`blockdev-add`), of a file that the guest's process can open or of a descriptor
that came before, and a device upon it (`device_add`). `inn` says all at once, by commands of its
own.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

from innkeeper import stored
from innkeeper.errors import InnkeeperError
from innkeeper.machine.network import NetworkSpec, mac_of
from innkeeper.machine.spec import DiskFormat, DiskSpec, MachineSpec
from innkeeper.vm.detached.home import Home
from innkeeper.vm.qmp import media
from innkeeper.vm.qmp.descriptors import DescriptorSets
from innkeeper.vm.qmp.session import CommandError, Handler

Arguments = Mapping[str, object]
T = TypeVar("T")

_DISK: Final = ("virtio-blk-pci", "virtio-blk", "virtio-blk-pci-non-transitional")
_CARD: Final = ("virtio-net-pci", "virtio-net", "virtio-net-pci-non-transitional")
_MOST_NODES: Final = 64


class Plugs(Protocol):
    """As innkeeper.vm.plugs has it."""

    def add_disk(
        self, disk: DiskSpec, number: int, files: Sequence[tuple[Path, int]], *, known: bool
    ) -> int: ...
    def add_card(self, card: NetworkSpec, *, known: bool) -> int: ...
    def ask_out(self, name: str) -> None: ...
    def here(self) -> list[dict[str, object]]: ...


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def home(self) -> Home: ...
    @property
    def spec(self) -> MachineSpec: ...
    @property
    def plugs(self) -> Plugs: ...
    @property
    def media(self) -> media.Media: ...


@dataclass
class _Node:
    """What a device can be put upon; `fd` is its file, where that came as a descriptor."""

    disk: DiskSpec
    fd: int | None
    device: str | None = None


@dataclass
class _Nodes:
    disks: dict[str, _Node] = field(default_factory=dict)
    cards: dict[str, NetworkSpec] = field(default_factory=dict)


def handlers(guest: Subject) -> dict[str, Handler]:
    sets, nodes = DescriptorSets(), _Nodes()
    return {
        **sets.handlers(),
        **media.handlers(guest, sets, lambda name: _medium(guest, nodes, name)),
        "blockdev-add": lambda arguments: _add_node(sets, nodes, arguments),
        "blockdev-del": lambda arguments: _remove_node(guest, nodes, arguments),
        "device_add": lambda arguments: _add_device(guest, nodes, arguments),
        "device_del": lambda arguments: _doing(lambda: guest.plugs.ask_out(str(arguments["id"]))),
        "netdev_add": lambda arguments: _add_netdev(nodes, arguments),
        "netdev_del": lambda arguments: _remove_netdev(nodes, arguments),
        "x-plug-disk": lambda arguments: _plug_disk(guest, sets, arguments),
        "x-plug-network": lambda arguments: _plug_network(guest, arguments),
        "x-query-plugged": lambda _: guest.plugs.here(),
    }


def _doing(work: Callable[[], T]) -> T:
    try:
        return work()
    except (InnkeeperError, stored.Unreadable) as error:
        raise CommandError(str(error)) from error


def _slot(work: Callable[[], int]) -> dict[str, object]:
    return {"slot": _doing(work)}


def _plug_disk(guest: Subject, sets: DescriptorSets, arguments: Arguments) -> object:
    number, files = arguments["number"], arguments["files"]
    assert isinstance(number, int)
    assert isinstance(files, list)
    opened: list[tuple[Path, int]] = []
    try:
        for file in files:
            match file:
                case {"path": str(path), "fdset-id": int(set_id)}:
                    opened.append((Path(path), sets.take(set_id)))
                case _:
                    raise CommandError("a file has a path and an fdset-id")
        disk = _doing(lambda: stored.decode(DiskSpec, arguments["disk"]))
        return _slot(lambda: guest.plugs.add_disk(disk, number, opened, known=True))
    finally:
        for _, fd in opened:
            os.close(fd)


def _plug_network(guest: Subject, arguments: Arguments) -> object:
    card = _doing(lambda: stored.decode(NetworkSpec, arguments["network"]))
    return _slot(lambda: guest.plugs.add_card(card, known=True))


def _add_node(sets: DescriptorSets, nodes: _Nodes, arguments: Arguments) -> None:
    name, driver = str(arguments["node-name"]), str(arguments["driver"])
    if name in nodes.disks:
        raise CommandError(f"Duplicate nodes with node-name='{name}'")
    if len(nodes.disks) >= _MOST_NODES:
        raise CommandError(f"there are {_MOST_NODES} block nodes at most")
    file = arguments.get("file")
    match driver, file, arguments.get("filename"):
        case "file" | "host_device", None, str(filename):
            kind = DiskFormat.RAW
        case _, {"driver": "file" | "host_device", "filename": str(filename)}, None:
            kind = _format(driver)
        case _:
            raise CommandError("a block node is a file, or a format upon a file that it names")
    number = sets.named(filename)
    fd = None if number is None else sets.take(number)
    disk = DiskSpec(path=Path(filename), format=kind, read_only=arguments.get("read-only") is True)
    nodes.disks[name] = _Node(disk, fd)


def _format(driver: str) -> DiskFormat:
    known = [kind for kind in DiskFormat if kind is not DiskFormat.PROBE]
    if driver not in known:
        raise CommandError(f"there is no block driver '{driver}'")
    return DiskFormat(driver)


def _remove_node(guest: Subject, nodes: _Nodes, arguments: Arguments) -> None:
    name = str(arguments["node-name"])
    node = nodes.disks.get(name)
    if node is None:
        raise CommandError(f"Failed to find node with node-name='{name}'")
    if _is_used(guest, node):
        raise CommandError(f"Node {name} is in use by the device '{node.device}'")
    del nodes.disks[name]
    if node.fd is not None:
        os.close(node.fd)


def _add_device(guest: Subject, nodes: _Nodes, arguments: Arguments) -> None:
    driver, name = str(arguments["driver"]), arguments.get("id")
    if not isinstance(name, str) or not name:
        raise CommandError("a device has an 'id', by which it is removed again")
    slot = _address(arguments.get("addr"))
    if driver in _DISK:
        _add_disk(guest, nodes, arguments, name, slot)
    elif driver in _CARD:
        netdev = str(arguments.get("netdev", ""))
        if netdev not in nodes.cards:
            raise CommandError(f"there is no netdev '{netdev}'; netdev_add makes one")
        mac = str(arguments.get("mac", mac_of(f"{guest.home.name} {name}")))
        card = replace(nodes.cards[netdev], mac=mac, id=name, slot=slot)
        _doing(lambda: guest.plugs.add_card(card, known=False))
    else:
        raise CommandError(f"'{driver}' is none of {_DISK[0]}, {_CARD[0]}")


def _add_disk(
    guest: Subject, nodes: _Nodes, arguments: Arguments, name: str, slot: int | None
) -> None:
    drive = str(arguments.get("drive", ""))
    node = nodes.disks.get(drive)
    if node is None:
        raise CommandError(f"there is no block node '{drive}'; blockdev-add makes one")
    if _is_used(guest, node):
        raise CommandError(f"Drive '{drive}' is already in use by another block device")
    serial = str(arguments.get("serial", ""))
    disk = replace(node.disk, id=name, serial=serial, slot=slot)
    files = [(disk.path, _file(node))]
    number = len(guest.spec.disks)
    _doing(lambda: guest.plugs.add_disk(disk, number, files, known=False))
    node.device = name


def _medium(guest: Subject, nodes: _Nodes, name: str) -> tuple[Path, int, bool]:
    """A node's file, for a drive."""
    node = nodes.disks.get(name)
    if node is None:
        raise CommandError(f"Cannot find node '{name}'")
    if _is_used(guest, node):
        raise CommandError(f"Node {name} is in use by the device '{node.device}'")
    return node.disk.path, _file(node), node.disk.read_only


def _file(node: _Node) -> int:
    """The node's descriptor, which stays its own."""
    if node.fd is None:
        try:
            flags = os.O_RDONLY if node.disk.read_only else os.O_RDWR
            node.fd = os.open(node.disk.path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise CommandError(
                f"Could not open '{node.disk.path}': {error.strerror}; what lies outside of the "
                "guest's jail is passed with add-fd"
            ) from error
    return node.fd


def _is_used(guest: Subject, node: _Node) -> bool:
    return node.device is not None and any(it["id"] == node.device for it in guest.plugs.here())


def _address(value: object) -> int | None:
    """A slot, as `addr` of a PCI device has it: 0x1f, or 31."""
    if value is None:
        return None
    try:
        slot = int(str(value), 0)
    except ValueError:
        slot = 0
    if not 0 < slot < 32:
        raise CommandError(f"a PCI bus has slots 1 to 31, and no {value!r}")
    return slot


def _add_netdev(nodes: _Nodes, arguments: Arguments) -> None:
    name, kind = str(arguments["id"]), str(arguments["type"])
    if name in nodes.cards:
        raise CommandError(f"Duplicate ID '{name}' for netdev")
    if kind != "user":
        raise CommandError(f"netdev '{kind}' is not user; inn network attach has others")
    if len(nodes.cards) >= _MOST_NODES:
        raise CommandError(f"there are {_MOST_NODES} netdevs at most")
    nodes.cards[name] = NetworkSpec(isolated=arguments.get("restrict") is True)


def _remove_netdev(nodes: _Nodes, arguments: Arguments) -> None:
    if nodes.cards.pop(str(arguments["id"]), None) is None:
        raise CommandError(f"Device '{arguments['id']}' not found")
