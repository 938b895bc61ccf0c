"""Saves a guest from inside of its process, for `inn snapshot` and `inn fork`.

The guest stands still while its state is taken, its disks are copied and its process forks; the
fork writes the memory. Where an earlier record is still known, only what changed since is written.
"""

import contextlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.guest.hub import AgentHub
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import disk_copy, inside
from innkeeper.vm.checkpoint import Checkpoint, Ranges, parse, whole
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.home import OWN, Home
from innkeeper.vm.detached.loop import READ, Loop
from innkeeper.vm.plugs import Plugs
from innkeeper.vm.qmp.session import CommandError
from innkeeper.vm.running import Control, Recording
from innkeeper.vm.saved import LayerFiles

VERSION: Final = 1
# Layers of memory over each other; the next record has all of it again.
_DEEPEST: Final = 8
# Seconds in which the guest takes what was on its way to its agent.
_SETTLE: Final = 2.0
_DEAF: Final = "the guest's agent does not take what is sent to it"
_PAUSED: Final = "the guest is paused, and something is on its way to its agent"
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Subject(Protocol):
    """A guest, as its recorder needs it."""

    @property
    def home(self) -> Home: ...
    @property
    def loop(self) -> Loop: ...
    @property
    def hub(self) -> AgentHub | None: ...
    @property
    def spec(self) -> MachineSpec: ...
    @property
    def plugs(self) -> Plugs: ...
    @property
    def paused(self) -> bool: ...
    def control(self) -> Control: ...
    def require_here(self) -> None: ...
    def about(self) -> dict[str, object]: ...


@dataclass
class Layers:
    """Descriptors of the files of an earlier record, and what it is called; no longer used after
    `close`."""

    name: str = ""
    files: list[LayerFiles] = field(default_factory=list)

    def close(self) -> None:
        for layer in self.files:
            os.close(layer.pages)
            os.close(layer.index)
        self.files, self.name = [], ""


class Recorder:
    """`begun_as` is what this guest began as, if it was saved before."""

    def __init__(self, guest: Subject, begun_as: Layers) -> None:
        self._guest = guest
        self._below = begun_as
        self._running: _Record | None = None
        self._status: dict[str, object] = {"status": "none"}

    def status(self) -> dict[str, object]:
        """How the last record stands: `none`, `active`, `completed`, or `failed` and why."""
        return self._status

    def begin(
        self,
        name: str,
        parent: str,
        *,
        keep: bool,
        checkpoints: Sequence[Checkpoint] = (),
        code: bool = False,
        complete: bool = False,
    ) -> dict[str, object]:
        """Saves the guest as `name`, in files of its own directory. With `keep`, the next record
        can build upon this one. It builds upon `parent`, where that is the one that is known. Of
        disks with a checkpoint, what did not change since that is left out. With `code`, a file
        more has what the engine made of the guest's code, for whoever goes on from here on this
        host; with `complete`, also what it would make of all that the guest ran lately.

        Raises:
            CommandError: when that cannot be done now, or with such a guest.
        """
        if self._running is not None:
            raise CommandError("the guest is just being saved")
        guest = self._guest
        # Whoever saves a guest lets it go on afterwards.
        guest.require_here()
        for number, disk in enumerate(guest.spec.disks):
            if disk_copy.is_kept_nowhere(disk):
                raise CommandError(
                    f"what the guest writes to its disk {number}, {disk.path}, is kept nowhere, "
                    f"so it cannot be saved"
                )
        if unknown := sorted(guest.plugs.unknown):
            raise CommandError(
                f"{', '.join(unknown)} came by device_add, and nobody outside knows of it: "
                "remove it first; what inn disk attach plugs in is saved"
            )
        if self._below.name != parent or not parent or len(self._below.files) >= _DEEPEST:
            if keep:
                self._below.close()
            below: tuple[LayerFiles, ...] = ()
        else:
            below = tuple(self._below.files)
        settle(guest.hub, f"{_PAUSED}: inn resume {guest.home.name}" if guest.paused else _DEAF)
        record = _Record(guest.home, name, keep=keep)
        began = time.monotonic()
        was_paused = guest.paused
        try:
            record.take(guest, below, checkpoints, code=code, complete=complete)
        except BaseException as error:
            record.discard()
            if isinstance(error, (OSError, InnkeeperError, ValueError)):
                raise CommandError(f"cannot save the guest: {error}") from error
            raise
        finally:
            if not was_paused:
                guest.control().resume()
        guest.loop.watch(record.fileno(), READ, lambda _: self._written(record))
        self._running = record
        self._status = {"status": "active"}
        return {"layers": len(below), "pause": time.monotonic() - began}

    def _written(self, record: "_Record") -> None:
        self._guest.loop.forget(record.fileno())
        self._running = None
        try:
            files = record.finish()
        except InnkeeperError as error:
            record.discard()
            self._status = {"status": "failed", "reason": str(error)}
            return
        if record.keep:
            self._below.files.append(files)
            self._below.name = record.name
        else:
            os.close(files.pages)
            os.close(files.index)
        self._status = {"status": "completed"}


def settle(hub: AgentHub | None, otherwise: str = _DEAF) -> None:
    """Until nothing is on its way to the agent: there, half of it would be nobody's.

    Raises:
        CommandError: when the guest does not take it, which says `otherwise`.
    """
    until = time.monotonic() + _SETTLE
    while hub is not None and hub.settle():
        if time.monotonic() > until:
            raise CommandError(otherwise)
        time.sleep(0.001)


def _unchanged(control: Control, checkpoint: Checkpoint | None) -> Ranges:
    """What of a disk's file need not be copied."""
    if checkpoint is None:
        return ()
    told = control.checkpoint(checkpoint.disk, checkpoint.name, checkpoint.since, checkpoint.forget)
    return () if told is None else whole(parse(told), checkpoint.unit)


class _Record:
    """One record, while it is made."""

    def __init__(self, home: Home, name: str, *, keep: bool) -> None:
        self._home = home
        self.name = name
        self.keep = keep
        self._made: list[str] = []
        self._recording: Recording | None = None
        self._files: LayerFiles | None = None

    def take(
        self,
        guest: Subject,
        below: tuple[LayerFiles, ...],
        checkpoints: Sequence[Checkpoint],
        *,
        code: bool,
        complete: bool,
    ) -> None:
        """The guest stands still when this returns or raises.

        Raises:
            OSError, InnkeeperError.
            ValueError: when a disk tells nonsense of what changed in it.
        """
        self._sweep()
        pages = self._create(savings.pages(len(below)))
        try:
            index = self._create(savings.index(len(below)))
        except OSError:
            os.close(pages)
            raise
        self._files = LayerFiles(pages=pages, index=index)
        with contextlib.ExitStack() as stack:
            made = None
            if code:
                made = self._create(savings.CODE)
                stack.callback(os.close, made)
            self._recording = guest.control().save(self._files, below, code=made, complete=complete)
        if self._recording is None:
            raise HostFailure("it does not run")
        self._write(savings.STATE, self._recording.state)
        known = {checkpoint.disk: checkpoint for checkpoint in checkpoints}
        for number, disk in enumerate(guest.spec.disks):
            if not disk.read_only and not disk.gone:
                # Names of its files are relative to where this process works.
                opened = guest.plugs.sources.get(disk.id)
                same = _unchanged(guest.control(), known.get(number))
                disk_copy.copy(number, disk, Path(), self._create, opened, same)
        document: dict[str, Any] = {
            "version": VERSION,
            "name": self.name,
            "layers": len(below) + 1,
            **guest.about(),
        }
        self._write(savings.ABOUT, json.dumps(document).encode())

    def fileno(self) -> int:
        assert self._recording is not None
        return self._recording.fileno()

    def finish(self) -> LayerFiles:
        """
        Raises:
            HostFailure: when the memory could not be written.
        """
        assert self._recording is not None
        assert self._files is not None
        self._recording.finish()
        files, self._files = self._files, None
        return files

    def discard(self) -> None:
        if self._recording is not None:
            with contextlib.suppress(InnkeeperError):
                self._recording.finish()
        if self._files is not None:
            os.close(self._files.pages)
            os.close(self._files.index)
        for name in self._made:
            self._home.remove(name)

    def _sweep(self) -> None:
        """What is left of one that nobody collected: it would be taken for a part of this one."""
        own = inside.open_directory(self._home.directory, OWN)
        try:
            for name in os.listdir(own):
                if name.startswith(savings.PREFIX):
                    os.unlink(name, dir_fd=own)
        finally:
            os.close(own)

    def _write(self, name: str, data: bytes) -> None:
        with open(self._create(name), "wb") as file:
            file.write(data)

    def _create(self, name: str) -> int:
        name = f"{OWN}/{savings.PREFIX}{name}"
        self._home.remove(name)
        fd = os.open(name, _FLAGS, 0o600, dir_fd=self._home.directory)
        self._made.append(name)
        return fd
