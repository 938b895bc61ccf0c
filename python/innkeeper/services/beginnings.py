"""Guests that begin as something saved: their directory `saved`, and their disks from then on.

    saved/begun.json   what the disks lie over, for all runs from then on
    current.json       which record the guest's process can build the next one upon, and where it is

A start that goes on with what was saved uses the memory there once; each other start removes it.
What the guest writes from then on has names of its own, so what it wrote before is over nothing.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from innkeeper import stored
from innkeeper.errors import HostFailure
from innkeeper.machine import DiskFormat, DiskSpec, MachineSpec, Overlay
from innkeeper.services import definition as definitions
from innkeeper.services.definition import Definition
from innkeeper.services.request import GuestRequest
from innkeeper.vm import inside
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.order import Order

_BEGUN: Final = f"{files.SAVED}/begun.json"
_CURRENT: Final = "current.json"
_FRESH: Final = ".saved-new"
_VERSION: Final = 1
_LONGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """`id` is of this beginning alone, `record` what it was saved as. `disks` are, of those that
    were saved, the number and the files that are to be written over, the lowest first.
    """

    id: str
    record: str
    disks: tuple[tuple[int, tuple[str, ...]], ...]


def prepare(home: Home, source: int, *, record: str, identity: Mapping[str, Any] | None) -> None:
    """Makes `saved` of the files in the directory `source`, in place of what was there: the guest's
    next start with `go_on` begins so. Nobody runs it. With `identity`, it is another guest than the
    one that was saved.

    Raises:
        HostFailure: when it cannot be made; what was there before still is.
    """
    try:
        _sweep(home)
        os.mkdir(_FRESH, 0o700, dir_fd=home.directory)
        fresh = inside.open_directory(home.directory, _FRESH)
        try:
            _fill(fresh, source, record, identity)
            os.fsync(fresh)
        finally:
            os.close(fresh)
        # There is never a moment with neither of the two.
        try:
            inside.exchange(home.directory, _FRESH, files.SAVED)
        except FileNotFoundError:
            inside.rename(home.directory, _FRESH, home.directory, files.SAVED)
        _sweep(home)
    except (OSError, ValueError, RecursionError) as error:
        raise HostFailure(f"cannot prepare the guest {home.name!r}: {error}") from error


def _fill(fresh: int, source: int, record: str, identity: Mapping[str, Any] | None) -> None:
    names = savings.names(source)
    for name in names:
        if name != savings.ABOUT:
            inside.link(source, name, fresh)
    if savings.ABOUT in names:
        about = json.loads(inside.read(source, savings.ABOUT, _LONGEST))
        about = {**about, "name": record, "identity": identity}
        inside.write(fresh, savings.ABOUT, json.dumps(about).encode())
    disks = tuple((number, tuple(layers)) for number, layers in savings.disks(names).items())
    write(fresh, Begun(id=uuid.uuid4().hex, record=record, disks=disks))


def write(saved: int, begun: Begun) -> None:
    """To a directory that is to be a guest's `saved`.

    Raises:
        OSError.
    """
    document = {"version": _VERSION, **stored.encode(begun)}
    inside.write(saved, "begun.json", json.dumps(document).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """The last record of a guest: `id` is what its process calls it, `place` is where its files
    are, below the guest's directory; `snapshot` is its name, where it is one.
    """

    id: str = ""
    place: str = ""
    snapshot: str = ""


def current(home: Home) -> Current:
    """One of no name where there is none, or its files are gone."""
    document = home.read(_CURRENT)
    try:
        found = Current() if document is None else stored.decode(Current, document)
    except stored.Unreadable:
        return Current()
    if found.id and not os.path.isdir(os.path.join(home.path, found.place)):
        return replace(found, id="")
    return found


def set_current(home: Home, now: Current) -> None:
    """Where it cannot be written down, the next record has all of the guest again."""
    with contextlib.suppress(OSError):
        home.write(_CURRENT, stored.encode(now))


def begun(home: Home) -> Begun | None:
    """What the guest began as, some time; None for one that began at power-on.

    Raises:
        HostFailure: when that is damaged.
    """
    document = home.read(_BEGUN)
    if document is None:
        return None
    try:
        if document.pop("version", None) != _VERSION:
            document = {}
        return stored.decode(Begun, document)
    except stored.Unreadable as error:
        said = f"{home.path}/{_BEGUN} is damaged or of another version: {error}"
        raise HostFailure(said) from error


def forget_memory(home: Home) -> None:
    """It is started from power-on.

    Raises:
        HostFailure: when it cannot be forgotten.
    """
    try:
        saved = inside.open_directory(home.directory, files.SAVED)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostFailure(f"cannot use {home.path}/{files.SAVED}: {error.strerror}") from error
    try:
        # Without its state the rest is nothing.
        for name in sorted(os.listdir(saved), key=lambda name: name != savings.STATE):
            if savings.is_memory(name):
                os.unlink(name, dir_fd=saved)
    except OSError as error:
        raise HostFailure(f"cannot use {home.path}/{files.SAVED}: {error.strerror}") from error
    finally:
        os.close(saved)


def order(home: Home, definition: Definition) -> Order:
    """What the guest's next run is made of. Where its disks were before they were saved, nothing
    has to be any more.

    Raises:
        InvalidInput, HostFailure: as `definitions.order`.
    """
    found = begun(home)
    request = _located(home, definition.request)
    definition = replace(definition, request=request)
    if found is None:
        return definitions.order(definition, home.name)
    disks = list(request.disks)
    for number, names in found.disks:
        # An image's own is the first of the machine's, and none of those that were asked for.
        asked = number - (request.image is not None)
        if 0 <= asked < len(disks) and disks[asked].overlay is not Overlay.KEEP:
            disks[asked] = replace(disks[asked], path=_saved(home) / names[0])
    own = replace(request, disks=tuple(disks))
    made = definitions.order(replace(definition, request=own), home.name)
    return replace(made, spec=_over(made.spec, _saved(home), found))


def _located(home: Home, request: GuestRequest) -> GuestRequest:
    """Files that came along with a guest from another host are in its directory, wherever it is."""
    own = Path(home.path)
    return replace(
        request,
        # A path that is absolute stays what it is.
        kernel=None if request.kernel is None else own / request.kernel,
        initrds=tuple(own / initrd for initrd in request.initrds),
    )


def _saved(home: Home) -> Path:
    return Path(home.path) / files.SAVED


def sweep_overlays(home: Home) -> None:
    """What was written over what is no longer there, as far as it can be deleted: it has names that
    nobody uses again.
    """
    found = begun(home)
    own = os.path.join(home.path, files.OWN)
    with contextlib.suppress(OSError):
        for name in os.listdir(own):
            kept = found is not None and name.endswith(f"-{found.id}.qcow2")
            if name.endswith(".qcow2") and not kept:
                os.unlink(os.path.join(own, name))


def _over(spec: MachineSpec, saved: Path, found: Begun) -> MachineSpec:
    disks = list(spec.disks)
    for number, names in found.disks:
        if number < len(disks):
            disks[number] = _layered(disks[number], [saved / name for name in names])
    own = (
        replace(disk, overlay_path=Path(f"disk{number}-{found.id}.qcow2"))
        if disk.overlay is Overlay.KEEP and (disk.layers or disk.path.parent == saved)
        else disk
        for number, disk in enumerate(disks)
    )
    return replace(spec, disks=tuple(own))


def _layered(disk: DiskSpec, files: Sequence[Path]) -> DiskSpec:
    """What was written over an image goes over it again; what was no overlay, or is raw, is the
    image.
    """
    if disk.overlay is Overlay.KEEP and files[0].suffix != ".raw":
        return replace(disk, layers=tuple(files))
    first, *layers = files
    return replace(
        disk,
        path=first,
        format=DiskFormat(first.suffix.removeprefix(".")),
        overlay=Overlay.NONE if disk.read_only else Overlay.KEEP,
        layers=tuple(layers),
    )


def _sweep(home: Home) -> None:
    """What was prepared by halves, or was there before."""
    shutil.rmtree(os.path.join(home.path, _FRESH), ignore_errors=True)
