"""Starts that are kept (innkeeper.images.warm): made before somebody needs them, listed, removed,
and used by guests that stay.
"""

import contextlib
import shutil
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from innkeeper.errors import HostFailure, InnkeeperError, InvalidInput, NotFound
from innkeeper.images import Image, Report, Store, check_name, ensure, machine_spec
from innkeeper.images.warm import Found, KeptStart, WarmStarts, wanted
from innkeeper.machine.spec import MachineSpec, Overlay
from innkeeper.services import beginnings
from innkeeper.services import definition as definitions
from innkeeper.services.beginnings import Current
from innkeeper.services.request import GuestRequest, check, host_name, image_boot
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStart:
    """A start that is kept, and what it takes on the disk, in bytes."""

    kept: KeptStart
    size: int


def listed() -> list[ListedStart]:
    """The one that was used last comes first."""
    starts = WarmStarts(Store())
    return [ListedStart(kept=kept, size=starts.size(kept.key)) for kept in starts.all()]


def make(request: GuestRequest, report: Report, *, stays: bool) -> ListedStart:
    """Boots such a guest once, where no start of its kind is kept: as one that is attended to, or
    one that `stays`.

    Raises:
        InvalidInput: when guests like it have to boot, each for itself.
        ImageBuildFailed, HostFailure, EngineUnavailable.
    """
    check(request)
    assert request.image is not None
    check_name(request.image)
    name = request.name or host_name(request.image)
    store = Store()
    image = ensure(store, request.image, report)
    asked = request if stays else replace(request, vsock=None)
    spec = machine_spec(image, image_boot(asked, name))
    like = wanted(image, spec, name)
    if like is None:
        raise InvalidInput("a guest like this has to boot: see docs/guides/warm-starts.md")
    _boot_once(image, spec, name)
    for start in listed():
        if start.kept.key == like.key:
            return start
    raise HostFailure("the start could not be kept: somebody else makes one, or the disk is full")


def remove(names: list[str]) -> list[str]:
    """Removes starts, by the beginning of their keys or by their image; the keys.

    Raises:
        NotFound: when nothing is called that.
    """
    starts = WarmStarts(Store())
    gone = []
    for name in names:
        found = [kept for kept in starts.all() if name == kept.image or kept.key.startswith(name)]
        if not found:
            raise NotFound(f"no start {name!r} is kept; inn image warm ls lists them")
        gone += [kept.key for kept in found if starts.remove(kept.key, patiently=True)]
    return gone


def remove_all() -> list[str]:
    starts = WarmStarts(Store())
    return [kept.key for kept in starts.all() if starts.remove(kept.key, patiently=True)]


def prepare(home: Home) -> bool:
    """Whether a guest that stays, and never ran, is to be started as one that goes on. Where none
    like it has booted, one does, which leaves what this one begins as.

    Raises:
        InvalidInput, HostFailure, EngineUnavailable: as `definitions.order`.
    """
    definition = definitions.read(home)
    request = definition.request
    if request.image is None or request.cold:
        return False
    image = Store().kept_image(home.name, request.image)
    spec = definitions.order(definition, home.name).spec
    like = None if image is None else wanted(image, spec, home.name)
    if image is None or like is None:
        return False
    starts = WarmStarts(Store())
    with starts.found(like) as found:
        if found is not None:
            return _begin_as(home, found, like)
    root, *_ = spec.disks
    disks = (replace(root, overlay=Overlay.TEMPORARY, overlay_path=None),)
    # Whatever goes wrong there, the guest itself will say.
    with contextlib.suppress(InnkeeperError):
        _boot_once(image, replace(spec, disks=disks), home.name)
    with starts.found(like) as found:
        return found is not None and _begin_as(home, found, like)


def undo(home: Home) -> None:
    """The guest is to boot after all."""
    shutil.rmtree(Path(home.path) / files.SAVED, ignore_errors=True)


def forget(home: Home) -> None:
    """The guest could not go on as what it was prepared for, nor can another."""
    with contextlib.suppress(InnkeeperError):
        definition = definitions.read(home)
        image = Store().kept_image(home.name, definition.request.image or "")
        spec = definitions.order(definition, home.name).spec
        if image is not None and (like := wanted(image, spec, home.name)) is not None:
            WarmStarts(Store()).remove(like.key)


def _begin_as(home: Home, found: Found, like: KeptStart) -> bool:
    from innkeeper.guest.warm import cards

    pairs = [(old.hex(), new.hex()) for old, new in cards(found.kept, like)]
    identity = {"hostname": like.hostname, "cards": pairs}
    record = uuid.uuid4().hex
    try:
        beginnings.prepare(home, found.directory, record=record, identity=identity)
        beginnings.set_current(home, Current(id=record, place=files.SAVED))
        home.make_own()
        # The guest's process goes on behind it.
        home.write_bytes(files.LOG, found.console.encode(errors="replace"))
    except (HostFailure, OSError):
        # It may lie on another file system.
        shutil.rmtree(Path(home.path) / files.SAVED, ignore_errors=True)
        return False
    return True


def _boot_once(image: Image, spec: MachineSpec, name: str) -> None:
    # What runs machines is loaded where one is run: nearly always, there is a start.
    from innkeeper.guest.command import boot_once

    network = spec.network and replace(spec.network, ports=())
    boot_once(replace(spec, network=network), image, name)
