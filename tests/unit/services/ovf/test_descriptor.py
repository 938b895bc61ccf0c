"""Descriptors: what ours say, what others', and what wants to be no description."""

import pytest
from hypothesis import given, strategies

from innkeeper.errors import InvalidInput
from innkeeper.services.ovf import descriptor, writing
from innkeeper.services.ovf.descriptor import Appliance, Drive

BOX = Appliance(
    name="box & co",
    vcpus=3,
    memory=768 << 20,
    drives=(
        Drive(file="a.vmdk", capacity=5 << 30, ide=True),
        Drive(file="d.vmdk", capacity=4096, ide=True),
        Drive(file="e.vmdk", capacity=8192, ide=True),
        Drive(file="b.vmdk", capacity=1 << 20),
        Drive(file="c.vmdk", capacity=512),
    ),
    cards=("nat", "inner"),
    efi=True,
)

# As VirtualBox writes it, shortened: another version, units in words, two controllers.
VIRTUALBOX = b"""<?xml version="1.0"?>
<Envelope ovf:version="1.0" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References><File ovf:id="file1" ovf:href="deb-disk001.vmdk"/></References>
  <DiskSection><Info>disks</Info>
    <Disk ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="vmdisk1"
      ovf:fileRef="file1"/>
    <Disk ovf:capacity="1048576" ovf:diskId="vmdisk2"/>
  </DiskSection>
  <VirtualSystem ovf:id="deb"><Info>A machine</Info>
    <VirtualHardwareSection><Info>hardware</Info>
      <Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>1024</rasd:VirtualQuantity>
      </Item>
      <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>5</rasd:ResourceType></Item>
      <Item><rasd:InstanceID>5</rasd:InstanceID><rasd:ResourceType>20</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:InstanceID>8</rasd:InstanceID>
        <rasd:HostResource>/disk/vmdisk2</rasd:HostResource><rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:InstanceID>9</rasd:InstanceID>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:Connection>NAT</rasd:Connection><rasd:InstanceID>10</rasd:InstanceID>
        <rasd:ResourceType>10</rasd:ResourceType></Item>
    </VirtualHardwareSection>
    <vbox:Machine><Hardware><Firmware type="EFI"/></Hardware></vbox:Machine>
  </VirtualSystem>
</Envelope>"""


def test_what_is_written_is_what_is_read() -> None:
    written = writing.write(BOX, [1, 2, 3, 4, 5])
    assert descriptor.parse(written, "box.ovf") == BOX
    assert b'ovf:size="3"' in written
    assert writing.write(BOX, [1, 2, 3, 4, 5]) == written


def test_a_machine_of_virtualbox() -> None:
    assert descriptor.parse(VIRTUALBOX, "deb.ovf") == Appliance(
        name="deb",
        vcpus=2,
        memory=1 << 30,
        drives=(
            Drive(file="deb-disk001.vmdk", capacity=8 << 30, ide=True),
            Drive(capacity=1 << 20, ide=True),
        ),
        cards=("NAT",),
        efi=True,
    )


BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<Envelope>&b;</Envelope>"""
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Envelope>&a;</Envelope>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (BOMB, "declares a document type"),
        (OUTSIDE, "declares a document type"),
        (b"", "is no XML"),
        (b"<a>", "is no XML"),
        (b"\xff\xfe", "is no XML"),
        (b"<a/>", "describes no machine"),
        (b"<a>" * 100 + b"</a>" * 100, "has more in it"),
        (b"<a>" + b"<b/>" * 100_001 + b"</a>", "has more in it"),
        (b" " * (5 << 20), "is larger than"),
        (VIRTUALBOX.replace(b">1024<", b">-1<"), "where a number belongs"),
        (VIRTUALBOX.replace(b">1024<", b">" + b"9" * 5000 + b"<"), "where a number belongs"),
        (VIRTUALBOX.replace(b"2^30", b"2^99"), "is no unit"),
        (VIRTUALBOX.replace(b'capacity="8"', b'capacity="9999999999999999"'), "cannot be"),
        (VIRTUALBOX.replace(b' ovf:href="deb-disk001.vmdk"', b""), "does not name"),
        (VIRTUALBOX.replace(b"/disk/vmdisk2", b"/disk/x"), "does not describe"),
        (VIRTUALBOX.replace(b'ovf:id="file1"', b'ovf:id="file1" ovf:compression="gzip"'), "pieces"),
    ],
)
def test_what_is_no_description_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        descriptor.parse(data, "it")


@given(
    strategies.lists(
        strategies.tuples(strategies.integers(0, len(VIRTUALBOX)), strategies.binary(max_size=6)),
        max_size=4,
    )
)
def test_a_damaged_description_is_one_sentence_or_a_machine(
    damages: list[tuple[int, bytes]],
) -> None:
    data = bytearray(VIRTUALBOX)
    for at, new in damages:
        data[at : at + len(new)] = new
    try:
        found = descriptor.parse(bytes(data), "it")
    except InvalidInput:
        return
    assert len(found.drives) <= 16
