"""Typed face of the Rust core. Checked against the built module by stubtest.

Errors arrive as the exceptions of `innkeeper.errors`; a Python device's exception ends the guest
and comes out of `Machine.run` as DeviceFailed.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, final

from innkeeper.devices.base import MmioDevice, PortDevice
from innkeeper.machine.firewall import FirewallSpec
from innkeeper.machine.limits import Limits
from innkeeper.machine.network import NetworkSpec
from innkeeper.machine.new_image import ExistingImage, Export, NewImage
from innkeeper.machine.spec import DiskSpec, MachineSpec
from innkeeper.vm.jail import Needs
from innkeeper.vm.moving import MigrationOptions
from innkeeper.vm.saved import Beginning, LayerFiles
from innkeeper.vm.wiring import Wiring

__version__: str

KERNEL_PROBE_LENGTH: int

__all__ = [
    "KERNEL_PROBE_LENGTH",
    "Control",
    "DiskInfo",
    "DiskReport",
    "DiskSnapshot",
    "EngineReport",
    "Incoming",
    "LateMemory",
    "Machine",
    "Memory",
    "Migration",
    "MigrationProgress",
    "OpenDisk",
    "Outcome",
    "Recording",
    "Screen",
    "Statistics",
    "VcpuStatistics",
    "__version__",
    "adopt",
    "confine_program",
    "disk_check",
    "disk_checkpoint",
    "disk_convert",
    "disk_create",
    "disk_files",
    "disk_info",
    "disk_resize",
    "disk_serve",
    "disk_snapshot",
    "disk_snapshots",
    "end_with_parent",
    "engines",
    "enter_jail",
    "fork_first",
    "is_code_of_kin",
    "is_multiboot",
    "nbd_connect",
    "open_disk",
    "post_copy_missing",
    "processor",
    "rehearse",
    "seal_of_code",
    "separate_children",
    "take_lease",
]

@final
class Outcome:
    """How a guest ended. `code` is set for "device-exit", `what` for "engine-failed"."""

    @property
    def kind(self) -> str:
        """A value of `innkeeper.vm.ending.EndKind`."""

    @property
    def code(self) -> int | None: ...
    @property
    def what(self) -> str | None: ...

@final
class Control:
    """What may be asked of a machine from any thread, and of a device's host.

    Never blocks, but for `statistics`, which answers None to a device that asks in an access.
    """

    @property
    def vcpus(self) -> int: ...
    @property
    def memory(self) -> int:
        """Bytes of guest memory."""

    def exit(self, code: int) -> None: ...
    def guest_panicked(self) -> None: ...
    def set_line(self, gsi: int, high: bool) -> None: ...
    def power_button(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def reset(self) -> None: ...
    def stop(self) -> None: ...
    def memory_report(self) -> Memory | None:
        """None where the machine has gone."""

    def disk_traffic(self) -> list[tuple[str, list[tuple[int, int, int, int]], int]]:
        """Of each disk by its id what was read, written, flushed and unmapped since it was opened:
        requests, bytes and nanoseconds of those that were done, and how many failed; and the end of
        what was written furthest back.
        """

    def stop_when_full(self) -> None:
        """From now on a virtio disk whose host has no room for a write pauses the guest, and the
        write is tried again when it goes on. Otherwise it fails.
        """

    def full_disks(self) -> list[tuple[str, str]]:
        """Disks with a write that the host has no room for, for which the guest was paused: their
        ids, and the names of their images. None any more once it is resumed.
        """

    def card_traffic(self) -> list[tuple[str, list[tuple[int, int]], str | None]]:
        """Of each network card by its id what the guest has sent and received: frames, bytes; and
        why the host's kernel does not move them (vhost-net), or None where it does.
        """

    def save(
        self,
        files: LayerFiles,
        below: Sequence[LayerFiles],
        overlays: Sequence[int] = ...,
        code: int | None = None,
        complete: bool = False,
    ) -> Recording | None:
        """Saves a machine that runs, and leaves it paused; its memory goes to `files`, which are
        empty, as far as it is other than in the layers `below`. What temporary overlays of its
        first disks hold goes to `overlays`, descriptors of empty files. The code that its engine
        made of the guest's goes to `code`, which stays empty where there is none: it is for
        whoever goes on from here on this host. `complete` is for many of those: code is made first
        of all that the guest ran lately. None where it does not run.

        Raises:
            HostFailure: when a layer does not fit, or the host has no room.
        """

    def checkpoint(
        self, disk: int, name: str, since: str | None, forget: Sequence[str]
    ) -> bytes | None:
        """As `disk_checkpoint`, of the disk of this number. None also where the machine does not
        run.

        Raises:
            HostFailure: when the host cannot read or write the disk.
        """

    def migrate(self, stream: int, options: MigrationOptions) -> Migration:
        """Begins to send the guest by a Unix socket; it runs on.

        Raises:
            HostFailure: when that cannot be begun.
        """

    def set_balloon(self, size: int) -> None:
        """Asks the guest to hand so many bytes of its memory to the host."""

    def want_cpus(self, count: int) -> None:
        """Gives the guest its first `count` processors; the others go once it lets go of them."""

    def cpus(self) -> list[bool] | None:
        """Which processors are there; None where they do not come and go."""

    def plug_disk(self, disk: DiskSpec, opened: OpenDisk) -> int | None:
        """Puts a disk into a machine that runs, and tells the guest; its slot. None where the
        machine does not run.

        Raises:
            InvalidInput: when there is one of its id, or no slot left.
        """

    def plug_network(self, network: NetworkSpec, taps: Sequence[int]) -> int | None:
        """As `plug_disk`, for a network card; `taps` are its queues on a bridge.

        Raises:
            InvalidInput: as `plug_disk`.
            HostFailure: when it cannot be connected.
        """

    def ask_out(self, name: str) -> bool:
        """Asks the guest to let go of a disk or a network card. False where it does not run.

        Raises:
            InvalidInput: when there is none of that id.
        """

    def media(self) -> list[tuple[str, bool, bool, bool]]:
        """Drives whose media can be changed: id, whether something is in it, whether its tray is
        out, whether the guest holds what is in it.
        """

    def open_tray(self, drive: str, force: bool) -> bool:
        """Whether it is open. Where the guest holds the medium, only with `force`; else it is asked
        to let go of it.

        Raises:
            InvalidInput: when there is no such drive.
        """

    def close_tray(self, drive: str) -> None:
        """
        Raises:
            InvalidInput: as `open_tray`.
        """

    def change_medium(self, drive: str, medium: OpenDisk | None) -> None:
        """Puts something in, in place of what is there, or takes that out.

        Raises:
            InvalidInput: when there is no such drive, or this is no medium for it.
        """

    def plugged(self) -> list[tuple[str, int, bool]]:
        """Disks and network cards: id, slot, and whether the guest was asked to let go of it."""

    def request_memory(self, size: int) -> None:
        """Asks the guest to plug in so many bytes, beside those that it was made with."""

    def ask_memory_statistics(self) -> None:
        """Asks the guest for new `Memory.statistics`, which are there once it has told them."""

    def news(self) -> int:
        """An eventfd, the caller's own, that becomes readable when the guest has changed its
        memory's size, has let go of a processor or of another device, or was paused for a disk.

        Raises:
            HostFailure: when the host has no descriptor left.
        """

    def screen(self) -> Screen | None:
        """What the guest shows, which can be looked at also when the guest has ended."""

    def key(self, scan_codes: bytes) -> bool:
        """A key goes down or up: all its scan codes of set 2. False where the guest has no room for
        them.
        """

    def mouse(self, right: int, down: int, wheel: int, buttons: int) -> None:
        """The mouse moves by so many counts, and these buttons are held: bit 0 left, 1 right, 2
        middle, 3 and 4 the side ones.
        """

    def point(self, x: int, y: int, wheel: int, buttons: int) -> bool:
        """The hand is at `x` and `y`, of 32767 each. False where the guest has no driver for the
        tablet, and its mouse is to be moved.
        """

    def resize_console(self, columns: int, rows: int) -> None: ...
    def set_limits(self, limits: Limits) -> None:
        """They hold from now on."""
    def set_firewall(self, firewall: FirewallSpec) -> None:
        """What may come to the guest's network card and leave it, from now on."""
    def connect_to_guest(self, stream: int, port: int) -> None:
        """Connects a Unix socket, which is duplicated, to a port of the guest's socket device. It
        ends where there is no such device, or nobody at that port.
        """
    def statistics(self) -> Statistics | None:
        """Of a machine that runs, whose vCPUs stop for it; None where it does not run."""

_Part = tuple[int, int, int, int]
"""x, y, width and height, in pixels."""
_Format = tuple[int, int, bool, tuple[int, int, int], tuple[int, int, int]]
"""RFB's PIXEL_FORMAT: bits, depth, big-endian, largest values and shifts of red, green and blue."""

@final
class Screen:
    """A picture that is brought up to date by `refresh`; everything else looks at it as it is then.

    Raises from what takes a format:
        ValueError: when there is no such format.
    """

    def refresh(self) -> tuple[int, int, int, int]:
        """Width, height, when anything changed last, and when the size did: numbers that grow."""

    def changed_since(self, seen: int) -> list[_Part]:
        """Parts that have changed after `seen`."""

    def rgb(self) -> tuple[int, bytes]:
        """Width, and three bytes a pixel: the pointer is on it where the guest has it."""

    def wish(self, width: int, height: int) -> bool:
        """Somebody who looks would like that size: False where nobody in the guest hears of it."""

    def cursor(self, known: int | None) -> tuple[int, tuple[int, int], int, int, bytes] | None:
        """The pointer that viewers draw: its number, the pixel that points, width, height, and red,
        green, blue and alpha of each pixel. None where it is the one of number `known`, and where
        the guest draws its own.
        """

    def raw(self, part: _Part, pixels: _Format) -> bytes:
        """RFB's Raw encoding."""

    def zrle(self, part: _Part, pixels: _Format) -> bytes:
        """RFB's ZRLE, before it is compressed."""

    def tight(self, part: _Part, pixels: _Format) -> tuple[int, bytes, bytes]:
        """How many colours the palette has (1: nothing follows it; 0: there is none), the palette,
        and the data, before it is compressed. A part is at most 2048 pixels wide.
        """

@final
class Recording:
    """A saved machine, whose memory is still written, also while it goes on."""

    @property
    def state(self) -> bytes:
        """All but its memory."""

    def fileno(self) -> int:
        """Becomes readable when the memory is written; -1 once it is finished."""

    def finish(self) -> None:
        """Waits until the memory is written. Once is enough.

        Raises:
            HostFailure: when it could not be written.
        """

@final
class Memory:
    """How a guest's memory is used, in bytes."""

    @property
    def size(self) -> int:
        """What it was made with."""

    @property
    def resident(self) -> int:
        """What of it takes memory of the host's."""

    @property
    def has_balloon(self) -> bool: ...
    @property
    def balloon_target(self) -> int: ...
    @property
    def balloon(self) -> int:
        """What the guest says that it has handed over."""

    @property
    def returned(self) -> int:
        """All that was ever given back, by the balloon and as free pages."""

    @property
    def told(self) -> int:
        """How often the guest has told statistics."""

    @property
    def statistics(self) -> list[tuple[str, int]]:
        """What the guest says itself: names as in `machine::MemoryStatistics`."""

    @property
    def hotplug(self) -> tuple[int, int, int, int] | None:
        """Of memory that can be plugged in: its address, its size, how much of that the guest shall
        have, and how much it has."""

@final
class VcpuStatistics:
    """Counters of one vCPU."""

    @property
    def instructions(self) -> int:
        """Those that the engine counts."""

    @property
    def exits(self) -> list[tuple[str, int]]:
        """By reason."""

    @property
    def counters(self) -> list[tuple[str, int]]:
        """By name."""

    @property
    def handlers(self) -> list[tuple[str, int, int]]:
        """Mnemonic, calls without a translation, calls in place of one; the most called first."""

    @property
    def seconds(self) -> list[tuple[str, float]]:
        """Where its thread was, sampled; empty without `MachineSpec.times`."""

@final
class Statistics:
    """What a machine did, for people."""

    @property
    def engine(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def vcpus(self) -> list[VcpuStatistics]: ...

@final
class Machine:
    """A guest's hardware, made and wired but not running.

    Raises from the constructor:
        InvalidInput: a kernel, initrd or disk that cannot be used.
        EngineUnavailable: the engine asked for cannot run here.
        HostFailure: the host refuses memory or a file.
    """

    def __new__(cls, spec: MachineSpec, wiring: Wiring) -> Machine: ...
    def attach(self, device: PortDevice | MmioDevice) -> None:
        """Puts a Python device on the bus. Only before `run`."""

    def begin_as(self, beginning: Beginning) -> None:
        """The first `run` goes on there. With all devices attached.

        Raises:
            HostFailure: when that was a machine of another shape, or a part of it is damaged.
        """

    def write_perf_map(self, symbols: list[tuple[int, str]]) -> Path:
        """Lets perf name the guest's code; answers where the map is. Only before `run`.

        Raises:
            InvalidInput: the engine makes no code.
            HostFailure: the map cannot be made.
        """

    @property
    def control(self) -> Control: ...
    def run(self) -> Outcome:
        """Runs the guest until it ends. Other Python threads run meanwhile."""

    def statistics(self) -> Statistics:
        """Of a machine that does not run."""

@final
class EngineReport:
    """What one engine can do on this host."""

    @property
    def name(self) -> str: ...
    @property
    def usable(self) -> bool: ...
    @property
    def chosen(self) -> bool:
        """Whether `auto` takes it."""

    @property
    def reason(self) -> str:
        """In plain words, why or why not."""

    @property
    def speed(self) -> float | None:
        """Measured guest instructions a second in ring 0, where they were measured."""

def rehearse() -> None:
    """Measures what is measured once in a process, for those that are forked from this one."""

def engines() -> list[EngineReport]:
    """Measures this host's engines, in the order in which `auto` prefers them."""

def seal_of_code(fd: int, key: bytes) -> bytes:
    """The seal of the whole file `fd`, an engine's code, by a key of 32 bytes: keyed BLAKE3.

    Raises:
        OSError: the host cannot read it.
    """

def is_code_of_kin(fd: int) -> bool:
    """Whether the file `fd` is code that a process of this one's template wrote, or it itself."""

def enter_jail(needs: Needs) -> tuple[list[str], list[str]]:
    """Gives up all that is not needed, for good; answers which walls stand, and why others do not.
    With one thread only. Descriptors of directories, and the working one, mean the same as before
    where that is in the new root.

    Raises:
        HostFailure: the kernel refuses one of them.
    """

def separate_children(network: bool, tap: bool) -> str | None:
    """Has those that are forked from now on see no processes but their own, in a user namespace
    where this process is no administrator; else why they do not. `network` and `tap` as in `Needs`.
    """

def fork_first(network: bool, tap: bool) -> tuple[int, str | None]:
    """Forks this process, which has one thread and has called `adopt`, as the first of its own in a
    namespace of processes: its number outside, and zero in itself; there also why it is not, where
    it is not. `network` and `tap` as in `Needs`.

    Raises:
        OSError: the host has no process left.
    """

def adopt() -> None:
    """Children of this process's children become its own when these end before them.

    Raises:
        OSError: the kernel has no such thing.
    """

def end_with_parent() -> None:
    """This process is killed when its parent ends. A change of its user takes that back.

    Raises:
        OSError: the kernel has no such thing.
    """

def confine_program(run: Sequence[Path], devices: Sequence[Path], own: Path, user: int) -> None:
    """Gives up, for good, all that a program does not need that this process is about to become: it
    has `run` to read and run and `devices`, writes to its `own` directory, and is `user` where this
    one is root. With one thread only.

    Raises:
        HostFailure: the kernel refuses one of the walls that it has.
    """

def is_multiboot(head: bytes) -> bool:
    """Is a file that begins so a multiboot 1 kernel? KERNEL_PROBE_LENGTH bytes are enough."""

def take_lease(directory: Path, name: str, address: str, present: list[str]) -> int:
    """The last part of the IPv4 address of a guest on a bridge, whose card has `address`; those who
    are `present` keep theirs.

    Raises:
        HostFailure: when the network's list cannot be written, or all addresses are taken.
    """

@final
class DiskSnapshot:
    """A snapshot inside of a qcow2: seconds since 1970, bytes of memory, bytes of the disk then."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def date(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def size(self) -> int: ...

@final
class DiskInfo:
    """What is known of an image without reading its disk. Sizes are in bytes.

    `size` is the disk's, `file_size` the file's, `allocated` what that takes of the host.
    `was_open` says that whoever wrote to it last did not close it. None where the format has no
    such thing.
    """

    @property
    def format(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def allocated(self) -> int: ...
    @property
    def file_size(self) -> int: ...
    @property
    def version(self) -> int | None: ...
    @property
    def cluster_size(self) -> int | None: ...
    @property
    def lazy_refcounts(self) -> bool: ...
    @property
    def was_open(self) -> bool: ...
    @property
    def zstd(self) -> bool: ...
    @property
    def backing(self) -> str | None: ...
    @property
    def backing_format(self) -> str | None: ...
    @property
    def snapshots(self) -> list[DiskSnapshot]: ...

@final
class DiskReport:
    """What a check found. `errors` can lose data, `leaks` are storage that nothing uses."""

    @property
    def errors(self) -> int: ...
    @property
    def leaks(self) -> int: ...
    @property
    def repaired(self) -> int: ...
    @property
    def clusters(self) -> int: ...
    @property
    def allocated(self) -> int: ...
    @property
    def compressed(self) -> int: ...
    @property
    def was_open(self) -> bool: ...
    @property
    def findings(self) -> list[str]: ...

def disk_create(path: Path, new: NewImage) -> int:
    """Makes an image, all of it or nothing; the disk's size in bytes."""

def disk_convert(
    source: ExistingImage,
    target: Path,
    new: NewImage,
    compress: bool,
    report: Callable[[int, int], object],
) -> None:
    """Copies a disk into a new image. `report` hears of bytes done and all bytes; its exception
    ends the work, as a signal does, and nothing is left behind.
    """

def disk_info(image: ExistingImage) -> DiskInfo: ...
def disk_files(image: ExistingImage) -> list[Path]:
    """The image and the files that it names as its backing files or its parts."""

def disk_resize(image: ExistingImage, size: int, shrink: bool) -> None: ...
def disk_check(image: ExistingImage, repair: str) -> DiskReport:
    """`repair`: "nothing", "leaks" or "all"."""

def disk_checkpoint(
    path: Path, name: str, since: str | None, forget: Sequence[str]
) -> bytes | None:
    """From now on the image, which no guest has, knows under `name` what changes in it; what it
    knew under the names `forget` it does not keep. Answers which bytes of its file are what they
    were at `since`: begins and ends, ascending, little-endian words of 64 bits; none where nobody
    knows. None: it is no qcow2 that could know.

    Raises:
        InvalidInput, HostFailure: when it is in use or damaged, or the host cannot read or write.
    """

def disk_snapshots(path: Path) -> list[DiskSnapshot]: ...
def disk_snapshot(path: Path, change: str, name: str) -> None:
    """`change`: "create", "apply" or "delete"."""

@final
class OpenDisk:
    """A disk that is open, for a machine's wiring."""

def open_disk(disk: DiskSpec, files: Sequence[tuple[Path, int]]) -> OpenDisk:
    """A disk of files that are open: descriptors, which are duplicated, by the names that
    `disk_files` has for them.

    Raises:
        InvalidInput, HostFailure: when it cannot be used.
    """

def nbd_connect(uri: str, read_only: bool) -> OpenDisk:
    """Connects to an NBD server. Without `read_only`, its export must be writable."""

def disk_serve(export: Export, ready: Callable[[int | None], object]) -> None:
    """Lets others have a disk by NBD. `ready` hears of the port, or None, when they can connect; an
    exception of a signal's handler ends it.
    """

@final
class MigrationProgress:
    """How a migration stands. Sizes are in bytes, times in seconds; `dirty_rate` is what the guest
    writes a second, `slowed` for how many hundredths of the time it stands still."""

    @property
    def phase(self) -> str: ...
    @property
    def over(self) -> bool: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def memory(self) -> int: ...
    @property
    def disks(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def sent(self) -> int: ...
    @property
    def zero_pages(self) -> int: ...
    @property
    def like_pages(self) -> int: ...
    @property
    def same_pages(self) -> int: ...
    @property
    def data_pages(self) -> int: ...
    @property
    def rounds(self) -> int: ...
    @property
    def slowed(self) -> int: ...
    @property
    def dirty_rate(self) -> int: ...
    @property
    def wanted_pages(self) -> int:
        """For how many pages the guest had to wait there, since they were still here."""

    @property
    def downtime(self) -> float | None: ...
    @property
    def took(self) -> float: ...

@final
class Migration:
    """A guest on its way to another host."""

    def fileno(self) -> int:
        """Becomes readable when the phase has changed."""

    def progress(self) -> MigrationProgress: ...
    def stop(self) -> bool:
        """In the phase `pre-switchover`: stops the guest. False when that is over.

        Raises:
            HostFailure: when it cannot be saved; it goes on then.
        """

    def finish(self, about: bytes) -> None:
        """After `stop`: sends the rest, and `about`."""

    def cancel(self) -> bool:
        """False when the other host was told to go on with the guest already."""

    def take_back(self) -> bool:
        """Of a guest `in-doubt`: it goes on here. False when it is not."""

    def give_up(self) -> bool:
        """Likewise: it runs there, and lacks nothing."""

    def go_on(self, stream: int) -> bool:
        """Of a guest that runs there while a part of its memory is here: sends that by another
        socket. False when none is wanted."""

@final
class Incoming:
    """A guest that comes by a socket."""

    def __new__(cls, stream: int) -> Self: ...
    def allow_post_copy(self) -> None:
        """It may begin before all of its memory has come. Before the jail.

        Raises:
            HostFailure: when this process may not have userfaultfd.
        """

    def receive(
        self,
        pages: int,
        index: int,
        disks: Sequence[tuple[int, int]],
        *,
        most_memory: int,
        most_state: int,
        most_about: int,
    ) -> tuple[bytes, bytes]:
        """Takes all of it: memory into the files `pages` and `index`, disks into files of so many
        bytes. Answers its state, and what its process knew.

        Raises:
            HostFailure: when it does not come whole.
        """

    @property
    def late(self) -> LateMemory | None:
        """What of its memory comes when it runs; None when it is whole."""

    def ready(self) -> None:
        """Says that the guest could go on here, and returns once it is to.

        Raises:
            HostFailure: when it is not to.
        """

    def running(self) -> None:
        """Says that it runs here."""

    def refuse(self, reason: str) -> None:
        """Says why it does not."""

@final
class LateMemory:
    """Memory of a guest that comes when the guest runs here already."""

    def fileno(self) -> int:
        """Becomes readable when the phase has changed; -1 before there is a machine."""

    def progress(self) -> tuple[str, str | None, int]:
        """The phase, as `query-migrate` has it; why it is that; the bytes that are missing."""

    def go_on(self, stream: int) -> bool:
        """By another socket. False when nothing is missing.

        Raises:
            HostFailure: when the host has no thread or descriptor left.
        """

    def abandon(self) -> None:
        """The guest has ended: nothing is needed any more."""

def post_copy_missing() -> str | None:
    """Why no guest can begin here before all of its memory has come; None when one can."""

def processor(model: str) -> str:
    """What a processor of this model is on this host, in words that are equal where it is.

    Raises:
        InvalidInput: when there is no such model.
    """
