"""A guest of a package: its machine as near as ours comes to it, its disks as qcow2 in its
directory."""

import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput, NameInUse
from innkeeper.images import Store
from innkeeper.machine import DiskFormat, DiskSpec, EngineChoice, NetworkSpec
from innkeeper.machine.firmware import parse_firmware
from innkeeper.machine.new_image import ExistingImage, NewImage
from innkeeper.machine.spec import MAXIMUM_IDE_DISKS, DiskBus, validate_choices
from innkeeper.services import definition as definitions
from innkeeper.services.definition import RestartPolicy
from innkeeper.services.ovf import descriptor, package
from innkeeper.services.ovf.descriptor import Appliance, Drive
from innkeeper.services.ovf.package import Package, Progress
from innkeeper.services.request import GuestRequest
from innkeeper.vm import disk_images, scratch
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import check_name, registry

_PLACE: Final = "importing"
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9-]+")

Step = Callable[[str], AbstractContextManager[Progress]]
"""What a long step is called, and what hears how far it has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody would have otherwise than the package says."""

    name: str | None = None
    bus: DiskBus | None = None
    network: NetworkSpec | None = None
    engine: EngineChoice = EngineChoice.AUTO
    firmware: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The guest's name, and what of the machine it does not have, a sentence each."""

    name: str
    appliance: Appliance
    remarks: tuple[str, ...]


def import_(path: Path, wanted: Wanted, step: Step) -> Imported:
    """Makes a guest, which does not run yet, of an OVA or of what lies beside an OVF descriptor.

    Raises:
        InvalidInput: when the package is damaged, or its machine nothing that a guest can be.
        NameInUse, HostFailure.
    """
    with package.opened(path) as found:
        document = found.document(found.name) or b""
        digests = package.manifest(found)
        package.check(document, found.name, digests)
        appliance = descriptor.parse(document, found.name)
        name = wanted.name or _guest_name(appliance.name)
        check_name(name)
        if name in registry().names():
            raise NameInUse(f"there is a guest {name!r} already; --name calls this one otherwise")
        disks, remarks = _disks(appliance, wanted.bus)
        validate_choices(appliance.vcpus, appliance.memory, ())
        request = _request(appliance, name, wanted)
        with scratch.place(Store().directory / _PLACE) as place:
            for disk, drive in zip(disks, appliance.drives, strict=True):
                _convert(found, drive, place, place / disk.path.name, digests, step)
            made = definitions.new(request, RestartPolicy.NO, autostart=False)
            # Its own are found in its directory, whatever that is called.
            made = replace(made, request=replace(made.request, disks=disks))

            def fill(home: Home) -> None:
                home.make_own()
                for disk in disks:
                    (place / disk.path.name).rename(Path(home.path) / files.OWN / disk.path.name)
                made.write(home)

            registry().create(name, fill)
    if len(appliance.cards) > 1:
        remarks.append(f"of its {len(appliance.cards)} network cards the guest has one")
    with registry().open(name) as home:
        journal.tell(home, "create", image=None)
    return Imported(name=name, appliance=appliance, remarks=tuple(remarks))


def _request(appliance: Appliance, name: str, wanted: Wanted) -> GuestRequest:
    return GuestRequest(
        firmware=parse_firmware(wanted.firmware or ("ovmf" if appliance.efi else "seabios")),
        vcpus=appliance.vcpus,
        memory=appliance.memory,
        engine=wanted.engine,
        network=wanted.network if appliance.cards else None,
        name=name,
    )


def _disks(appliance: Appliance, bus: DiskBus | None) -> tuple[tuple[DiskSpec, ...], list[str]]:
    disks, remarks, ide = [], [], 0
    for number, drive in enumerate(appliance.drives):
        wanted = bus or (DiskBus.IDE if drive.ide else DiskBus.VIRTIO)
        if wanted is DiskBus.IDE and ide == MAXIMUM_IDE_DISKS:
            remarks.append(
                f"disk {number + 1} is a virtio disk: a guest has {ide} IDE disks at most"
            )
            wanted = DiskBus.VIRTIO
        elif wanted is DiskBus.VIRTIO and not drive.ide and bus is None:
            remarks.append(
                f"disk {number + 1} is a virtio disk, for which the guest needs a driver; "
                "--bus ide makes it one of the old world"
            )
        ide += wanted is DiskBus.IDE
        path = Path(f"disk-{number + 1}.qcow2")
        disks.append(DiskSpec(path=path, format=DiskFormat.QCOW2, bus=wanted))
    return tuple(disks), remarks


def _convert(
    found: Package,
    drive: Drive,
    place: Path,
    target: Path,
    digests: dict[str, tuple[str, str]],
    step: Step,
) -> None:
    if not drive.file:
        disk_images.disk_create(target, NewImage(size=drive.capacity))
        return
    size = found.size(drive.file)
    if size > shutil.disk_usage(place).free:
        raise HostFailure(f"there is no room for {drive.file} in {place.parent}")
    packed = place / "unpacked"
    with step(f"reading {drive.file}") as progress:
        package.extract(found, drive.file, packed, digests, progress)
    image = ExistingImage(path=packed, format=DiskFormat.PROBE)
    there = disk_images.disk_info(image)
    # A descriptor alone would name files of the host.
    if there.format not in ("vmdk", "qcow2", "vdi", "vhd", "vhdx"):
        raise InvalidInput(f"{drive.file} of the package is no image of a disk that is known here")
    if there.backing is not None:
        raise InvalidInput(f"{drive.file} of the package lies over another image")
    with step(f"converting {drive.file}") as progress:
        disk_images.disk_convert(image, target, NewImage(), False, progress)  # noqa: FBT003
    packed.unlink()
    if there.size < drive.capacity:
        disk_images.disk_resize(ExistingImage(path=target), drive.capacity, False)  # noqa: FBT003


def _guest_name(name: str) -> str:
    return _NOT_IN_NAMES.sub("-", name).strip("-")[:63].rstrip("-") or "machine"
