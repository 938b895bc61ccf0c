"""A guest that stays: what it was asked to be, in its directory, for all its runs."""

import time
import uuid
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images import Store, machine_spec, surroundings_of
from innkeeper.machine import (
    DiskSpec,
    FirmwareSpec,
    NetworkSpec,
    ParallelSpec,
    ScreenSpec,
    SeedSpec,
    SoundSpec,
    VsockSpec,
)
from innkeeper.machine.firmware import KEPT_VARIABLES
from innkeeper.services import login, seeds
from innkeeper.services.request import GuestRequest, command_of, image_boot, own_kernel_spec
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import supervisor
from innkeeper.vm.detached.home import Home
from innkeeper.vm.order import Order
from innkeeper.vm.surroundings import Surroundings

VERSION: Final = 1


class RestartPolicy(StrEnum):
    """What happens when a guest ends without having been told to."""

    NO = supervisor.NEVER
    ON_FAILURE = supervisor.ON_FAILURE
    ALWAYS = supervisor.ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """`id` is a UUID, `created` a Unix time, `digest` the image's. With `autostart`, the guest is
    started by `inn start --autostart`. `here` is the directory that the guest was made in: modules
    of Python devices are looked for there.
    """

    id: str
    created: float
    request: GuestRequest
    restart: RestartPolicy = RestartPolicy.NO
    autostart: bool = False
    digest: str | None = None
    here: Path | None = None

    def write(self, home: Home) -> None:
        """
        Raises:
            HostFailure: when it cannot be written.
        """
        try:
            home.write(files.DEFINITION, {"version": VERSION, **stored.encode(self)}, lasting=True)
        except OSError as error:
            raise HostFailure(f"cannot write to {home.path}: {error.strerror}") from error


def new(request: GuestRequest, restart: RestartPolicy, *, autostart: bool) -> Definition:
    """
    Raises:
        InvalidInput: for what only somebody who waits for a guest can want of it.
    """
    for given, option in (
        (request.timeout is not None, "--timeout"),
        (request.terminal, "--tty"),
        (request.console is not None, "--console"),
        (request.statistics, "--stats"),
        (request.firmware and request.firmware.log, "--firmware-log: see inn logs"),
    ):
        if given:
            raise InvalidInput(f"a guest that runs on its own does not go with {option}")
    if request.keep:
        raise InvalidInput("a guest that runs on its own keeps its disk without --keep")
    return Definition(
        id=str(uuid.uuid4()),
        created=time.time(),
        request=_anywhere(request),
        restart=restart,
        autostart=autostart,
        here=Path.cwd() if request.devices else None,
    )


def read(home: Home) -> Definition:
    """
    Raises:
        HostFailure: when it is damaged, or of a newer version.
    """
    place = f"{home.path}/{files.DEFINITION}"
    document = home.read(files.DEFINITION)
    if document is None or document.pop("version", None) != VERSION:
        raise HostFailure(f"{place} is damaged or of another version of Innkeeper")
    try:
        return stored.decode(Definition, document)
    except stored.Unreadable as error:
        raise HostFailure(f"{place} cannot be read: {error}") from error


def order(definition: Definition, name: str) -> Order:
    """What a run of the guest, which is called `name` now, is made of.

    Raises:
        InvalidInput, HostFailure: as `machine_spec`.
        ImageNotFound: when its image is gone.
    """
    request = definition.request
    surroundings, command = Surroundings(), request.command
    if request.image is None:
        # Nobody waits for its end: a guest that resets itself goes on.
        spec = replace(own_kernel_spec(replace(request, name=name)), reboots=True)
        firmware = spec.firmware
        if firmware is not None and firmware.variables is not None and firmware.store is None:
            # Its directory is where its process works.
            kept = replace(firmware, store=Path(KEPT_VARIABLES))
            spec = replace(spec, firmware=kept)
    else:
        image = Store().kept_image(name, request.image)
        if image is None:
            raise HostFailure(f"the guest {name!r} has lost its image")
        surroundings = surroundings_of(image)
        command = command_of(request, image)
        # Its directory is where its process works.
        spec = machine_spec(image, replace(image_boot(request, name), kept=Path()))
    if request.seed is not None:
        spec = login.reachable(seeds.added(spec))
    return Order(
        id=definition.id,
        spec=spec,
        restart=definition.restart,
        image=request.image is not None,
        command=command,
        surroundings=surroundings,
        jail=request.jail,
        shares=request.shares,
        here=definition.here,
    )


def _anywhere(request: GuestRequest) -> GuestRequest:
    """With paths that hold wherever a process works."""
    return replace(
        request,
        kernel=None if request.kernel is None else request.kernel.absolute(),
        firmware=request.firmware and _firmware(request.firmware),
        initrds=tuple(initrd.absolute() for initrd in request.initrds),
        disks=tuple(_disk(disk) for disk in request.disks),
        network=request.network and _network(request.network),
        folders=tuple(replace(folder, path=folder.path.absolute()) for folder in request.folders),
        vsock=request.vsock and _vsock(request.vsock),
        screen=request.screen and _screen(request.screen),
        sound=request.sound and _sound(request.sound),
        parallel=request.parallel and _parallel(request.parallel),
        symbols=None if request.symbols is None else request.symbols.absolute(),
        seed=None if request.seed is None else _seed(request.seed),
    )


def _seed(seed: SeedSpec) -> SeedSpec:
    return replace(
        seed,
        user_data=None if seed.user_data is None else seed.user_data.absolute(),
        meta_data=None if seed.meta_data is None else seed.meta_data.absolute(),
        network_config=None if seed.network_config is None else seed.network_config.absolute(),
        ssh_keys=tuple(key.absolute() for key in seed.ssh_keys),
    )


def _firmware(firmware: FirmwareSpec) -> FirmwareSpec:
    paths = {
        name: path.absolute()
        for name in ("image", "variables", "store", "cdrom", "floppy", "log")
        if (path := getattr(firmware, name)) is not None
    }
    return replace(firmware, **paths)


def _sound(sound: SoundSpec) -> SoundSpec:
    return replace(sound, wave=None if sound.wave is None else sound.wave.absolute())


def _parallel(parallel: ParallelSpec) -> ParallelSpec:
    return replace(parallel, file=None if parallel.file is None else parallel.file.absolute())


def _network(network: NetworkSpec) -> NetworkSpec:
    return replace(network, tftp=None if network.tftp is None else network.tftp.absolute())


def _vsock(vsock: VsockSpec) -> VsockSpec:
    return replace(vsock, path=None if vsock.path is None else vsock.path.absolute())


def _screen(screen: ScreenSpec) -> ScreenSpec:
    vnc = screen.vnc
    if vnc is not None and vnc.password is not None:
        vnc = replace(vnc, password=vnc.password.absolute())
    return replace(screen, rom=None if screen.rom is None else screen.rom.absolute(), vnc=vnc)


def _disk(disk: DiskSpec) -> DiskSpec:
    if disk.nbd is not None:
        return disk
    overlay = None if disk.overlay_path is None else disk.overlay_path.absolute()
    return replace(disk, path=disk.path.absolute(), overlay_path=overlay)
