"""Makes a guest of a backup.

All of it is written and checked beside the guests first. Then the guest appears whole; one that it
replaces is renamed before and removed afterwards: whatever goes wrong, one of them is there.
"""

import contextlib
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from innkeeper.errors import HostFailure, InnkeeperError, InvalidInput, NameInUse
from innkeeper.images import Store
from innkeeper.images.store import Image
from innkeeper.machine import Shares, VsockSpec, unheard, without_paper
from innkeeper.machine.tpm import PERMANENT
from innkeeper.services import beginnings, forks
from innkeeper.services.backups import content, repository
from innkeeper.services.backups.content import Progress
from innkeeper.services.backups.manifest import BESIDE, Backup, Consistency, StoredFile
from innkeeper.services.backups.repository import Repository
from innkeeper.services.beginnings import Current
from innkeeper.services.control import kill_processes
from innkeeper.services.definition import Definition, RestartPolicy
from innkeeper.services.lifecycle import AlreadyRunning, remove, start
from innkeeper.services.request import GuestRequest
from innkeeper.services.snapshots import revived
from innkeeper.vm import inside, scratch
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal, savings
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import check_name, registry

_PLACE: Final = "restoring"


def restore(
    path: Path,
    passphrase: str,
    which: str,
    *,
    name: str | None = None,
    force: bool = False,
    begin: bool = False,
    cold: bool = False,
    progress: Progress = lambda _: None,
    waiting: Callable[[], None] = lambda: None,
) -> str:
    """Makes a guest of the backup `which`, or of the newest of a guest; its name. With `force`, in
    place of one that is called so, which is ended. One that was saved with its memory goes on,
    unless it is to be `cold`; others are started with `begin`.

    Raises:
        BackupNotFound, BackupDamaged, NameInUse, InvalidInput, HostFailure.
    """
    with repository.opened(path, passphrase, waiting=waiting) as found:
        backup = found.find(which)
        return put_back(
            found,
            backup,
            Wanted(name=name or backup.guest, force=force, begin=begin, cold=cold),
            progress,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What becomes of a backup: a guest as it was, or one that is only looked at once and cannot
    meet anybody on a network.
    """

    name: str
    force: bool = False
    begin: bool = False
    cold: bool = False
    throw_away: bool = False


def put_back(found: Repository, backup: Backup, wanted: Wanted, progress: Progress) -> str:
    """As `restore`, of a repository that is open."""
    check_name(wanted.name)
    taken = wanted.name in registry().names()
    if taken and not wanted.force:
        raise NameInUse(
            f"there is a guest {wanted.name!r} already; --force replaces it, --name restores beside"
        )
    _check_paths(backup, _definition(backup, wanted).request)
    store = Store()
    lacks_image = backup.digest is not None and store.by_digest(backup.digest) is None
    if lacks_image and not backup.image_files:
        raise InvalidInput(f"the image {backup.digest} of {backup.name} is neither here nor in it")
    memory = backup.consistency is Consistency.MEMORY and not wanted.cold
    with scratch.place(store.directory / _PLACE) as place:
        saved = _directory(place / "saved")
        kept = [file for file in backup.files if memory or not savings.is_memory(file.name)]
        _load(found, kept, saved, progress)
        beside = _directory(place / "beside")
        _load(found, backup.beside, beside, progress)
        image_place = _directory(place / "image")
        if lacks_image:
            _load(found, backup.image_files, image_place, progress)
        with _replacing(wanted.name, taken=taken):
            _appear(backup, wanted, store, saved, beside, image_place)
    with registry().open(wanted.name) as home:
        journal.tell(home, "restore", name=backup.name)
    if memory:
        start(wanted.name, lambda fresh: revived(backup.order, fresh))
    elif wanted.begin:
        start(wanted.name)
    return wanted.name


def _appear(
    backup: Backup, wanted: Wanted, store: Store, saved: Path, beside: Path, image_place: Path
) -> None:
    definition = _definition(backup, wanted)
    has_memory = savings.STATE in os.listdir(saved)
    identity: dict[str, Any] | None = None
    if wanted.name != backup.guest:
        identity = forks.identity(backup.order, wanted.name)

    def fill(home: Home) -> None:
        if image is not None:
            store.hold_image(Path(home.path), image)
        for name in BESIDE.keys() & os.listdir(beside):
            home.make_own()
            if name == PERMANENT:
                os.mkdir(files.TPM, 0o700, dir_fd=home.directory)
            os.link(beside / name, BESIDE[name], dst_dir_fd=home.directory)
        with _opened(saved) as source:
            beginnings.prepare(home, source, record=backup.id, identity=identity)
        if has_memory:
            beginnings.set_current(home, Current(id=backup.id, place=files.SAVED))
        definition.write(home)

    # No image is swept meanwhile.
    with store.locked():
        image = _image(backup, store, image_place)
        registry().create(wanted.name, fill)


def _image(backup: Backup, store: Store, place: Path) -> Image | None:
    if backup.digest is None:
        return None
    found = store.by_digest(backup.digest)
    if found is None:
        try:
            found = store.adopt(place)
        except OSError as error:
            raise HostFailure(f"cannot put back the image of {backup.name}: {error}") from error
        if found.digest != backup.digest:
            raise HostFailure(f"the image of {backup.name} is not {backup.digest}")
    return found


def _definition(backup: Backup, wanted: Wanted) -> Definition:
    was = backup.definition
    request = replace(was.request, name=wanted.name)
    if wanted.throw_away:
        request = replace(request, network=None, folders=(), command=(), shares=Shares())
        was = replace(was, restart=RestartPolicy.NO, autostart=False)
    if wanted.name != backup.guest:
        # Another guest, beside the one that was saved: with an address of its own.
        network = request.network and replace(request.network, mac="")
        vsock = None if request.vsock is None else VsockSpec()
        request = replace(
            request,
            network=network,
            vsock=vsock,
            sound=unheard(request.sound),
            parallel=without_paper(request.parallel),
        )
        return replace(was, id=str(uuid.uuid4()), created=time.time(), request=request)
    return replace(was, request=request)


def _check_paths(backup: Backup, request: GuestRequest) -> None:
    """Files of the host that the guest needs and that no backup has.

    Raises:
        InvalidInput: naming the first that is not here.
    """
    needed = [request.kernel, *request.initrds, *(folder.path for folder in request.folders)]
    if request.firmware is not None:
        firmware = request.firmware
        needed += [firmware.image, firmware.variables, firmware.cdrom, firmware.floppy]
    saved = savings.disks(file.name for file in backup.files)
    if request.network is not None:
        needed.append(request.network.tftp)
    # An image's own disk is the first.
    first = 0 if request.image is None else 1
    needed += [
        disk.path
        for number, disk in enumerate(request.disks, first)
        if number not in saved and disk.nbd is None and not disk.gone
    ]
    for path in needed:
        if path is not None and not path.exists():
            raise InvalidInput(f"the guest needs {path}, which is not here and in no backup")


def _load(
    found: Repository, stored: Sequence[StoredFile], directory: Path, progress: Progress
) -> None:
    for file in stored:
        try:
            with _opened(directory) as place:
                fd = inside.create(place, Path(file.name).name)
            try:
                content.load(found, file, fd, progress)
            finally:
                os.close(fd)
        except OSError as error:
            raise HostFailure(f"cannot write {directory / file.name}: {error.strerror}") from error


@contextlib.contextmanager
def _replacing(name: str, *, taken: bool) -> Iterator[None]:
    """While the guest of that name, if there is one, is called otherwise."""
    if not taken:
        yield
        return
    guests = registry()
    aside = f"{name[:50]}-was-{secrets.token_hex(4)}"
    with guests.open(name) as home:
        if home.is_taken():
            kill_processes(home)
    guests.rename(name, aside)
    try:
        yield
    except BaseException:
        with contextlib.suppress(InnkeeperError):
            guests.rename(aside, name)
        raise
    with contextlib.suppress(AlreadyRunning):
        remove(aside, force=True)


def _directory(path: Path) -> Path:
    try:
        path.mkdir(0o700)
    except OSError as error:
        raise HostFailure(f"cannot make {path}: {error.strerror}") from error
    return path


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, inside.DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
