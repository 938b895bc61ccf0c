"""Asks a guest's process to save the guest, and collects what it wrote."""

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InnkeeperError
from innkeeper.machine import DiskSpec
from innkeeper.vm import disk_copy, disk_images, inside, kept_code
from innkeeper.vm.checkpoint import Checkpoint, Ranges, parse, whole
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.qmp.client import Client, CommandRefused

# Seconds that a guest's process may take until it has forked, and then to write a word more.
_PATIENCE: Final = 120.0
_LONGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """`layers` are those of memory below the new one. `about` is what the process knew."""

    layers: int
    pause: float
    about: dict[str, Any]


def record(
    home: Home,
    into: int,
    *,
    name: str,
    parent: tuple[str, str] = ("", ""),
    keep: bool,
    code: bool = False,
    complete: bool = False,
    checkpoints: Sequence[Checkpoint] = (),
    progress: Callable[[int], None] = lambda _: None,
    taken: Callable[[], None] = lambda: None,
) -> Recorded:
    """Saves the guest, which runs, to the directory `into`. `parent` is what the record that it may
    build upon is called, and the directory, in the guest's own, where that is. `progress` is told
    how many bytes of memory are written. `taken` is called when the guest goes on: what it does
    from then on is not in the record. Of disks with one of the `checkpoints`, what did not change
    since that is left out, and a file beside the disk says what. With `code`, the record has what
    the engine made of the guest's code, if it knows how; with `complete`, what it would make of all
    that the guest ran lately as well, which may keep it standing still for a quarter of a second.

    Raises:
        GuestNotRunning, CommandRefused, HostFailure: when it cannot be saved.
    """
    with Client(home, _PATIENCE) as client:
        begin = partial(client.execute, "x-record", name=name, parent=parent[0], keep=keep)
        wishes = (("code", code), ("complete", complete))
        more: dict[str, Any] = {name: True for name, wished in wishes if wished}
        if checkpoints:
            more["checkpoints"] = stored.encode(tuple(checkpoints))
        try:
            told = begin(**more)
        except CommandRefused as refused:
            # A guest that an older Innkeeper has started knows of none: all is read, or made, then.
            if not any(f"'{name}' is unexpected" in str(refused) for name in more):
                raise
            told = begin()
        assert isinstance(told, dict)
        taken()
        try:
            layers, still = int(told["layers"]), float(told["pause"])
        except (KeyError, TypeError, ValueError) as error:
            raise HostFailure(f"the guest {home.name!r} answers nonsense") from error
        pages = f"{files.OWN}/{savings.PREFIX}{savings.pages(layers)}"
        pause = 0.002
        while (status := _status(client)).get("status") == "active":
            time.sleep(pause)
            pause = min(2 * pause, 0.1)
            progress(_written(home, pages))
    if status.get("status") != "completed":
        raise HostFailure(f"cannot save the guest {home.name!r}: {status.get('reason')}")
    try:
        about = _collect(home, into, layers, parent[1])
    except (OSError, ValueError, RecursionError) as error:
        raise HostFailure(f"cannot keep what the guest {home.name!r} was: {error}") from error
    return Recorded(layers=layers, pause=still, about=about)


def copy_disks(
    home: Home, into: int, disks: Sequence[DiskSpec], checkpoints: Sequence[Checkpoint] = ()
) -> None:
    """Of a guest that does not run: what it wrote to them. `checkpoints` are as for `record`.

    Raises:
        OSError, ValueError.
    """

    own = Path(home.path) / files.OWN
    known = {checkpoint.disk: checkpoint for checkpoint in checkpoints}
    for number, disk in enumerate(disks):
        if not disk.read_only and not disk.gone and not disk_copy.is_kept_nowhere(disk):
            # What looks like an image in a plain file is the guest's, and nobody else writes there.
            checkpoint = None if disk_copy.is_plain(disk) else known.get(number)
            same = _unchanged(disk_copy.file_of(disk, own), checkpoint)
            disk_copy.copy(number, disk, own, lambda name: inside.create(into, name), same=same)
    _put_over(home, into)


def _unchanged(path: Path, checkpoint: Checkpoint | None) -> Ranges:
    if checkpoint is None:
        return ()
    try:
        told = disk_images.disk_checkpoint(
            path, checkpoint.name, checkpoint.since, checkpoint.forget
        )
    except InnkeeperError:
        # It is read as a whole then, or cannot be read.
        return ()
    return () if told is None else whole(parse(told), checkpoint.unit)


def _status(client: Client) -> dict[str, object]:
    status = client.execute("x-query-record")
    assert isinstance(status, dict)
    return status


def _written(home: Home, name: str) -> int:
    try:
        return os.stat(name, dir_fd=home.directory, follow_symlinks=False).st_blocks * 512
    except OSError:
        return 0


def _collect(home: Home, into: int, layers: int, parent: str) -> dict[str, Any]:
    """
    Raises:
        OSError, ValueError.
    """
    own = inside.open_directory(home.directory, files.OWN)
    try:
        for name in os.listdir(own):
            plain = name.removeprefix(savings.PREFIX)
            if plain == name:
                continue
            # Whoever has taken over that process may have put there what he liked.
            if not stat.S_ISREG(os.stat(name, dir_fd=own, follow_symlinks=False).st_mode):
                raise ValueError(f"{name} is no file")
            if plain == savings.CODE:
                kept_code.keep(own, name, into)
            elif plain == savings.SEAL:
                os.unlink(name, dir_fd=own)
            else:
                inside.rename(own, name, into, plain)
    finally:
        os.close(own)
    if layers:
        below = inside.open_directory(home.directory, parent)
        try:
            for layer in range(layers):
                for name in (savings.pages(layer), savings.index(layer)):
                    inside.link(below, name, into)
        finally:
            os.close(below)
    _put_over(home, into)
    about = json.loads(inside.read(into, savings.ABOUT, _LONGEST))
    return dict(about)


def _put_over(home: Home, into: int) -> None:
    """Each disk that was copied lies over those that were saved before.

    Raises:
        OSError, ValueError.
    """
    below: dict[int, list[str]] = {}
    with contextlib.suppress(FileNotFoundError):
        saved = inside.open_directory(home.directory, files.SAVED)
        try:
            below = savings.disks(os.listdir(saved))
            for name in (name for layers in below.values() for name in layers):
                inside.link(saved, name, into)
        finally:
            os.close(saved)
    for number, name in savings.tops(os.listdir(into)).items():
        kind = name.rpartition(".")[2]
        new = savings.disk(number, len(below.get(number, ())), kind)
        inside.rename(into, name, into, new)
