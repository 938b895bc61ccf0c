"""Disk images: make, look into, convert, resize, check, snapshots inside."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote

from innkeeper.errors import InvalidInput
from innkeeper.machine.new_image import ExistingImage, Export, NewImage
from innkeeper.machine.size import parse_size
from innkeeper.machine.spec import DiskFormat
from innkeeper.services import output_file
from innkeeper.vm import disk_images
from innkeeper.vm.disk_images import DiskInfo, DiskReport, DiskSnapshot

__all__ = ["ConvertedFormat", "DiskInfo", "DiskReport", "DiskSnapshot", "NewFormat", "Repair"]

_RAW_SUFFIXES: Final = (".img", ".raw")
_ONLY_READ: Final = (".vdi", ".vhd", ".vhdx")
_CLUSTERS: Final = (512, 2 << 20)


class NewFormat(StrEnum):
    """What images can be made."""

    QCOW2 = "qcow2"
    RAW = "raw"


class ConvertedFormat(StrEnum):
    """What images can be converted to. A vmdk is stream-optimised, as OVF packages have it."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VMDK = "vmdk"


class Repair(StrEnum):
    """What a check puts right: nothing, storage that nobody uses, everything."""

    NOTHING = "nothing"
    LEAKS = "leaks"
    ALL = "all"


def format_for(path: Path, wanted: NewFormat | ConvertedFormat | None) -> DiskFormat:
    """The format of a new image: as it was said, or else as the file's name says it.

    Raises:
        InvalidInput: when its name says one that is only read.
    """
    if wanted is not None:
        return DiskFormat(wanted.value)
    if path.suffix.lower() in _ONLY_READ:
        raise InvalidInput(
            f"{path.suffix} images are only read: name {path} otherwise, or say --to"
        )
    if path.suffix == ".vmdk":
        return DiskFormat.VMDK
    return DiskFormat.RAW if path.suffix in _RAW_SUFFIXES else DiskFormat.QCOW2


def cluster_size(text: str) -> int:
    """Bytes of `64K` and the like.

    Raises:
        InvalidInput: when that is no power of two from 512 bytes to 2 MiB.
    """
    # As people write it: a number alone counts bytes here, as there are clusters of 512.
    size = int(text) if text.isascii() and text.isdigit() else parse_size(text)
    if not _CLUSTERS[0] <= size <= _CLUSTERS[1] or size.bit_count() != 1:
        raise InvalidInput(f"a cluster has 512 bytes to 2M, a power of two, not {text}")
    return size


def create(path: Path, new: NewImage) -> int:
    """Makes an image; the disk's size in bytes.

    Raises:
        InvalidInput: when it cannot be, such as when there is a file of that name.
        HostFailure: when the host cannot write it.
    """
    return disk_images.disk_create(output_file.place_of(path), new)


def info(image: ExistingImage) -> DiskInfo:
    """Raises InvalidInput when there is no such image, or it is damaged."""
    return disk_images.disk_info(image)


def convert(
    source: ExistingImage,
    target: Path,
    new: NewImage,
    report: Callable[[int, int], object],
    *,
    compress: bool = False,
) -> None:
    """Copies a disk into a new image, all of it or nothing.

    `report` hears of bytes done and of all bytes; its exception ends the work.

    Raises:
        InvalidInput, HostFailure: as in `create`; when the source is in use or damaged.
    """
    if compress and new.format is not DiskFormat.QCOW2:
        raise InvalidInput(f"{target} is to be {new.format}, which has no compression; qcow2 has")
    disk_images.disk_convert(source, output_file.place_of(target), new, compress, report)


def resize(image: ExistingImage, size: str, *, shrink: bool = False) -> int:
    """Gives the disk the size of `10G`, or with `+10G` so much more; its bytes then.

    Raises:
        InvalidInput: when it would shrink and `shrink` does not allow that, or is only read.
        HostFailure: when the host cannot write.
    """
    wanted = parse_size(size.removeprefix("+"))
    if size.startswith("+"):
        wanted += disk_images.disk_info(image).size
    disk_images.disk_resize(image, wanted, shrink)
    return disk_images.disk_info(image).size


def check(image: ExistingImage, repair: Repair = Repair.NOTHING) -> DiskReport:
    """Raises InvalidInput when the image cannot be checked, HostFailure when not written."""
    return disk_images.disk_check(image, repair.value)


def serve(export: Export, ready: Callable[[str], object]) -> None:
    """Lets others have a disk until a signal's exception, or with `export.once` its last client's
    end. `ready` is told its URI when they can connect.

    Raises:
        InvalidInput: when the image cannot be used. HostFailure: when the socket cannot be made.
    """

    def told(port: int | None) -> None:
        if export.socket is not None:
            ready(f"nbd+unix:///?socket={quote(str(export.socket.absolute()))}")
        else:
            host = f"[{export.host}]" if ":" in export.host else export.host
            ready(f"nbd://{host}:{port}")

    if export.socket is not None and export.socket.exists():
        raise InvalidInput(f"there is a file {export.socket} already")
    disk_images.disk_serve(export, told)


def snapshots(path: Path) -> list[DiskSnapshot]:
    """Raises InvalidInput when the image is no qcow2."""
    return disk_images.disk_snapshots(path)


def create_snapshot(path: Path, name: str) -> None:
    """Raises InvalidInput when the name is taken or the image no qcow2."""
    disk_images.disk_snapshot(path, "create", name)


def apply_snapshot(path: Path, name: str) -> None:
    """Makes the disk what it was then. Raises InvalidInput when there is no such snapshot."""
    disk_images.disk_snapshot(path, "apply", name)


def delete_snapshot(path: Path, name: str) -> None:
    """Raises InvalidInput when there is no such snapshot."""
    disk_images.disk_snapshot(path, "delete", name)
