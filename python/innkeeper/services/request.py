"""What a guest is asked to be, and the machine that this makes."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from innkeeper.errors import InvalidInput
from innkeeper.guest.console_mode import ConsoleMode
from innkeeper.images import Image, ImageBoot, connected
from innkeeper.machine import (
    MIB,
    USER_NETWORK,
    BootDevice,
    DiskSpec,
    EngineChoice,
    FirmwareSpec,
    FolderSpec,
    Growth,
    Limits,
    MachineSpec,
    NetworkSpec,
    ParallelSpec,
    ScreenSpec,
    SeedSpec,
    Shares,
    SoundSpec,
    TpmSpec,
    UsbController,
    VsockSpec,
    prepare_parallel,
    prepare_sound,
    rom_of,
)
from innkeeper.machine.firmware import NAMED
from innkeeper.machine.growth import validate_growth, validate_vcpu_growth
from innkeeper.machine.screen import vga_bios
from innkeeper.machine.spec import MAXIMUM_MEMORY, MAXIMUM_VCPUS
from innkeeper.vm import tpm


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRequest:
    """What `inn run` was asked for: an `image`, a `kernel` of one's own, or what `firmware` finds.

    `memory` in bytes, `timeout` in seconds. `console` None is what suits best: the virtio console
    for an image, the serial port for a kernel. `keep` holds on to what the guest writes to its root
    disk, under `name`. `entrypoint` stands in place of what a container's image has before its
    `command`, and `publish_exposed` is for the ports that it names. `statistics` come with the
    ending, `perf_map` and `symbols` are as in `MachineSpec`. A `cold` guest boots, where another
    need not.
    """

    image: str | None = None
    command: tuple[str, ...] = ()
    entrypoint: str | None = None
    publish_exposed: bool = False
    kernel: Path | None = None
    firmware: FirmwareSpec | None = None
    initrds: tuple[Path, ...] = ()
    append: str = ""
    vcpus: int = 1
    memory: int = 512 * MIB
    growth: Growth = field(default=Growth())
    engine: EngineChoice = EngineChoice.AUTO
    cpu_model: str = "innkeeper-v1"
    disks: tuple[DiskSpec, ...] = ()
    devices: tuple[str, ...] = field(default=())
    network: NetworkSpec | None = USER_NETWORK
    cards: tuple[NetworkSpec, ...] = ()
    folders: tuple[FolderSpec, ...] = ()
    seed: SeedSpec | None = None
    vsock: VsockSpec | None = field(default=VsockSpec())
    screen: ScreenSpec | None = None
    sound: SoundSpec | None = None
    parallel: ParallelSpec | None = None
    tpm: bool = False
    usb: bool = False
    usb_controller: UsbController = UsbController.XHCI
    name: str | None = None
    jail: bool = True
    limits: Limits = field(default=Limits())
    shares: Shares = field(default=Shares())
    merges_memory: bool = False
    console: ConsoleMode | None = None
    timeout: float | None = None
    keep: bool = False
    terminal: bool = False
    statistics: bool = False
    perf_map: bool = False
    symbols: Path | None = None
    cold: bool = False


def check(request: GuestRequest) -> None:
    """Refuses what does not go together.

    Raises:
        InvalidInput: for the first thing found wrong.
    """
    validate_growth(request.memory, request.growth, MAXIMUM_MEMORY)
    validate_vcpu_growth(request.vcpus, request.growth, MAXIMUM_VCPUS)
    if request.shares.memory > request.memory:
        raise InvalidInput("a guest is not promised more memory than it has: see --memory")
    if request.symbols is not None and not request.perf_map:
        raise InvalidInput("--symbols is for --perf-map")
    if request.name == "":
        raise InvalidInput("'' is no guest name; without --name one is made up")
    if request.firmware is not None:
        _check_firmware(request)
    elif request.kernel is not None:
        _check_own_kernel(request)
    elif request.image is None:
        raise InvalidInput(
            "name an image to run, such as debian, a kernel with --kernel, or --firmware"
        )
    elif request.initrds:
        raise InvalidInput("--initrd belongs to --kernel; an image has its own")


def _check_own_kernel(request: GuestRequest) -> None:
    _check_own_system(request, "--kernel")


def _check_firmware(request: GuestRequest) -> None:
    for given, option in ((request.initrds, "--initrd"), (request.append, "--append")):
        if given and request.kernel is None:
            raise InvalidInput(f"firmware boots what it finds: {option} is for --kernel")
    image, _, _ = NAMED["seabios"]
    if request.kernel is not None and request.firmware and request.firmware.image == image:
        raise InvalidInput(
            "SeaBIOS starts no kernel that it is given: leave --firmware out, or name ovmf"
        )
    _check_own_system(request, "--firmware")


def _check_own_system(request: GuestRequest, what: str) -> None:
    for given, option in (
        (request.image, f"the image {request.image}"),
        (request.command, "a command"),
        (request.keep, "--keep"),
        (request.terminal, "--tty"),
        (request.entrypoint is not None, "--entrypoint"),
        (request.publish_exposed, "--publish-all"),
    ):
        if given:
            raise InvalidInput(f"{what} brings a system of its own: it does not go with {option}")


def own_kernel_spec(request: GuestRequest) -> MachineSpec:
    """The machine of a kernel that the user brought, or of firmware."""
    # What looks into a kernel loads the core, which somebody who lists guests has no use for.
    from innkeeper.vm import kernel

    own = request.devices
    if request.kernel is not None:
        own = kernel.devices(request.kernel, request.devices)
    return MachineSpec(
        kernel=request.kernel,
        firmware=request.firmware,
        initrds=request.initrds,
        command_line=request.append,
        vcpus=request.vcpus,
        memory=request.memory,
        growth=request.growth,
        engine=request.engine,
        cpu_model=request.cpu_model,
        disks=request.disks,
        devices=("pvpanic", *own),
        network=_network(request),
        cards=tuple(connected(card, request.name or "") for card in request.cards),
        folders=request.folders,
        vsock=request.vsock,
        screen=_screen(request),
        sound=_sound(request),
        parallel=_parallel(request),
        tpm=TpmSpec() if _tpm(request) else None,
        usb=request.usb,
        usb_controller=request.usb_controller,
        reboots=False,
        limits=request.limits,
        times=request.statistics,
        merges_memory=request.merges_memory,
        perf_map=request.perf_map,
        symbols=request.symbols,
    )


def _network(request: GuestRequest) -> NetworkSpec | None:
    """With what firmware needs to boot from it."""
    network = request.network and connected(request.network, request.name or "")
    firmware = request.firmware
    if firmware is None or BootDevice.NET not in firmware.boot:
        return network
    if network is None:
        raise InvalidInput("--boot net needs a network, and --network is none")
    return network if network.rom is not None else replace(network, rom=rom_of(network.model))


def _screen(request: GuestRequest) -> ScreenSpec | None:
    """With what firmware needs to show something."""
    screen = request.screen
    if screen is None or screen.rom is not None or request.firmware is None:
        return screen
    return replace(screen, rom=vga_bios(screen.card))


def command_of(request: GuestRequest, image: Image) -> tuple[str, ...]:
    """What runs in a guest of `image`; nothing where it has a shell to sit at.

    Raises:
        InvalidInput: when a container's image needs to be told, or another was told too much.
    """
    container = image.manifest.container
    if container is not None:
        return container.argv(request.command, request.entrypoint)
    if request.entrypoint is not None:
        raise InvalidInput(f"--entrypoint is for a container's image, and {image.name} is none")
    return request.command


def _sound(request: GuestRequest) -> SoundSpec | None:
    """With the file that it writes."""
    if request.sound is not None:
        prepare_sound(request.sound)
    return request.sound


def _parallel(request: GuestRequest) -> ParallelSpec | None:
    """With the file that it prints to."""
    if request.parallel is not None:
        prepare_parallel(request.parallel)
    return request.parallel


def _tpm(request: GuestRequest) -> bool:
    """With whoever does its commands."""
    if request.tpm:
        tpm.require()
    return request.tpm


def host_name(image: str) -> str:
    """What a guest of `image` is called where nobody says. A host name has no dots and
    underscores, which an image's name may have."""
    return re.sub(r"[._]", "-", image)


def image_boot(request: GuestRequest, name: str) -> ImageBoot:
    """A boot of the image that was asked for, as the guest `name`."""
    return ImageBoot(
        name=name,
        vcpus=request.vcpus,
        memory=request.memory,
        growth=request.growth,
        engine=request.engine,
        cpu_model=request.cpu_model,
        disks=request.disks,
        devices=request.devices,
        network=request.network,
        cards=request.cards,
        folders=request.folders,
        hostname="" if request.seed is None else request.seed.hostname,
        vsock=request.vsock,
        screen=request.screen,
        sound=_sound(request),
        parallel=_parallel(request),
        tpm=_tpm(request),
        usb=request.usb,
        usb_controller=request.usb_controller,
        append=request.append,
        limits=request.limits,
        times=request.statistics,
        merges_memory=request.merges_memory,
        perf_map=request.perf_map,
        symbols=request.symbols,
    )
