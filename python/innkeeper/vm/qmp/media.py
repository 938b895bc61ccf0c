"""Commands that change what lies in a guest's drives, as QEMU has them, and `inn`'s own.

A medium is a file that the guest's process can open, or a descriptor that came before, or a block
node. A guest that holds a disc is asked for it, by what a drive's own button does.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeVar

from innkeeper.errors import InnkeeperError
from innkeeper.vm.qmp.descriptors import DescriptorSets
from innkeeper.vm.qmp.session import CommandError, Handler

Arguments = Mapping[str, object]
T = TypeVar("T")
# A block node's file: its name, its descriptor, and whether it is only read.
NodeFile = Callable[[str], tuple[Path, int, bool]]

PERIPHERAL: Final = "/machine/peripheral/"
# Drives whose media lie on a tray.
_TRAYS: Final = ("cd",)


class Media(Protocol):
    """As innkeeper.guest.media has it."""

    def here(self) -> list[dict[str, object]]: ...
    def open_tray(self, drive: str, *, force: bool) -> bool: ...
    def close_tray(self, drive: str) -> None: ...
    def insert(self, drive: str, path: Path, fd: int, *, read_only: bool) -> None: ...
    def remove(self, drive: str) -> None: ...


class Subject(Protocol):
    """A guest, as these commands need it."""

    @property
    def media(self) -> Media: ...


def handlers(guest: Subject, sets: DescriptorSets, node_file: NodeFile) -> dict[str, Handler]:
    return {
        "eject": lambda arguments: _eject(guest, arguments),
        "blockdev-open-tray": lambda arguments: _open(guest, arguments),
        "blockdev-close-tray": lambda arguments: _doing(
            lambda: guest.media.close_tray(_drive(guest, arguments))
        ),
        "blockdev-remove-medium": lambda arguments: _remove(guest, arguments),
        "blockdev-insert-medium": lambda arguments: _insert_node(guest, node_file, arguments),
        "blockdev-change-medium": lambda arguments: _change(guest, sets, arguments),
        "x-query-media": lambda _: guest.media.here(),
        "x-insert-medium": lambda arguments: _insert_passed(guest, sets, arguments),
    }


def blocks(guest: Subject) -> list[dict[str, object]]:
    """What `query-block` says of drives."""
    return [_block(drive) for drive in guest.media.here()]


def _block(drive: dict[str, object]) -> dict[str, object]:
    name = str(drive["id"])
    block: dict[str, object] = {
        "device": name,
        "qdev": f"{PERIPHERAL}{name}",
        "type": "unknown",
        "removable": True,
        "locked": drive["locked"],
    }
    if _has_tray(name):
        block["tray_open"] = drive["open"]
    if drive["file"] is not None:
        block["inserted"] = {"file": drive["file"], "ro": drive["read_only"], "drv": "raw"}
    return block


def _has_tray(drive: str) -> bool:
    return drive.startswith(_TRAYS)


def _doing(work: Callable[[], T]) -> T:
    try:
        return work()
    except InnkeeperError as error:
        raise CommandError(str(error)) from error


def _found(guest: Subject, arguments: Arguments) -> dict[str, object]:
    """The drive that `id` names, or `device`, as it was called before."""
    name = arguments.get("id", arguments.get("device"))
    if not isinstance(name, str):
        raise CommandError("Either 'id' or 'device' must be given")
    name = name.removeprefix(PERIPHERAL)
    for drive in guest.media.here():
        if drive["id"] == name:
            return drive
    raise CommandError(f"Device '{name}' not found")


def _drive(guest: Subject, arguments: Arguments) -> str:
    return str(_found(guest, arguments)["id"])


def _open(guest: Subject, arguments: Arguments) -> None:
    # Of a disc that the guest holds it is asked for: it opens the tray itself.
    name, force = _drive(guest, arguments), arguments.get("force") is True
    _doing(lambda: guest.media.open_tray(name, force=force))


def _open_now(guest: Subject, arguments: Arguments) -> str:
    name, force = _drive(guest, arguments), arguments.get("force") is True
    if not _doing(lambda: guest.media.open_tray(name, force=force)):
        raise CommandError(
            f"Device '{name}' is locked and force was not specified, wait for tray to open and "
            "try again"
        )
    return name


def _eject(guest: Subject, arguments: Arguments) -> None:
    name = _open_now(guest, arguments)
    _doing(lambda: guest.media.remove(name))


def _require_open(drive: dict[str, object]) -> str:
    name = str(drive["id"])
    if _has_tray(name) and drive["open"] is not True:
        raise CommandError(f"Tray of device '{name}' is not open")
    return name


def _remove(guest: Subject, arguments: Arguments) -> None:
    name = _require_open(_found(guest, arguments))
    _doing(lambda: guest.media.remove(name))


def _require_empty(drive: dict[str, object]) -> str:
    name = _require_open(drive)
    if drive["file"] is not None:
        raise CommandError(f"There already is a medium in device '{name}'")
    return name


def _insert_node(guest: Subject, node_file: NodeFile, arguments: Arguments) -> None:
    name = _require_empty(_found(guest, arguments))
    path, fd, read_only = node_file(str(arguments["node-name"]))
    _doing(lambda: guest.media.insert(name, path, fd, read_only=read_only))


def _change(guest: Subject, sets: DescriptorSets, arguments: Arguments) -> None:
    if arguments.get("format", "raw") != "raw":
        raise CommandError("a disc or floppy disk is a raw image")
    # Before anything is taken out.
    filename = str(arguments["filename"])
    number = sets.named(filename)
    mode = arguments.get("read-only-mode", "retain")
    if mode not in ("retain", "read-only", "read-write"):
        raise CommandError(f"Invalid parameter '{mode}'")
    _found(guest, arguments)
    fd = _opened(filename, read_only=mode == "read-only") if number is None else sets.take(number)
    try:
        name = _open_now(guest, arguments)
        _exchange(guest, name, Path(filename), fd, read_only=mode == "read-only")
    finally:
        os.close(fd)


def _exchange(guest: Subject, name: str, path: Path, fd: int, *, read_only: bool) -> None:
    """Through a tray that is open, which is closed then; also where it comes to nothing."""
    try:
        _doing(lambda: guest.media.insert(name, path, fd, read_only=read_only))
    finally:
        _doing(lambda: guest.media.close_tray(name))


def _insert_passed(guest: Subject, sets: DescriptorSets, arguments: Arguments) -> None:
    number = arguments["fdset-id"]
    assert isinstance(number, int)
    fd = sets.take(number)
    try:
        name = _require_open(_found(guest, arguments))
        _exchange(guest, name, Path(str(arguments["path"])), fd, read_only=False)
    finally:
        os.close(fd)


def _opened(filename: str, *, read_only: bool) -> int:
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    try:
        if not read_only and os.access(filename, os.W_OK):
            return os.open(filename, os.O_RDWR | flags)
        return os.open(filename, os.O_RDONLY | flags)
    except OSError as error:
        raise CommandError(
            f"Could not open '{filename}': {error.strerror}; what lies outside of the guest's "
            "jail is passed with add-fd"
        ) from error
