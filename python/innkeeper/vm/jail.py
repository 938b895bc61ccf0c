"""What a guest's process may still do once its guest runs: what the guest was given, and no more.

crates/jail says which walls there are. This says what has to be left open: the files of this guest,
what the machine asks of the host, and for Python devices of a person's own, all that Python may yet
load. Whatever else this process runs is loaded before: what is not in its root cannot be.
"""

import os
import sys

# For complaints of whoever fails inside.
import traceback  # noqa: F401
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper import devices
from innkeeper._core import disk_files, enter_jail
from innkeeper.errors import InnkeeperError
from innkeeper.machine.network import NetworkKind
from innkeeper.machine.new_image import ExistingImage
from innkeeper.machine.spec import DiskSpec, EngineChoice, MachineSpec, Overlay

# By what the process looks at itself, and the engines' choice at the host.
_HOST: Final = ("/proc/self", "/proc/sys/kernel/random/boot_id")
_RESOLVER: Final = "/etc/resolv.conf"
# What Python and the C library load when something is first used.
_PYTHON: Final = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/dev/urandom",
)
# Guests of an administrator have users of their own: so many, from this one on. No distribution
# gives these to anybody, nor does systemd. Documented in SECURITY.md.
FIRST_USER: Final = 1_879_048_192
USERS: Final = 1 << 27


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Paths to read, to write, to change as a guest's folders and to control, with all that is
    below them, whether the guest has a network, and whom to be instead of root, as `jail::Needs`
    has it; and whether devices are a person's own code.
    """

    read: tuple[Path, ...]
    write: tuple[Path, ...]
    folders: tuple[Path, ...]
    has_folders: bool
    devices: tuple[Path, ...]
    network: bool
    tap: bool
    user: int
    own_code: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """Those that stand, and why others do not, a sentence each."""

    standing: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def enter(spec: MachineSpec, own: Sequence[Path], here: Path | None, identity: str) -> Walls:
    """Locks this process in, for good, before it has a second thread; the walls that stand.

    `own` are directories that it may write to, the first for its files without a name. `here` is
    where modules of devices are looked for: they are loaded before, and what else is there is not
    the guest's. By `identity`, guests are told apart: two hardly ever have the same user.

    Raises:
        InvalidInput, DeviceFailed: when a Python device cannot be loaded, which is done before.
        HostFailure: when a wall that this kernel has cannot be put up.
    """
    # Temporary layers of disks go to the guest's directory: to the host's they would be a way out.
    os.environ["TMPDIR"] = str(own[0])
    standing, missing = enter_jail(needs(spec, own, here, identity))
    return Walls(standing=tuple(standing), missing=tuple(missing))


def needs(spec: MachineSpec, own: Sequence[Path], here: Path | None, identity: str) -> Needs:
    """What a machine like `spec` needs of the host."""
    network = spec.network
    return Needs(
        read=tuple(_read(spec, here)),
        write=(*own, *_written(spec)),
        folders=tuple(folder.path for folder in spec.folders if not folder.read_only),
        has_folders=bool(spec.folders),
        devices=tuple(_devices(spec)),
        network=bool(spec.cards) or (network is not None and network.kind is not NetworkKind.TAP),
        tap=network is not None and network.kind is NetworkKind.TAP,
        user=user_of(identity),
        own_code=bool(_own(spec)),
    )


def user_of(identity: str) -> int:
    """The user that root's guest of this identity is run as."""
    return FIRST_USER + zlib.crc32(identity.encode()) % USERS


def _network_boot(spec: MachineSpec) -> Iterator[Path]:
    for card in (spec.network, *spec.cards):
        if card is not None:
            yield from (path for path in (card.rom, card.tftp) if path is not None)


def _read(spec: MachineSpec, here: Path | None) -> Iterator[Path]:
    yield from (Path(name) for name in _HOST)
    # Those that are loaded otherwise are ours, and loaded.
    own = _own(spec)
    if own:
        yield from (Path(name) for name in _PYTHON)
        yield from (Path(place) for place in sys.path if place and Path(place) != here)
        yield Path(os.__file__).parent
    for name in own:
        yield from _module(name)
    if spec.network is not None or spec.cards:
        yield Path(_RESOLVER)
    yield from _network_boot(spec)
    if spec.kernel is not None:
        yield spec.kernel
    if spec.firmware is not None:
        firmware = spec.firmware
        files = (firmware.image, firmware.variables, firmware.cdrom, firmware.floppy)
        yield from (file for file in files if file is not None)
    yield from spec.initrds
    if spec.screen is not None and spec.screen.rom is not None:
        yield spec.screen.rom
    if spec.symbols is not None:
        yield spec.symbols
    for disk in (disk for disk in spec.disks if not disk.gone):
        yield from _files(disk)
        yield from disk.layers
    yield from (folder.path for folder in spec.folders)
    if spec.network is not None and spec.network.bridge is not None:
        # The list of those on the bridge, whose names it resolves.
        assert spec.network.directory is not None
        yield spec.network.directory
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    yield Path(cache) / "innkeeper"


def _own(spec: MachineSpec) -> list[str]:
    """The Python devices that are a person's own."""
    return [name for name in spec.devices if name not in devices.BUILT_IN]


def _module(device: str) -> Iterator[Path]:
    """The file or the package of a Python device, rather than all that lies beside it."""
    outermost = devices.find(device).__module__.partition(".")[0]
    file = getattr(sys.modules.get(outermost), "__file__", None)
    if file is not None:
        path = Path(file)
        yield path.parent if path.name == "__init__.py" else path


def _written(spec: MachineSpec) -> Iterator[Path]:
    for disk in (disk for disk in spec.disks if not disk.gone):
        if disk.overlay is Overlay.NONE and not disk.read_only and disk.nbd is None:
            yield disk.path
        if disk.overlay_path is not None:
            yield disk.overlay_path.parent
    if spec.firmware is not None:
        if spec.firmware.floppy is not None and os.access(spec.firmware.floppy, os.W_OK):
            yield spec.firmware.floppy
        if spec.firmware.store is not None:
            yield spec.firmware.store
    yield from _heard_and_printed(spec)
    if spec.perf_map:
        yield Path("/tmp")
    network = spec.network
    if network is not None and network.directory is not None and network.bridge is None:
        # Of a network that guests share: their sockets, and the list of them.
        yield network.directory


def _heard_and_printed(spec: MachineSpec) -> Iterator[Path]:
    if spec.sound is not None and spec.sound.wave is not None:
        yield spec.sound.wave
    if spec.parallel is not None and spec.parallel.file is not None:
        yield spec.parallel.file


def _devices(spec: MachineSpec) -> Iterator[Path]:
    if spec.engine in (EngineChoice.AUTO, EngineChoice.KVM):
        yield Path("/dev/kvm")
    if spec.network is not None and spec.network.kind is NetworkKind.TAP:
        yield Path("/dev/net/tun")
        # By which the host's kernel moves the frames, where that can be.
        if spec.engine in (EngineChoice.AUTO, EngineChoice.KVM):
            yield Path("/dev/vhost-net")


def _files(disk: DiskSpec) -> list[Path]:
    """The image, and those that it names as its backing files or its parts: see SECURITY.md."""
    if disk.nbd is not None:
        # Another process has it, and this one is connected before.
        return []
    image = ExistingImage(path=disk.path, format=disk.format, trust_backing=disk.trust_backing)
    try:
        return [*map(Path, disk_files(image))]
    except InnkeeperError:
        # Whoever makes the machine says what is wrong with it.
        return [disk.path]
