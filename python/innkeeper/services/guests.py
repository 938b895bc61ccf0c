"""Guests: boot one and stay with it until it ends."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.guest.command import CommandRun, run_command
from innkeeper.guest.console import ConsoleMode, ConsoleRun, run_kernel, run_shell
from innkeeper.images import ImageBoot, Report, Store, check, check_name, ensure, machine_spec
from innkeeper.machine import MIB, DiskSpec, EngineChoice, MachineSpec
from innkeeper.vm import kernel
from innkeeper.vm.ending import Ending
from innkeeper.vm.terminal import is_interactive

LOGIN_SHELL: Final = ("/bin/bash", "--login")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRequest:
    """What `inn run` was asked for: an `image`, or a `kernel` of one's own.

    `memory` in bytes, `timeout` in seconds. `console` None is what suits best: the virtio console
    for an image, the serial port for a kernel. `keep` holds on to what the guest writes to its root
    disk, under `name`. `statistics` come with the ending,
    `perf_map` and `symbols` are as in `MachineSpec`.
    """

    image: str | None = None
    command: tuple[str, ...] = ()
    kernel: Path | None = None
    initrds: tuple[Path, ...] = ()
    append: str = ""
    vcpus: int = 1
    memory: int = 512 * MIB
    engine: EngineChoice = EngineChoice.AUTO
    cpu_model: str = "innkeeper-v1"
    disks: tuple[DiskSpec, ...] = ()
    devices: tuple[str, ...] = field(default=())
    name: str | None = None
    console: ConsoleMode | None = None
    timeout: float | None = None
    keep: bool = False
    terminal: bool = False
    statistics: bool = False
    perf_map: bool = False
    symbols: Path | None = None


def run(request: GuestRequest, report: Report) -> Ending:
    """Runs the guest to its end; `report` hears of an image that has to be built first.

    Raises:
        InvalidInput, EngineUnavailable, ImageBuildFailed, HostFailure, DeviceFailed.
    """
    if request.symbols is not None and not request.perf_map:
        raise InvalidInput("--symbols is for --perf-map")
    if request.kernel is not None:
        return _run_own_kernel(request)
    if request.image is None:
        raise InvalidInput("name an image to run, such as debian, or a kernel with --kernel")
    if request.initrds:
        raise InvalidInput("--initrd belongs to --kernel; an image has its own")
    return _run_image(request, request.image, report)


def _run_own_kernel(request: GuestRequest) -> Ending:
    assert request.kernel is not None
    for given, option in (
        (request.image, f"the image {request.image}"),
        (request.command, "a command"),
        (request.keep, "--keep"),
        (request.terminal, "--tty"),
    ):
        if given:
            raise InvalidInput(f"--kernel brings a system of its own: it does not go with {option}")
    spec = MachineSpec(
        kernel=request.kernel,
        initrds=request.initrds,
        command_line=request.append,
        vcpus=request.vcpus,
        memory=request.memory,
        engine=request.engine,
        cpu_model=request.cpu_model,
        disks=request.disks,
        devices=("pvpanic", *kernel.devices(request.kernel, request.devices)),
        reboots=False,
        times=request.statistics,
        perf_map=request.perf_map,
        symbols=request.symbols,
    )
    mode = request.console or ConsoleMode.SERIAL
    return run_kernel(spec, ConsoleRun(mode=mode, timeout=request.timeout))


def _run_image(request: GuestRequest, name: str, report: Report) -> Ending:
    store = Store()
    check_name(name)
    # A host name has no dots and underscores, which an image's name may have.
    guest = re.sub(r"[._]", "-", name) if request.name is None else request.name
    boot = ImageBoot(
        name=guest,
        vcpus=request.vcpus,
        memory=request.memory,
        engine=request.engine,
        cpu_model=request.cpu_model,
        disks=request.disks,
        devices=request.devices,
        append=request.append,
        times=request.statistics,
        perf_map=request.perf_map,
        symbols=request.symbols,
    )
    check(boot)
    kept = store.kept_image(guest, name) if request.keep else None
    image = kept or ensure(store, name, report)
    if request.keep:
        boot = replace(boot, kept=store.kept_guest(guest, image))
    spec = machine_spec(image, boot)
    # A script has no use for a terminal's echo and prompts: it gets a shell on plain pipes.
    if not request.command and (request.console or is_interactive()):
        mode = request.console or ConsoleMode.VIRTIO
        return run_shell(spec, ConsoleRun(mode=mode, timeout=request.timeout))
    command = CommandRun(
        argv=request.command or LOGIN_SHELL,
        terminal=request.terminal,
        kept=request.keep,
        boot_messages=request.console is ConsoleMode.SERIAL,
        timeout=request.timeout,
    )
    return run_command(spec, command)
