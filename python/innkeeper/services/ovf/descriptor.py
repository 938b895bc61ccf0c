"""What a descriptor says of a machine, as far as we can give it to a guest.

Spec: DMTF DSP0243, "Virtual hardware description", "DiskSection"; CIM's schema for the
numbers of resource types.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from innkeeper.errors import InvalidInput
from innkeeper.services.ovf import markup

MIB: Final = 1 << 20
CPU, MEMORY, IDE, SCSI, ETHERNET, DISK, SATA = 3, 4, 5, 6, 10, 17, 20
_MOST_DRIVES: Final = 16
_MOST: Final = 1 << 62
_POWER: Final = re.compile(r"byte\s*\*\s*(\d{1,4})\s*\^\s*(\d{1,4})", re.IGNORECASE)
# As the first versions wrote them.
_UNITS: Final = {
    "": 1,
    "byte": 1,
    "bytes": 1,
    "kilobytes": 1 << 10,
    "kb": 1 << 10,
    "megabytes": 1 << 20,
    "mb": 1 << 20,
    "gigabytes": 1 << 30,
    "gb": 1 << 30,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """`file` is the name of one of the package's, empty for a disk that is; `capacity` in bytes."""

    file: str = ""
    capacity: int
    ide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Appliance:
    """`memory` in bytes; `cards` are the networks that its network cards are on. `efi` rather than
    a BIOS starts it."""

    name: str
    vcpus: int = 1
    memory: int = 512 * MIB
    drives: tuple[Drive, ...] = ()
    cards: tuple[str, ...] = ()
    efi: bool = False


def parse(data: bytes, what: str) -> Appliance:
    """
    Raises:
        InvalidInput: when it describes no machine, several, or one that cannot be.
    """
    root = markup.parse(data, what)
    systems = [each for each in root.iter() if each.tag == "VirtualSystem"]
    if root.tag != "Envelope" or not systems:
        raise InvalidInput(f"{what} describes no machine")
    if len(systems) > 1:
        raise InvalidInput(f"{what} describes {len(systems)} machines; only one becomes a guest")
    system = systems[0]
    hardware = system.find("VirtualHardwareSection")
    if hardware is None:
        raise InvalidInput(f"{what} does not say what hardware the machine has")
    items = [
        _fields(each)
        for each in hardware
        if each.tag in ("Item", "StorageItem", "EthernetPortItem")
    ]
    return Appliance(
        name=_name(system),
        vcpus=_number(_first(items, CPU), "VirtualQuantity", 1, what),
        memory=_memory(_first(items, MEMORY), what),
        drives=tuple(_drives(items, _disks(root, what), what)),
        cards=tuple(
            each.get("Connection", "")
            for each in items
            if each.get("ResourceType") == str(ETHERNET)
        ),
        efi=_is_efi(system),
    )


def _fields(item: Element) -> dict[str, str]:
    return {each.tag: (each.text or "").strip() for each in item}


def _first(items: list[dict[str, str]], kind: int) -> dict[str, str]:
    return next((each for each in items if each.get("ResourceType") == str(kind)), {})


def _name(system: Element) -> str:
    named = system.find("Name")
    return (named.text if named is not None else None) or system.get("id") or "machine"


def _number(found: dict[str, str], name: str, otherwise: int, what: str) -> int:
    text = found.get(name, str(otherwise))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInput(f"{what} has {text!r} where a number belongs")
    return int(text)


def _unit(text: str, what: str) -> int:
    known = _UNITS.get(text.strip().lower())
    if known is not None:
        return known
    match = _POWER.fullmatch(text.strip())
    if match is None or int(match[1]) not in (2, 10) or int(match[2]) > 60:
        raise InvalidInput(f"{what} counts in {text!r}, which is no unit")
    return int(int(match[1]) ** int(match[2]))


def _bytes(text: str, unit: str, what: str) -> int:
    size = _number({"": text}, "", 0, what) * _unit(unit, what)
    if size > _MOST:
        raise InvalidInput(f"{what} has a size of {size} bytes, which cannot be")
    return size


def _memory(item: dict[str, str], what: str) -> int:
    if not item:
        return 512 * MIB
    unit = item.get("AllocationUnits", "MegaBytes")
    return _bytes(item.get("VirtualQuantity", ""), unit, what)


def _disks(root: Element, what: str) -> dict[str, Drive]:
    """By their names in the descriptor."""
    files = {}
    for each in root.iter():
        if each.tag != "File":
            continue
        if each.get("compression", "identity") not in ("", "identity") or each.get("chunkSize"):
            raise InvalidInput(
                f"{what} has files that are compressed or in pieces, which are not read"
            )
        files[each.get("id", "")] = each.get("href", "")
    found = {}
    for each in root.iter():
        if each.tag != "Disk" or "diskId" not in each.attrib:
            continue
        reference = each.get("fileRef", "")
        if reference and not files.get(reference):
            raise InvalidInput(
                f"{what} has a disk of the file {reference!r}, which it does not name"
            )
        if each.get("parentRef"):
            raise InvalidInput(f"{what} has a disk over another, which is not read")
        units = each.get("capacityAllocationUnits", "byte")
        capacity = _bytes(each.get("capacity", ""), units, what)
        found[each.attrib["diskId"]] = Drive(file=files.get(reference, ""), capacity=capacity)
    return found


def _drives(items: list[dict[str, str]], disks: dict[str, Drive], what: str) -> Iterator[Drive]:
    controllers = {each.get("InstanceID", each.get("InstanceId", "")): each for each in items}
    wanted = [each for each in items if each.get("ResourceType") == str(DISK)]
    if len(wanted) > _MOST_DRIVES:
        raise InvalidInput(f"{what} has {len(wanted)} disks; a guest has at most {_MOST_DRIVES}")

    def place(item: dict[str, str]) -> tuple[str, int]:
        address = item.get("AddressOnParent", "0")
        return item.get("Parent", ""), int(
            address
        ) if address.isascii() and address.isdigit() else 0

    for each in sorted(wanted, key=place):
        name = each.get("HostResource", "").rpartition("/")[2]
        if name not in disks:
            raise InvalidInput(
                f"{what} has a drive with the disk {name!r}, which it does not describe"
            )
        on = controllers.get(each.get("Parent", ""), {})
        drive = disks[name]
        yield Drive(
            file=drive.file, capacity=drive.capacity, ide=on.get("ResourceType") == str(IDE)
        )


def _is_efi(system: Element) -> bool:
    """As VMware says it, and VirtualBox."""
    for each in system.iter():
        if each.tag == "Config" and each.get("key") == "firmware":
            return each.get("value", "").lower() == "efi"
        if each.tag == "Firmware":
            return each.get("type", "").upper().startswith("EFI")
    return False
