"""What guests of an image were once they had booted, so that others of the same kind begin there.

    HOME/warm/KEY/               files as innkeeper.vm.detached.savings has them, and
    HOME/warm/KEY/warm.json      what it is of, and what its files were when they were made
    HOME/warm/KEY/console.log    what the kernel had printed by then
    HOME/warm/lock               held by the one who is making one
    HOME/warm/innkeeper-scratch-…    one that is being made

KEY stands for all that such a guest has in common with the one that booted: image, hardware,
Innkeeper's own code, the host and its boot. So a host that crashed has none that is half written.
Who begins as one holds its directory's lock until its files are open; none is removed meanwhile.
One that is not as it was left is removed when it is met, and the guest boots. Those that were not
used for longest go where there are too many.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from innkeeper import stored
from innkeeper.errors import HostFailure
from innkeeper.images.boot import agent_initrd
from innkeeper.images.store import Image, Store
from innkeeper.machine.limits import Limits
from innkeeper.machine.network import NetworkKind
from innkeeper.machine.spec import EngineChoice, MachineSpec, Overlay
from innkeeper.vm import inside, kept_code, scratch
from innkeeper.vm.detached import savings
from innkeeper.vm.saved import Beginning, LayerFiles
from innkeeper.vm.warm import RecordFiles, WarmStart, core

VERSION: Final = 1
MANIFEST: Final = "warm.json"
CONSOLE: Final = "console.log"
MOST: Final = 8
MOST_BYTES: Final = 2 << 30
# What the host keeps free on that disk, beside the memory of the guest.
_SPARE: Final = 1 << 30
_LONGEST: Final = 64 << 20
_DISK: Final = savings.disk(0, 0, "qcow2")
# Read each time.
_SMALL: Final = (savings.STATE, savings.ABOUT, CONSOLE)
_HOSTNAME: Final = "innkeeper.hostname="


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """`mtime` in nanoseconds; a file that is read in whole has a `sum`."""

    name: str
    size: int
    mtime: int
    sum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStart:
    """A start that is kept. `memory` in bytes, `created` a Unix time; `mac` and `hostname` are what
    that guest was.
    """

    key: str
    image: str
    digest: str
    engine: str
    vcpus: int
    memory: int
    hostname: str
    mac: str
    created: float
    files: tuple[KeptFile, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One that can be used, for as long as the block lasts that it came from."""

    kept: KeptStart
    directory: int
    start: WarmStart
    console: str


def wanted(image: Image, spec: MachineSpec, hostname: str) -> KeptStart | None:
    """What a start of such a guest is kept as; None for a guest that has to boot."""
    if not _is_plain(spec):
        return None
    network = spec.network
    mac = "" if network is None else network.mac
    return KeptStart(
        key=_key(image, spec),
        image=image.name,
        digest=image.digest,
        engine=spec.engine.value,
        vcpus=spec.vcpus,
        memory=spec.memory,
        hostname=hostname,
        mac=mac,
        created=time.time(),
    )


def _is_plain(spec: MachineSpec) -> bool:
    """Others have, from their first instruction on, what is nobody else's."""
    return (
        len(spec.disks) == 1
        and not spec.disks[0].layers
        and spec.disks[0].overlay is not Overlay.NONE
        and spec.devices == ("pvpanic",)
        and spec.screen is None
        and spec.firmware is None
        and not spec.tpm
        and (spec.network is None or spec.network.kind is NetworkKind.USER)
        and spec.engine is not EngineChoice.LOCKSTEP
        and not (spec.times or spec.perf_map)
    )


def _key(image: Image, spec: MachineSpec) -> str:
    """What the host sees to by itself when a guest goes on is no part of it."""
    network = spec.network and replace(spec.network, ports=(), mac="")
    folders = tuple(replace(folder, path=Path("/")) for folder in spec.folders)
    vsock = spec.vsock and replace(spec.vsock, path=None)
    words = spec.command_line.split(" ")
    like = replace(
        spec,
        kernel=Path(image.digest),
        initrds=(),
        disks=(),
        command_line=" ".join(word for word in words if not word.startswith(_HOSTNAME)),
        network=network,
        folders=folders,
        vsock=vsock,
        limits=Limits(),
    )
    made_of = [VERSION, _code(), _host(), stored.encode(like)]
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def _code() -> list[list[int]]:
    """A file that was built anew is another."""
    found = [file.stat() for file in (core(), agent_initrd())]
    return [[status.st_size, status.st_mtime_ns] for status in found]


def _host() -> list[str]:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Of one processor; of hundreds, the file is long.
        with Path("/proc/cpuinfo").open("rb") as file:
            lines = file.read(1 << 12).decode(errors="replace").splitlines()
        return [boot, *(line for line in lines[:8] if line.startswith(("model name", "stepping")))]
    return [""]


class WarmStarts:
    """Those of one user."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._place = store.directory / "warm"

    @contextlib.contextmanager
    def found(self, like: KeptStart) -> Iterator[Found | None]:
        """The start that is kept, where there is one that can be used."""
        with contextlib.ExitStack() as stack:
            try:
                directory = os.open(self._place / like.key, inside.DIRECTORY)
                stack.callback(os.close, directory)
                fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                # There is none, or somebody removes it.
                yield None
                return
            try:
                found = self._opened(directory, stack)
            except (OSError, ValueError, RecursionError, stored.Unreadable):
                # With its lock, we would be in our own way.
                stack.close()
                self.remove(like.key)
                yield None
                return
            with contextlib.suppress(OSError):
                os.utime(directory)
            yield found

    def _opened(self, directory: int, stack: contextlib.ExitStack) -> Found:
        """
        Raises:
            OSError, ValueError, RecursionError, Unreadable: when it is not what it was.
        """
        kept = _read(directory)
        contents = {name: _checked(directory, kept, name) for name in _SMALL}
        opened = []
        for name in (savings.pages(0), savings.index(0), _DISK):
            _checked(directory, kept, name)
            fd = inside.open_file(directory, name)
            stack.callback(os.close, fd)
            opened.append(fd)
        code = kept_code.opened(directory)
        if code is not None:
            stack.callback(os.close, code)
        place = self._place / kept.key
        memory = LayerFiles(pages=opened[0], index=opened[1])
        return Found(
            kept=kept,
            directory=directory,
            start=WarmStart(
                beginning=Beginning(state=contents[savings.STATE], layers=(memory,), code=code),
                layers=(place / _DISK,),
            ),
            console=contents[CONSOLE].decode(errors="replace"),
        )

    def making(self, like: KeptStart) -> "Making | None":
        """To keep one; None where somebody is just making one, or there is no room for it."""
        try:
            return Making(self, self._place, like)
        except (OSError, HostFailure):
            return None

    def all(self) -> list[KeptStart]:
        """The one that was used last comes first."""
        return [kept for _, kept in sorted(self._each(), key=lambda pair: -pair[0])]

    def _each(self) -> Iterator[tuple[float, KeptStart]]:
        with contextlib.suppress(FileNotFoundError):
            for entry in list(self._place.iterdir()):
                if not _is_key(entry.name):
                    continue
                with contextlib.suppress(OSError, ValueError, RecursionError, stored.Unreadable):
                    directory = os.open(entry, inside.DIRECTORY)
                    try:
                        yield os.fstat(directory).st_mtime, _read(directory)
                    finally:
                        os.close(directory)

    def size(self, key: str) -> int:
        """Bytes on the disk."""
        with contextlib.suppress(OSError):
            return sum(file.stat().st_blocks * 512 for file in (self._place / key).iterdir())
        return 0

    def remove(self, key: str, *, patiently: bool = False) -> bool:
        """Whether it is gone: while somebody begins as it, only if that is waited for."""
        with contextlib.suppress(OSError):
            directory = os.open(self._place / key, inside.DIRECTORY)
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | (0 if patiently else fcntl.LOCK_NB))
                gone = self._place / f".gone-{uuid.uuid4().hex}"
                (self._place / key).rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
                return True
            finally:
                os.close(directory)
        return False

    def sweep(self) -> None:
        """Removes what nobody can use any more, and what is too much."""
        if not self._place.is_dir():
            return
        for left in self._place.glob(".gone-*"):
            shutil.rmtree(left, ignore_errors=True)
        for entry in self._place.iterdir():
            if _is_key(entry.name) and not (entry / MANIFEST).exists():
                self.remove(entry.name)
        total = 0
        for number, kept in enumerate(self.all()):
            total += self.size(kept.key)
            is_used = (self._store.directory / "images" / kept.digest).exists()
            if number >= MOST or total > MOST_BYTES or not is_used:
                self.remove(kept.key)


class Making:
    """A start that is to be kept: its files first. Only one is made at a time; it is gone after
    `close`, unless it was `keep`t.

    Raises:
        OSError, HostFailure: when it cannot be made now.
    """

    def __init__(self, starts: WarmStarts, place: Path, like: KeptStart) -> None:
        self._starts, self._place, self._like = starts, place, like
        with contextlib.ExitStack() as stack:
            place.mkdir(0o700, parents=True, exist_ok=True)
            lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            room = os.statvfs(place)
            if room.f_bavail * room.f_frsize < like.memory + _SPARE:
                raise HostFailure("the host's disk is almost full")
            self._scratch = stack.enter_context(scratch.place(place))
            self._made = self._scratch / "new"
            self._made.mkdir(0o700)
            self._directory = os.open(self._made, inside.DIRECTORY)
            stack.callback(os.close, self._directory)
            self._left = stack.pop_all()

    def create(self, told: int) -> RecordFiles:
        """Its files. Closing the descriptors is the caller's.

        Raises:
            OSError.
        """
        names = (savings.STATE, savings.pages(0), savings.index(0), _DISK, kept_code.NEW)
        return RecordFiles.of([told, *(inside.create(self._directory, name) for name in names)])

    def keep_code(self) -> None:
        """The guest's process has written it, and nobody has run anything in the guest yet.

        Raises:
            OSError.
        """
        kept_code.keep(self._directory, kept_code.NEW, self._directory)

    def keep(self, about: Mapping[str, Any], console: str) -> None:
        """All its files are written. Where somebody was faster, theirs stays.

        Raises:
            OSError.
        """
        inside.write(self._directory, savings.ABOUT, json.dumps(about).encode())
        inside.write(self._directory, CONSOLE, console.encode(errors="replace"))
        files = []
        for name in sorted([*savings.names(self._directory), CONSOLE]):
            status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
            total = _sum(inside.read(self._directory, name, _LONGEST)) if name in _SMALL else ""
            files.append(
                KeptFile(name=name, size=status.st_size, mtime=status.st_mtime_ns, sum=total)
            )
        document = stored.encode(replace(self._like, files=tuple(files)))
        text = json.dumps({"version": VERSION, "start": document})
        inside.write(self._directory, MANIFEST, text.encode())
        with contextlib.suppress(OSError):
            self._made.rename(self._place / self._like.key)
        self._starts.sweep()

    def close(self) -> None:
        self._left.close()


def _is_key(name: str) -> bool:
    return len(name) == 32 and all(letter in "0123456789abcdef" for letter in name)


def _read(directory: int) -> KeptStart:
    """
    Raises:
        OSError, ValueError, RecursionError, Unreadable.
    """
    document = json.loads(inside.read(directory, MANIFEST, 1 << 20))
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise ValueError("it is of another version")
    return stored.decode(KeptStart, document.get("start"))


def _checked(directory: int, kept: KeptStart, name: str) -> bytes:
    """What a small file holds; nothing of another, which is no other than it was.

    Raises:
        OSError, ValueError.
    """
    (file,) = (file for file in kept.files if file.name == name)
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime):
        raise ValueError(f"{name} was altered")
    if not file.sum:
        return b""
    data = inside.read(directory, name, _LONGEST)
    if _sum(data) != file.sum:
        raise ValueError(f"{name} was altered")
    return data


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
