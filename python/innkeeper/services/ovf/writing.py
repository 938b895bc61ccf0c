"""A descriptor of a guest, for others.

Spec: DMTF DSP0243 1.1, "OVF descriptor"; VMware's extension for firmware, which others ignore.
"""

import io
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent, register_namespace

from innkeeper.services.ovf import descriptor
from innkeeper.services.ovf.descriptor import Appliance

_OVF: Final = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
_RASD: Final = f"{_CIM}/CIM_ResourceAllocationSettingData"
_VSSD: Final = f"{_CIM}/CIM_VirtualSystemSettingData"
_VMW: Final = "http://www.vmware.com/schema/ovf"
_FORMAT: Final = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
# What it can be run as at the least; nothing of it is needed.
_SYSTEM: Final = "vmx-10"
_IDE, _SCSI = ("3", "4"), "5"


def write(appliance: Appliance, sizes: Sequence[int]) -> bytes:
    """`sizes` are those of the drives' files, in bytes."""
    for prefix, space in (("ovf", _OVF), ("rasd", _RASD), ("vssd", _VSSD), ("vmw", _VMW)):
        register_namespace(prefix, space)
    root = Element(f"{{{_OVF}}}Envelope")
    references = _sub(root, "References")
    for number, (drive, size) in enumerate(zip(appliance.drives, sizes, strict=True), 1):
        _sub(references, "File", id=f"file{number}", href=drive.file, size=str(size))
    disks = _section(root, "DiskSection", "The disks of this machine")
    for number, drive in enumerate(appliance.drives, 1):
        _sub(
            disks,
            "Disk",
            diskId=f"disk{number}",
            fileRef=f"file{number}",
            capacity=str(drive.capacity),
            capacityAllocationUnits="byte",
            format=_FORMAT,
        )
    networks = _section(root, "NetworkSection", "The networks that its cards are on")
    for name in dict.fromkeys(appliance.cards):
        network = _sub(networks, "Network")
        network.set(f"{{{_OVF}}}name", name)
        _sub(network, "Description").text = f"The network {name}"
    system = _sub(root, "VirtualSystem", id=appliance.name)
    _sub(system, "Info").text = "A guest of Innkeeper"
    _sub(system, "Name").text = appliance.name
    _hardware(system, appliance)
    indent(root)
    return _bytes(root)


def _hardware(system: Element, appliance: Appliance) -> None:
    hardware = _section(system, "VirtualHardwareSection", "What the machine is made of")
    about = _sub(hardware, "System")
    _setting(about, _VSSD, "ElementName", "Virtual Hardware Family")
    _setting(about, _VSSD, "InstanceID", "0")
    _setting(about, _VSSD, "VirtualSystemIdentifier", appliance.name)
    _setting(about, _VSSD, "VirtualSystemType", _SYSTEM)
    vcpus, memory = appliance.vcpus, appliance.memory // descriptor.MIB
    _item(hardware, "1", f"{vcpus} virtual CPUs", descriptor.CPU, VirtualQuantity=str(vcpus))
    units = {"AllocationUnits": "byte * 2^20"}
    _item(
        hardware,
        "2",
        f"{memory} MB of memory",
        descriptor.MEMORY,
        VirtualQuantity=str(memory),
        **units,
    )
    # Others have no virtio; a controller of SCSI is the one that most systems know.
    for number, parent in enumerate(_IDE[: -(-sum(drive.ide for drive in appliance.drives) // 2)]):
        _item(hardware, parent, f"IDE controller {number}", descriptor.IDE, Address=str(number))
    if any(not drive.ide for drive in appliance.drives):
        kind = {"ResourceSubType": "lsilogic"}
        _item(hardware, _SCSI, "SCSI controller 0", descriptor.SCSI, Address="0", **kind)
    for number, drive in enumerate(appliance.drives, 1):
        before = sum(each.ide == drive.ide for each in appliance.drives[: number - 1])
        # A controller of IDE has two.
        parent, address = (_IDE[before // 2], before % 2) if drive.ide else (_SCSI, before)
        _item(
            hardware,
            str(10 + number),
            f"disk {number}",
            descriptor.DISK,
            AddressOnParent=str(address),
            HostResource=f"ovf:/disk/disk{number}",
            Parent=parent,
        )
    for number, network in enumerate(appliance.cards, 1):
        _item(
            hardware,
            str(100 + number),
            f"network card {number}",
            descriptor.ETHERNET,
            AddressOnParent=str(number),
            AutomaticAllocation="true",
            Connection=network,
            ResourceSubType="E1000",
        )
    firmware = SubElement(hardware, f"{{{_VMW}}}Config")
    firmware.set(f"{{{_OVF}}}required", "false")
    firmware.set(f"{{{_VMW}}}key", "firmware")
    firmware.set(f"{{{_VMW}}}value", "efi" if appliance.efi else "bios")


def _item(hardware: Element, number: str, name: str, kind: int, **settings: str) -> None:
    """Its settings stand in the order of their names, as the schema wants it."""
    item = _sub(hardware, "Item")
    known = {**settings, "ElementName": name, "InstanceID": number, "ResourceType": str(kind)}
    for each in sorted(known):
        _setting(item, _RASD, each, known[each])


def _setting(parent: Element, space: str, name: str, value: str) -> None:
    SubElement(parent, f"{{{space}}}{name}").text = value


def _section(parent: Element, name: str, info: str) -> Element:
    section = _sub(parent, name)
    _sub(section, "Info").text = info
    return section


def _sub(parent: Element, name: str, **attributes: str) -> Element:
    named = {f"{{{_OVF}}}{key}": value for key, value in attributes.items()}
    return SubElement(parent, f"{{{_OVF}}}{name}", named)


def _bytes(root: Element) -> bytes:
    out = io.BytesIO()
    ElementTree(root).write(out, encoding="UTF-8", xml_declaration=True)
    return out.getvalue() + b"\n"
