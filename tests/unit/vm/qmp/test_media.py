"""Drives by the control socket: what is moved, in which order, and what is refused as QEMU does."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from innkeeper.vm.qmp import media
from innkeeper.vm.qmp.descriptors import DescriptorSets
from innkeeper.vm.qmp.session import DESCRIPTOR, CommandError


class Drives:
    """A guest with a CD-ROM drive and a floppy drive, which notes what is done to them."""

    def __init__(self) -> None:
        self.files: dict[str, str | None] = {"cd0": "/one.iso", "floppy0": None}
        self.open = self.locked = False
        self.done: list[str] = []
        self.media = self

    def here(self) -> list[dict[str, object]]:
        return [
            {
                "id": drive,
                "file": file,
                "read_only": True,
                "open": self.open and drive == "cd0",
                "locked": self.locked and drive == "cd0",
            }
            for drive, file in self.files.items()
        ]

    def open_tray(self, drive: str, *, force: bool) -> bool:
        if drive == "cd0" and self.locked and not force:
            self.done.append("ask")
            return False
        self.done.append(f"open {drive}")
        self.open = True
        return True

    def close_tray(self, drive: str) -> None:
        self.done.append(f"close {drive}")
        self.open = False

    def insert(self, drive: str, path: Path, fd: int, *, read_only: bool) -> None:
        os.fstat(fd)
        self.done.append(f"insert {drive} {path}{' to be read' if read_only else ''}")
        self.files[drive] = str(path)

    def remove(self, drive: str) -> None:
        self.done.append(f"remove {drive}")
        self.files[drive] = None


@pytest.fixture
def drives() -> Drives:
    return Drives()


@pytest.fixture
def do(drives: Drives) -> Callable[..., Any]:
    sets = DescriptorSets()

    def node(name: str) -> tuple[Path, int, bool]:
        return Path(f"/{name}.iso"), 0, True

    handlers = {**sets.handlers(), **media.handlers(drives, sets, node)}

    def execute(command: str, **arguments: object) -> object:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return handlers[command](named)

    return execute


def test_a_disc_is_ejected_by_its_name_and_by_its_path(
    drives: Drives, do: Callable[..., Any]
) -> None:
    do("eject", device="cd0")
    do("eject", id="/machine/peripheral/floppy0")
    assert drives.done == ["open cd0", "remove cd0", "open floppy0", "remove floppy0"]
    with pytest.raises(CommandError, match="Device 'cd1' not found"):
        do("eject", id="cd1")
    with pytest.raises(CommandError, match="Either 'id' or 'device'"):
        do("eject")


def test_a_disc_that_the_guest_holds_is_asked_for(drives: Drives, do: Callable[..., Any]) -> None:
    drives.locked = True
    with pytest.raises(CommandError, match="is locked and force was not specified"):
        do("eject", id="cd0")
    do("blockdev-open-tray", id="cd0")
    with pytest.raises(CommandError, match="Tray of device 'cd0' is not open"):
        do("blockdev-remove-medium", id="cd0")
    assert drives.done == ["ask", "ask"]
    do("eject", id="cd0", force=True)
    assert drives.done[2:] == ["open cd0", "remove cd0"]


def test_a_medium_is_changed_in_one_and_in_steps(
    drives: Drives, do: Callable[..., Any], tmp_path: Path
) -> None:
    image = tmp_path / "two.iso"
    image.write_bytes(bytes(2048))
    do("blockdev-change-medium", id="cd0", filename=str(image), read_only_mode="read-only")
    assert drives.done == ["open cd0", f"insert cd0 {image} to be read", "close cd0"]
    drives.done.clear()
    do("blockdev-open-tray", id="cd0")
    with pytest.raises(CommandError, match="There already is a medium in device 'cd0'"):
        do("blockdev-insert-medium", id="cd0", node_name="three")
    do("blockdev-remove-medium", id="cd0")
    do("blockdev-insert-medium", id="cd0", node_name="three")
    do("blockdev-close-tray", id="cd0")
    assert drives.done == [
        "open cd0",
        "remove cd0",
        "insert cd0 /three.iso to be read",
        "close cd0",
    ]


def test_what_came_as_a_descriptor_goes_in_and_is_closed(
    drives: Drives, do: Callable[..., Any]
) -> None:
    fd = os.open("/dev/zero", os.O_RDONLY)
    do("add-fd", **{DESCRIPTOR: fd, "fdset-id": 5})
    drives.open = True
    do("x-insert-medium", id="cd0", path="/home/me/two.iso", fdset_id=5)
    assert drives.done == ["insert cd0 /home/me/two.iso", "close cd0"]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_nothing_moves_for_a_file_that_is_not_there(
    drives: Drives, do: Callable[..., Any], tmp_path: Path
) -> None:
    for told in (
        {"filename": str(tmp_path / "none")},
        {"filename": "/dev/fdset/7"},
        {"filename": "/dev/null", "format": "qcow2"},
        {"filename": "/dev/null", "read_only_mode": "so-so"},
    ):
        with pytest.raises(CommandError):
            do("blockdev-change-medium", id="cd0", **told)
    assert drives.done == []


def test_what_is_told_of_drives_is_what_qemu_tells(drives: Drives) -> None:
    disc, floppy = media.blocks(drives)
    assert disc["inserted"] == {"file": "/one.iso", "ro": True, "drv": "raw"}
    assert (disc["removable"], disc["tray_open"], disc["locked"]) == (True, False, False)
    assert "tray_open" not in floppy
    assert "inserted" not in floppy
