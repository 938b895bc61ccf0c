"""From an image to the machine that boots it."""

import re
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images.kernel import memory_end
from innkeeper.images.networks import connected
from innkeeper.images.store import Image
from innkeeper.machine.folder import FolderSpec, mount_words, validate_folders
from innkeeper.machine.growth import Growth, validate_growth, validate_vcpu_growth
from innkeeper.machine.limits import Limits
from innkeeper.machine.network import USER_NETWORK, NetworkSpec, validate_ports
from innkeeper.machine.parallel import ParallelSpec
from innkeeper.machine.screen import ScreenSpec
from innkeeper.machine.size import format_size
from innkeeper.machine.sound import SoundSpec
from innkeeper.machine.spec import (
    MAXIMUM_MEMORY,
    MAXIMUM_VCPUS,
    MIB,
    DiskFormat,
    DiskSpec,
    EngineChoice,
    MachineSpec,
    Overlay,
    UsbController,
    validate_choices,
)
from innkeeper.machine.tpm import DIRECTORY, TpmSpec
from innkeeper.machine.vsock import VsockSpec
from innkeeper.vm.surroundings import Surroundings

# What the root disk's overlay is called in a kept guest's directory.
KEPT_ROOT: Final = "root.qcow2"
# What Linux takes to come as far as its init, beside itself and its initrd.
_TO_BOOT: Final = 8 * MIB
_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBoot:
    """What a user may choose about a guest of an image. `memory` is in bytes.

    `name` is the guest's, and its host name unless `hostname` is another. With `kept`, a directory,
    the guest's writes to its root disk stay there; without, they are gone when it ends. `times`,
    `perf_map` and `symbols` are as in `MachineSpec`.
    """

    name: str
    vcpus: int = 1
    memory: int = 512 * MIB
    growth: Growth = field(default=Growth())
    engine: EngineChoice = EngineChoice.AUTO
    cpu_model: str = "innkeeper-v1"
    disks: tuple[DiskSpec, ...] = ()
    devices: tuple[str, ...] = ()
    network: NetworkSpec | None = USER_NETWORK
    cards: tuple[NetworkSpec, ...] = ()
    folders: tuple[FolderSpec, ...] = ()
    hostname: str = ""
    vsock: VsockSpec | None = None
    screen: ScreenSpec | None = None
    sound: SoundSpec | None = None
    parallel: ParallelSpec | None = None
    tpm: bool = False
    usb: bool = False
    usb_controller: UsbController = UsbController.XHCI
    append: str = ""
    kept: Path | None = None
    limits: Limits = field(default=Limits())
    times: bool = False
    merges_memory: bool = False
    perf_map: bool = False
    symbols: Path | None = None


def check(boot: ImageBoot) -> None:
    """Refuses what no guest can be, before its image is looked for or built.

    Raises:
        InvalidInput: for the first thing found wrong.
    """
    validate_choices(boot.vcpus, boot.memory, boot.disks)
    validate_folders(boot.folders)
    validate_growth(boot.memory, boot.growth, MAXIMUM_MEMORY)
    validate_vcpu_growth(boot.vcpus, boot.growth, MAXIMUM_VCPUS)
    if boot.network is not None:
        validate_ports(boot.network.ports)
        connected(boot.network, boot.name)
    if _NAME.fullmatch(boot.name) is None:
        raise InvalidInput(
            f"{boot.name!r} is no guest name: letters, digits and dashes, at most 63"
        )


def machine_spec(image: Image, boot: ImageBoot) -> MachineSpec:
    """
    Raises:
        InvalidInput: as `check`, and when the image does not fit into the memory.
        HostFailure: when a file of the image is missing.
    """
    check(boot)
    initrds = (image.initrd, agent_initrd())
    try:
        needed = _TO_BOOT + memory_end(image.kernel)
        needed += sum(initrd.stat().st_size for initrd in initrds)
    except OSError as error:
        raise HostFailure(f"the image {image.name} is damaged: {error}") from error
    if boot.memory < needed:
        least = format_size(-(-needed // MIB) * MIB)
        raise InvalidInput(
            f"a guest of {image.name} needs at least {least} of memory to boot, "
            f"and was given {format_size(boot.memory)}"
        )
    words = [
        # The last is that of programs.
        "" if boot.screen is None else "console=tty0",
        "console=ttyS0",
        # A panic ends the guest instead of hanging it; the agent has loaded pvpanic by then.
        "panic=-1",
        image.manifest.command_line,
        # What is plugged in can be unplugged if the kernel keeps nothing of its own there.
        "" if boot.growth.memory is None else "memhp_default_state=online_movable",
        f"innkeeper.hostname={boot.hostname or boot.name}",
        *mount_words(boot.folders),
        boot.append,
    ]
    return MachineSpec(
        kernel=image.kernel,
        initrds=initrds,
        command_line=" ".join(word for word in words if word),
        vcpus=boot.vcpus,
        memory=boot.memory,
        growth=boot.growth,
        engine=boot.engine,
        cpu_model=boot.cpu_model,
        disks=(_root(image, boot.kept), *boot.disks),
        devices=("pvpanic", *boot.devices),
        network=boot.network and connected(boot.network, boot.name),
        cards=tuple(connected(card, boot.name) for card in boot.cards),
        folders=boot.folders,
        vsock=boot.vsock,
        screen=boot.screen,
        sound=boot.sound,
        parallel=boot.parallel,
        tpm=_tpm(boot),
        usb=boot.usb,
        usb_controller=boot.usb_controller,
        reboots=False,
        limits=boot.limits,
        times=boot.times,
        merges_memory=boot.merges_memory,
        perf_map=boot.perf_map,
        symbols=boot.symbols,
    )


def _tpm(boot: ImageBoot) -> TpmSpec | None:
    """What one in a guest that stays keeps has its place."""
    if not boot.tpm:
        return None
    kept = boot.kept is not None and boot.kept.is_absolute()
    return TpmSpec(state=boot.kept / DIRECTORY if boot.kept and kept else None)


def surroundings_of(image: Image) -> Surroundings:
    """What the image says of the commands in its guests: only a container's says something."""
    container = image.manifest.container
    if container is None:
        return Surroundings()
    cwd = container.cwd if container.cwd.startswith("/") else "/"
    return Surroundings(env=container.env, cwd=cwd, user=container.user)


def agent_initrd() -> Path:
    """The initrd with the program that is process 1 of a guest; it is part of the package.

    Raises:
        HostFailure: in a source tree where it has not been built.
    """
    path = Path(str(resources.files("innkeeper") / "guest" / "agent.cpio"))
    if not path.exists():
        raise HostFailure("the guest agent is not built; run scripts/agent")
    return path


def _root(image: Image, kept: Path | None) -> DiskSpec:
    if kept is None:
        return DiskSpec(path=image.root, format=DiskFormat.RAW, overlay=Overlay.TEMPORARY)
    return DiskSpec(
        path=image.root,
        format=DiskFormat.RAW,
        overlay=Overlay.KEEP,
        overlay_path=kept / KEPT_ROOT,
    )
