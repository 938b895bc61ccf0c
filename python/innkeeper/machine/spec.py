"""What a user asks for. Plain values: no handles, no defaults that depend on the host."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine.firmware import FirmwareSpec
from innkeeper.machine.folder import FolderSpec, validate_folders
from innkeeper.machine.growth import Growth, validate_growth, validate_vcpu_growth
from innkeeper.machine.limits import Limits
from innkeeper.machine.network import FIRST_CARD, NetworkSpec, validate_network
from innkeeper.machine.parallel import ParallelSpec
from innkeeper.machine.screen import ScreenSpec, validate_screen
from innkeeper.machine.size import format_size
from innkeeper.machine.sound import SoundSpec
from innkeeper.machine.tpm import TpmSpec
from innkeeper.machine.vsock import VsockSpec, validate_vsock

MIB: Final = 1 << 20
MINIMUM_MEMORY: Final = 4 * MIB
MAXIMUM_MEMORY: Final = 1 << 40
MAXIMUM_VCPUS: Final = 64
MAXIMUM_DISKS: Final = 16
# Of four drives, one is the CD-ROM drive.
MAXIMUM_IDE_DISKS: Final = 3
# Linux reads at most COMMAND_LINE_SIZE bytes, the last of which is a zero.
MAXIMUM_COMMAND_LINE: Final = 2047


class EngineChoice(StrEnum):
    """How guest instructions run. `auto` measures the host and takes the fastest that works;
    `lockstep` is the translator with each unit checked, for work on the translator.
    """

    AUTO = "auto"
    KVM = "kvm"
    TRANSLATOR = "translator"
    INTERPRETER = "interpreter"
    LOCKSTEP = "lockstep"


class DiskFormat(StrEnum):
    """`probe` looks at the first bytes; without a header that is known, it is raw.

    All but raw and qcow2 are only read. A fixed vhd looks raw: it has its header at its end.
    """

    PROBE = "probe"
    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    VDI = "vdi"
    VHD = "vhd"
    VHDX = "vhdx"


class DiskBus(StrEnum):
    """How a guest reaches a disk. `nvme` and `sata`, by AHCI, are for systems without virtio
    drivers, `ide` for those that know nothing else, on a guest with firmware, which can have three,
    and `usb` is as a stick has it.
    """

    VIRTIO = "virtio"
    IDE = "ide"
    NVME = "nvme"
    SATA = "sata"
    USB = "usb"


class UsbController(StrEnum):
    """What a guest reaches USB by: `uhci`, of USB 1 and a PIIX3, is for systems that know no xHCI,
    from before 2012. It has two ports, so there are as many of them as it takes.
    """

    XHCI = "xhci"
    UHCI = "uhci"


class Overlay(StrEnum):
    """Where the guest's writes go: the image itself, nowhere that lasts, or a file that is kept."""

    NONE = "none"
    TEMPORARY = "temporary"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSpec:
    """A disk. `overlay_path` is for `Overlay.KEEP` only, and made when missing. `layers`
    are overlays that were kept before, between the image and that one, the lowest first.

    With `nbd`, a URI such as nbd://host/export, it is what that NBD server exports, and `path` is
    no more than its name.

    An image may name files in its own directory as its backing file or its parts, and with
    `trust_backing` any that the user may read: only for images whose maker is trusted.

    `id` is by what it is taken out of a guest that runs; empty: virtio and its number. With `slot`,
    it has that PCI slot, as disks have that came while their guest ran. One that is `gone` was
    taken out, and keeps its place so that others have theirs.
    """

    path: Path
    format: DiskFormat = DiskFormat.PROBE
    read_only: bool = False
    overlay: Overlay = Overlay.NONE
    overlay_path: Path | None = None
    layers: tuple[Path, ...] = ()
    trust_backing: bool = False
    nbd: str | None = None
    serial: str = ""
    bus: DiskBus = DiskBus.VIRTIO
    id: str = ""
    slot: int | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A guest's hardware and what it boots.

    `memory` is in bytes. `kernel` is a bzImage, an ELF with a PVH note or a multiboot kernel; with
    `firmware`, which need not have one, a kernel that UEFI firmware starts.
    `cards` are more network cards, which came while the guest ran. With `usb`, there are a tablet
    and a keyboard by USB, as there are where a disk is; `usb_controller` has all of these.
    `devices` names Python devices: built-in ones, or `module:factory`. With `times`, statistics
    tell where each virtual processor's time goes. With `merges_memory`, the host may have pages of
    its memory in common with other guests. With `perf_map`, perf can name the guest's code,
    its kernel's by the file `symbols`.
    """

    kernel: Path | None = None
    firmware: FirmwareSpec | None = None
    initrds: tuple[Path, ...] = ()
    command_line: str = ""
    vcpus: int = 1
    memory: int = 512 * MIB
    growth: Growth = field(default=Growth())
    engine: EngineChoice = EngineChoice.AUTO
    cpu_model: str = "innkeeper-v1"
    disks: tuple[DiskSpec, ...] = ()
    devices: tuple[str, ...] = ("pvpanic",)
    network: NetworkSpec | None = None
    cards: tuple[NetworkSpec, ...] = ()
    folders: tuple[FolderSpec, ...] = ()
    usb: bool = False
    usb_controller: UsbController = UsbController.XHCI
    rng: bool = True
    balloon: bool = True
    vsock: VsockSpec | None = None
    screen: ScreenSpec | None = None
    sound: SoundSpec | None = None
    parallel: ParallelSpec | None = None
    tpm: TpmSpec | None = None
    reboots: bool = True
    limits: Limits = field(default=Limits())
    times: bool = False
    merges_memory: bool = False
    perf_map: bool = False
    symbols: Path | None = None


def validate(spec: MachineSpec) -> None:
    """Refuses what no machine can be, with a sentence that names the value.

    Raises:
        InvalidInput: for the first thing found wrong.
    """
    validate_choices(spec.vcpus, spec.memory, spec.disks)
    validate_growth(spec.memory, spec.growth, MAXIMUM_MEMORY)
    validate_vcpu_growth(spec.vcpus, spec.growth, MAXIMUM_VCPUS)
    _validate_command_line(spec.command_line)
    _require_utf_8(spec.cpu_model, "the CPU model")
    if spec.network is not None:
        validate_network(spec.network)
    for card in spec.cards:
        if not card.gone:
            validate_network(card)
    validate_folders(spec.folders)
    if spec.vsock is not None:
        validate_vsock(spec.vsock)
    if spec.screen is not None:
        validate_screen(spec.screen)
        if spec.screen.rom is not None:
            _require_file(spec.screen.rom, "option ROM")
    for disk in spec.disks:
        _require_utf_8(disk.serial, "a disk's serial number")
    _validate_start(spec)
    for initrd in spec.initrds:
        _require_file(initrd, "initrd")
    size = sum(initrd.stat().st_size for initrd in spec.initrds)
    if size >= spec.memory:
        raise InvalidInput(
            f"the initrd has {format_size(size)}, more than the guest's memory "
            f"of {format_size(spec.memory)}"
        )


def _validate_start(spec: MachineSpec) -> None:
    if spec.firmware is not None:
        if spec.kernel is not None:
            _require_file(spec.kernel, "kernel")
        if spec.growth.vcpus is not None:
            raise InvalidInput("a guest with firmware has a fixed number of CPUs")
        _require_file(spec.firmware.image, "firmware")
        for path, what in (
            (spec.firmware.cdrom, "disc"),
            (spec.firmware.floppy, "floppy disk"),
            (spec.firmware.variables, "firmware's variables"),
        ):
            if path is not None:
                _require_file(path, what)
    elif any(disk.bus is DiskBus.IDE for disk in spec.disks):
        raise InvalidInput("an IDE disk is for a guest with firmware")
    elif spec.kernel is None:
        raise InvalidInput("a guest starts from a kernel or from firmware, and has neither")
    else:
        _require_file(spec.kernel, "kernel")


def validate_choices(vcpus: int, memory: int, disks: Sequence[DiskSpec]) -> None:
    """The part of `validate` that needs no kernel yet: before an image is built for nothing.

    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if not 1 <= vcpus <= MAXIMUM_VCPUS:
        raise InvalidInput(f"a guest has 1 to {MAXIMUM_VCPUS} CPUs, not {vcpus}")
    if not MINIMUM_MEMORY <= memory <= MAXIMUM_MEMORY:
        raise InvalidInput(
            f"a guest has {format_size(MINIMUM_MEMORY)} to {format_size(MAXIMUM_MEMORY)} "
            f"of memory, not {format_size(memory)}"
        )
    if memory % 4096:
        raise InvalidInput(f"memory is counted in pages of 4 KiB, not {memory} bytes")
    disks = [disk for disk in disks if not disk.gone]
    if len(disks) > MAXIMUM_DISKS:
        raise InvalidInput(f"a guest has at most {MAXIMUM_DISKS} disks, not {len(disks)}")
    if sum(disk.bus is DiskBus.IDE for disk in disks) > MAXIMUM_IDE_DISKS:
        raise InvalidInput(f"a guest has at most {MAXIMUM_IDE_DISKS} IDE disks")
    for disk in disks:
        validate_disk(disk)
    _require_files_of_their_own(disks)


def _require_files_of_their_own(disks: Sequence[DiskSpec]) -> None:
    """The lock would refuse it as well, and speak of another process."""
    files = [disk.path for disk in disks if disk.nbd is None]
    for disk in disks:
        is_written = disk.nbd is None and not disk.read_only and disk.overlay is Overlay.NONE
        if is_written and files.count(disk.path) > 1:
            raise InvalidInput(f"two disks of a guest cannot be {disk.path}, which it writes to")


def _validate_command_line(command_line: str) -> None:
    if len(os.fsencode(command_line)) > MAXIMUM_COMMAND_LINE:
        raise InvalidInput(f"the kernel command line is longer than {MAXIMUM_COMMAND_LINE} bytes")
    _require_utf_8(command_line, "the kernel command line")
    if "\0" in command_line:
        raise InvalidInput("the kernel command line has a zero byte in it")


def disk_id(number: int, disk: DiskSpec) -> str:
    """By what a machine's disk of this number is known."""
    return disk.id or f"virtio{number}"


def without(spec: MachineSpec, device: str) -> MachineSpec:
    """The machine once its guest has let go of the disk or network card of that id. What has a
    number keeps it.
    """
    disks = tuple(
        replace(disk, gone=True) if disk_id(number, disk) == device else disk
        for number, disk in enumerate(spec.disks)
    )
    network = spec.network
    if network is not None and device == FIRST_CARD:
        network = replace(network, gone=True)
    cards = tuple(card for card in spec.cards if card.id != device)
    return replace(spec, disks=disks, network=network, cards=cards)


def validate_disk(disk: DiskSpec) -> None:
    """
    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if disk.nbd is not None:
        _require_utf_8(disk.nbd, "an NBD server's address")
        if disk.overlay is Overlay.KEEP or disk.format not in (DiskFormat.PROBE, DiskFormat.RAW):
            raise InvalidInput(f"disk {disk.nbd} is raw, and no overlay over it is kept")
        return
    mode = _require(disk.path, "disk")
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise InvalidInput(f"disk {disk.path} is neither a file nor a block device")
    if (disk.overlay is Overlay.KEEP) != (disk.overlay_path is not None):
        raise InvalidInput(f"disk {disk.path} keeps an overlay only together with its path")
    for layer in disk.layers:
        _require_file(layer, "a layer of the disk")
    writes = disk.overlay is Overlay.NONE and not disk.read_only
    if writes and not os.access(disk.path, os.W_OK):
        raise InvalidInput(f"disk {disk.path} cannot be written to")


def _require_utf_8(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{what} is not UTF-8") from error


def require_start(kernel: Path, initrds: Iterable[Path]) -> None:
    """
    Raises:
        InvalidInput: when one of the files that a guest is to start from is none.
    """
    _require_file(kernel, "kernel")
    for initrd in initrds:
        _require_file(initrd, "initrd")


def _require_file(path: Path, what: str) -> None:
    mode = _require(path, what)
    if not stat.S_ISREG(mode):
        raise InvalidInput(f"{what} {path} is not a file")
    if path.stat().st_size == 0:
        raise InvalidInput(f"{what} {path} is an empty file")


def _require(path: Path, what: str) -> int:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidInput(f"cannot open {what} {path}: {reason}") from error
    if stat.S_ISDIR(mode):
        raise InvalidInput(f"{what} {path} is a directory")
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{what} {path} cannot be read")
    return mode
