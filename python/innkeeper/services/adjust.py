"""Changes of a guest's share of its host, while it runs and for all runs that follow."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from innkeeper.errors import GuestNotRunning, HostFailure, InnkeeperError
from innkeeper.machine import firewall
from innkeeper.machine.limits import written
from innkeeper.services import admission, beginnings
from innkeeper.services import definition as definitions
from innkeeper.services.definition import Definition
from innkeeper.services.request import GuestRequest
from innkeeper.services.request import check as check_request
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal, promises, share, standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client

_EVERYWHERE: Final = range(os.cpu_count() or 1)


def adjust(name: str, change: Callable[[GuestRequest], GuestRequest]) -> None:
    """`change` makes what the guest shall be of what it is.

    Raises:
        GuestNotFound, InvalidInput; HostFailure: when it cannot be changed while it runs.
    """
    with registry().open(name) as home, _alone(home):
        old = definitions.read(home)
        new = replace(old, request=change(old.request))
        check_request(new.request)
        if _write_at_rest(home, new):
            return
        with _admitted(name, old, new):
            _write_running(home, new)
        # Whoever else wants something promised does not wait for what this guest's process says.
        try:
            with contextlib.suppress(GuestNotRunning):
                _apply(home, old.request, new)
        except InnkeeperError:
            _write_running(home, _taken_back(old, new))
            raise
        journal.tell(home, "set")


def _write_at_rest(home: Home, definition: Definition) -> bool:
    """Of a guest that does not run, and does not begin to meanwhile: what it wants is looked at
    when it starts. Whether it is one.
    """
    try:
        lock = home.take()
    except OSError as error:
        raise HostFailure(f"cannot lock {home.path}: {error.strerror}") from error
    if lock is None:
        return False
    try:
        definition.write(home)
        journal.tell(home, "set")
    finally:
        files.release(lock)
    return True


def _write_running(home: Home, definition: Definition) -> None:
    definition.write(home)
    # What its parent starts again is what it is now.
    beginnings.order(home, definition).write(home)


def _admitted(
    name: str, old: Definition, new: Definition
) -> contextlib.AbstractContextManager[None]:
    """What stays as it was has been looked at when it came to be."""
    if new.request.shares == old.request.shares:
        return contextlib.nullcontext()
    return admission.admitted(name, new.request.shares)


def _taken_back(old: Definition, new: Definition) -> Definition:
    """`old`, but for what it was promised beyond `new`: others may have been promised that."""
    shares = old.request.shares
    shares = replace(shares, memory=min(shares.memory, new.request.shares.memory))
    return replace(old, request=replace(old.request, shares=shares))


def _apply(home: Home, before: GuestRequest, definition: Definition) -> None:
    """
    Raises:
        GuestNotRunning: when it has ended meanwhile.
        HostFailure: when the host refuses.
        CommandRefused: when it can change only when it starts anew.
    """
    process = standing.process_of(home)
    if process is None:
        return
    request = definition.request
    if request.network is not None and request.network != before.network:
        with Client(home) as client:
            client.execute("x-set-firewall", **firewall.written(request.network.firewall))
    shares, limits = request.shares, request.limits
    try:
        document = share.settle(
            definition.id,
            process[0],
            limits.cpu,
            shares.cpu,
            shares.cpuset or _EVERYWHERE,
            share.group_of(home),
        )
        document = share.promise(document, definition.id, process[0], shares.memory, request.memory)
        promises.change(definition.id, shares.memory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostFailure(f"cannot give {home.name!r} its share: {error.strerror}") from error
    home.write(files.SHARE, document)
    own = replace(limits, cpu=None) if document["limits_cpu"] is True else limits
    with Client(home) as client:
        client.execute("x-set-limits", **written(own))
        if request.memory != before.memory:
            client.execute("x-set-memory", size=request.memory)
        if request.vcpus != before.vcpus:
            client.execute("x-set-cpus", count=request.vcpus)


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """While nobody else changes what the guest is."""
    fcntl.flock(home.directory, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(home.directory, fcntl.LOCK_UN)
