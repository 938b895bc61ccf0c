"""Guests: boot one and stay with it until it ends."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from innkeeper.errors import InvalidInput, NameInUse
from innkeeper.guest.command import CommandRun, run_command
from innkeeper.guest.console import ConsoleRun, run_kernel, run_shell
from innkeeper.guest.console_mode import ConsoleMode
from innkeeper.images import Report, Store, check_name, ensure, machine_spec, surroundings_of
from innkeeper.images import check as check_boot
from innkeeper.services import admission, seeds
from innkeeper.services.containers import settled
from innkeeper.services.request import (
    GuestRequest,
    check,
    command_of,
    host_name,
    image_boot,
    own_kernel_spec,
)
from innkeeper.vm.detached import share
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.ending import Ending
from innkeeper.vm.terminal import is_interactive

LOGIN_SHELL: Final = ("/bin/bash", "--login")


def run(request: GuestRequest, report: Report) -> Ending:
    """Runs the guest to its end; `report` hears of an image that has to be built first.

    Raises:
        InvalidInput, EngineUnavailable, ImageBuildFailed, HostFailure, DeviceFailed.
    """
    check(request)
    request = settled(request, report)
    if request.vsock is not None and request.vsock.path is None:
        # Nobody could find its socket.
        request = replace(request, vsock=None)
    if request.shares.memory:
        raise InvalidInput("--memory-min is for a guest that --detach lets stay")
    with (
        admission.admitted(request.name or "", request.shares),
        _share(request) as kept,
        seeds.attended(kept, request.name or host_name(request.image or "kernel")) as seeded,
    ):
        return _run(seeded, report)


@contextlib.contextmanager
def _share(request: GuestRequest) -> Iterator[GuestRequest]:
    """What is left to be done by the guest's machine, while this process keeps to the rest."""
    limits, shares = request.limits, request.shares
    with share.held(limits.cpu, shares.cpu, shares.cpuset) as limited:
        kept = replace(limits, cpu=None) if limited else limits
        yield replace(request, limits=kept)


def _run(request: GuestRequest, report: Report) -> Ending:
    if request.image is not None:
        return _run_image(request, request.image, report)
    mode = request.console or ConsoleMode.SERIAL
    return run_kernel(
        own_kernel_spec(request), ConsoleRun(mode=mode, timeout=request.timeout, jail=request.jail)
    )


def _run_image(request: GuestRequest, name: str, report: Report) -> Ending:
    store = Store()
    check_name(name)
    guest = host_name(name) if request.name is None else request.name
    boot = image_boot(request, guest)
    check_boot(boot)
    if request.keep and guest in registry().names():
        raise NameInUse(f"the guest {guest!r} stays, and has its disk: inn start {guest} runs it")
    kept = store.kept_image(guest, name) if request.keep else None
    image = kept or ensure(store, name, report)
    if request.keep:
        boot = replace(boot, kept=store.kept_guest(guest, image))
    spec = machine_spec(image, boot)
    # Who wants to see it boot, or keeps its disk, gets a guest that boots.
    boots = request.cold or request.keep or request.console is ConsoleMode.SERIAL
    begun = None if boots else image
    # A script has no use for a terminal's echo and prompts: it gets a shell on plain pipes.
    argv = command_of(request, image)
    if (request.console and not request.command) or (not argv and is_interactive()):
        mode = request.console or ConsoleMode.VIRTIO
        run = ConsoleRun(
            mode=mode, timeout=request.timeout, jail=request.jail, image=begun, hostname=guest
        )
        return run_shell(spec, run)
    command = CommandRun(
        argv=argv or LOGIN_SHELL,
        surroundings=surroundings_of(image),
        # What a container's image runs by itself is more often a shell than not.
        terminal=request.terminal or (not request.command and is_interactive()),
        kept=request.keep,
        boot_messages=request.console is ConsoleMode.SERIAL,
        timeout=request.timeout,
        jail=request.jail,
        image=begun,
        hostname=guest,
    )
    return run_command(spec, command)
