"""An OVA of a guest that does not run, for whoever else runs machines."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images import Store
from innkeeper.machine import DiskFormat, DiskSpec, MachineSpec
from innkeeper.machine.new_image import ExistingImage, NewImage
from innkeeper.machine.spec import DiskBus, Overlay
from innkeeper.services import beginnings, output_file
from innkeeper.services import definition as definitions
from innkeeper.services.lifecycle import locked
from innkeeper.services.ovf import package, writing
from innkeeper.services.ovf.descriptor import Appliance, Drive
from innkeeper.services.ovf.importing import Step
from innkeeper.vm import disk_images, scratch
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry

_PLACE: Final = "exporting"
_OVMF: Final = "OVMF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The file's bytes, and what others will not find in it, a sentence each."""

    size: int
    appliance: Appliance
    remarks: tuple[str, ...]


def export(guest: str, target: Path, step: Step, *, force: bool = False) -> Exported:
    """Writes an OVA, all of it or nothing.

    Raises:
        GuestNotFound, AlreadyRunning.
        InvalidInput: when there is a file already, or a disk that is kept by somebody else.
        HostFailure: when it cannot be written.
    """
    if target.suffix.lower() != ".ova":
        raise InvalidInput(f"an export is one file whose name ends in .ova, unlike {target}")
    if target.exists() and not force:
        raise InvalidInput(f"there is a file {target} already; --force replaces it")
    final = output_file.place_of(target)
    with registry().open(guest) as home, locked(home):
        spec = beginnings.order(home, definitions.read(home)).spec
        with scratch.place(Store().directory / _PLACE) as place:
            names = [f"{guest}-disk{number}.vmdk" for number in range(1, len(spec.disks) + 1)]
            drives = []
            for name, disk in zip(names, spec.disks, strict=True):
                drives.append(_convert(home, disk, place / name, step))
            appliance = _appliance(guest, spec, drives)
            written = [place / name for name in names]
            document = writing.write(appliance, [each.stat().st_size for each in written])
            partial = final.with_name(f".{final.name}.{os.getpid()}.part")
            try:
                with step(f"writing {target.name}") as progress:
                    package.write(partial, (f"{guest}.ovf", document), written, progress)
                _finish(partial, final)
            except OSError as error:
                raise HostFailure(f"cannot write {target}: {error.strerror}") from error
            finally:
                with contextlib.suppress(OSError):
                    partial.unlink()
    return Exported(
        size=target.stat().st_size, appliance=appliance, remarks=tuple(_remarks(guest, spec))
    )


def _convert(home: Home, disk: DiskSpec, target: Path, step: Step) -> Drive:
    if disk.nbd is not None:
        raise InvalidInput(f"the disk {disk.nbd} of {home.name} is kept by another server")
    own = Path(home.path) / files.OWN
    image = ExistingImage(
        path=own / disk.path,
        format=disk.format,
        trust_backing=disk.trust_backing,
        overlay=None if disk.overlay is not Overlay.KEEP else own / (disk.overlay_path or ""),
        layers=tuple(own / layer for layer in disk.layers),
    )
    with step(f"writing {target.name}") as progress:
        disk_images.disk_convert(image, target, NewImage(format=DiskFormat.VMDK), False, progress)  # noqa: FBT003
    size = disk_images.disk_info(ExistingImage(path=target)).size
    return Drive(file=target.name, capacity=size, ide=disk.bus is DiskBus.IDE)


def _appliance(guest: str, spec: MachineSpec, drives: list[Drive]) -> Appliance:
    firmware = spec.firmware
    network = spec.network
    return Appliance(
        name=guest,
        vcpus=spec.vcpus,
        memory=spec.memory,
        drives=tuple(drives),
        cards=() if network is None else (network.shared or "nat",),
        efi=firmware is not None
        and (firmware.variables is not None or _OVMF in firmware.image.name),
    )


def _remarks(guest: str, spec: MachineSpec) -> Iterator[str]:
    if spec.kernel is not None:
        yield (
            f"{guest} starts from a kernel of this host; its disks have no boot loader, "
            "and will not start a machine by themselves"
        )
    if spec.folders:
        yield "folders of the host are not part of an export"
    if spec.firmware is not None and spec.firmware.cdrom is not None:
        yield f"the disc {spec.firmware.cdrom} is not part of an export"


def _finish(partial: Path, target: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
