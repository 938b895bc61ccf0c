"""Guests that stay: make one, start it, remove it.

Each step holds what it needs and no more: a name is the registry's, a run belongs to who has the
guest's lock.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from innkeeper.errors import (
    GuestNotFound,
    HostFailure,
    InnkeeperError,
    NameInUse,
)
from innkeeper.images import Report, Store, check_name, ensure
from innkeeper.images import check as check_boot
from innkeeper.machine.spec import require_start
from innkeeper.services import admission, beginnings, certificates, seeds, warm
from innkeeper.services import definition as definitions
from innkeeper.services.containers import settled
from innkeeper.services.control import GRACE, await_release, kill_processes, stop
from innkeeper.services.definition import Definition, RestartPolicy
from innkeeper.services.migration import fence
from innkeeper.services.request import GuestRequest, check, command_of, host_name, image_boot
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal, share
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.launch import launch
from innkeeper.vm.detached.registry import check_name as check_guest_name
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.order import Order

_MODULE: Final = "innkeeper.guest.detached"


class AlreadyRunning(InnkeeperError):
    """The guest runs, and what was asked for needs one that does not."""

    code = "already_running"


def create(
    request: GuestRequest,
    report: Report,
    *,
    restart: RestartPolicy = RestartPolicy.NO,
    autostart: bool = False,
) -> str:
    """Makes a guest that does not run yet; its name. An image is built first when it is missing.

    Raises:
        InvalidInput, NameInUse, ImageBuildFailed, HostFailure.
    """
    check(request)
    if request.kernel is not None:
        # Of a guest that comes from another host it is looked for when it has come.
        require_start(request.kernel, request.initrds)
    request = settled(request, report)
    made = definitions.new(request, restart, autostart=autostart)
    name = request.name or _free_name(host_name(request.image or "kernel"))
    check_guest_name(name)
    seeds.check(request, name)
    if request.image is None:
        registry().create(name, lambda home: _write(made, home, name))
    else:
        _create_of_image(made, request.image, name, report)
    with registry().open(name) as home:
        journal.tell(home, "create", image=request.image)
    return name


def _create_of_image(made: Definition, image_name: str, name: str, report: Report) -> None:
    check_name(image_name)
    check_boot(image_boot(made.request, name))
    # Before an image is built for nothing; whether the name is still free then, is asked again.
    if name in registry().names():
        raise NameInUse(f"there is a guest {name!r} already; inn rm {name} removes it")
    store = Store()
    image = ensure(store, image_name, report)
    command_of(made.request, image)

    def fill(home: Home) -> None:
        store.hold_image(Path(home.path), image)
        _write(replace(made, digest=image.digest), home, name)

    # No image is swept meanwhile.
    with store.locked():
        registry().create(name, fill)


def _write(made: Definition, home: Home, name: str) -> None:
    if made.request.seed is not None:
        seeds.write(home, made.request.seed, name)
    made.write(home)


def run(request: GuestRequest, report: Report, restart: RestartPolicy, *, autostart: bool) -> str:
    """`create` and `start`; a guest that cannot be started is not there afterwards. One like which
    another has booted need not boot.
    """
    name = create(request, report, restart=restart, autostart=autostart)
    try:
        _start_new(name)
    except BaseException:
        with contextlib.suppress(InnkeeperError):
            remove(name, force=True)
        raise
    return name


def _start_new(name: str) -> None:
    with registry().open(name) as home:
        if not warm.prepare(home):
            start(name)
            return
        try:
            start(name, lambda fresh: fresh)
        except InnkeeperError:
            warm.undo(home)
            # What fails here as well was not the fault of what it was to begin as: that stays.
            start(name)
            warm.forget(home)


def start(name: str, revive: Callable[[Order], Order] | None = None) -> None:
    """Starts a guest, and returns once its processors run. With `revive`, which is given what its
    run would be made of, it goes on as what it was saved as (innkeeper.services.beginnings).

    Raises:
        GuestNotFound, AlreadyRunning, InvalidInput, EngineUnavailable, HostFailure, DeviceFailed.
    """
    with registry().open(name) as home:
        try:
            _start(home, revive)
        except AlreadyRunning:
            raise
        except InnkeeperError:
            # Whoever tries again at once shall not meet what is left of this.
            await_release(home)
            raise


def _start(home: Home, revive: Callable[[Order], Order] | None) -> None:
    name = home.name
    with locked(home) as lock, _admitted(home, name) as definition:
        fence.check(home)
        if revive is None and not files.came_whole(home):
            raise HostFailure(
                f"the guest {name!r} was to come from another host and never came whole: "
                f"inn rm {name} removes what is here of it"
            )
        order = beginnings.order(home, definition)
        if revive is not None:
            order = revive(order)
        else:
            beginnings.forget_memory(home)
        certificates.ensure(home, order.spec.screen)
        order.write(home)
        for left in (files.RUN, files.SUPERVISOR, *files.SOCKETS):
            home.remove(left)
        share.forget(home)
        launch(home, lock, _MODULE)


@contextlib.contextmanager
def _admitted(home: Home, name: str) -> Iterator[Definition]:
    """What the guest is, for which the host has what it was promised, as long as the block lasts.

    Raises:
        InvalidInput, HostFailure: as `admission.admitted`.
    """
    while True:
        definition = definitions.read(home)
        with admission.admitted(name, definition.request.shares):
            # Somebody may have changed it while this was waited for.
            if definitions.read(home) == definition:
                yield definition
                return


def restart(name: str, grace: float = GRACE) -> None:
    """`stop` and `start`."""
    stop(name, grace)
    start(name)


def remove(name: str, *, force: bool = False) -> None:
    """Removes a guest with all that it has written. One that runs is ended first, with `force`.

    Raises:
        GuestNotFound, AlreadyRunning, HostFailure.
    """
    guests = registry()
    with guests.open(name) as home:
        if force and home.is_taken():
            kill_processes(home)
        with locked(home):
            try:
                share.forget(home)
            except OSError as error:
                raise HostFailure(f"cannot remove the guest {name!r}: {error.strerror}") from error
            journal.tell(home, "remove")
            guests.remove(home)
    store = Store()
    with store.locked():
        store.sweep_images()


def autostarted() -> list[str]:
    """The guests that were made to be started with the host, and do not run."""
    found = []
    for name in registry().names():
        with contextlib.suppress(GuestNotFound), registry().open(name) as home:
            document = home.read(files.DEFINITION) or {}
            here = home.read(files.MOVED) is None and files.came_whole(home)
            if document.get("autostart") is True and here and not home.is_taken():
                found.append(name)
    return found


@contextlib.contextmanager
def locked(home: Home) -> Iterator[int]:
    """The guest's lock: nobody runs it, and nobody can begin to.

    Raises:
        AlreadyRunning: when somebody has it.
    """
    try:
        lock = home.take()
    except OSError as error:
        raise HostFailure(f"cannot lock {home.path}: {error.strerror}") from error
    if lock is None:
        raise AlreadyRunning(f"the guest {home.name!r} is running; inn stop {home.name} ends it")
    try:
        yield lock
    finally:
        files.release(lock)


def _free_name(stem: str) -> str:
    """`stem` with something behind it that no other guest has."""
    # Room for it in a name's 63 characters.
    return f"{stem[:56]}-{secrets.token_hex(3)}"
