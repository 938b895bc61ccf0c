"""What a guest's process says of the media that it was given."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from innkeeper.guest.media import Media, Subject
from innkeeper.machine import MachineSpec
from innkeeper.machine.firmware import CD, FLOPPY, FirmwareSpec
from innkeeper.vm.disk_images import OpenDisk
from innkeeper.vm.qmp import media as commands


class FakeControl:
    def __init__(self, *there: str) -> None:
        self.there = set(there)

    def media(self) -> list[tuple[str, bool, bool, bool]]:
        return [(drive, drive in self.there, False, False) for drive in (CD, FLOPPY)]

    def change_medium(self, drive: str, medium: OpenDisk | None) -> None:
        (self.there.discard if medium is None else self.there.add)(drive)


def test_a_floppy_disk_is_read_only_where_it_is(tmp_path: Path) -> None:
    image = tmp_path / "floppy.img"
    image.write_bytes(bytes(1440 << 10))
    firmware = FirmwareSpec(image=Path("/rom"), cdrom=image, floppy=image)
    control = FakeControl(CD, FLOPPY)
    guest = SimpleNamespace(
        spec=MachineSpec(memory=1 << 26, firmware=firmware), control=lambda: control
    )
    guest.media = Media(cast("Subject", guest))

    def told() -> list[object]:
        blocks = commands.blocks(cast("commands.Subject", guest))
        return [cast("dict[str, object]", block["inserted"])["ro"] for block in blocks]

    assert told() == [True, False]
    fd = os.open(image, os.O_RDWR)
    guest.media.insert(FLOPPY, image, fd, read_only=True)
    assert told() == [True, True]
    guest.media.insert(FLOPPY, image, fd, read_only=False)
    assert told() == [True, False]
    guest.media.remove(FLOPPY)
    os.close(fd)
    fd = os.open(image, os.O_RDONLY)
    guest.media.insert(FLOPPY, image, fd, read_only=False)
    assert told() == [True, True]
    os.close(fd)
