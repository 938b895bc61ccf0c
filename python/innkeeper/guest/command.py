"""One command in a guest, its streams joined to those of this process."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from innkeeper.errors import CommandNotStarted, GuestNotRunning
from innkeeper.guest.agent import Agent
from innkeeper.guest.connection import agent_channel, vsock_ends
from innkeeper.guest.frames import Exec
from innkeeper.guest.streams import not_started, run_joined
from innkeeper.guest.surroundings import joined
from innkeeper.guest.warm import Start
from innkeeper.images.store import Image
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import terminal
from innkeeper.vm.apart import Apart
from innkeeper.vm.attended import Attention, attended
from innkeeper.vm.boot_log import BootLog
from innkeeper.vm.ending import GUEST_LOST, Ending
from innkeeper.vm.surroundings import Surroundings
from innkeeper.vm.wiring import Channel, Wiring

# A guest that keeps its disk gets this long to write it and power off.
_POWER_OFF_PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRun:
    """`kept`: the guest powers off in order, so that its disk is complete. `timeout` in seconds.
    Without `jail`, the guest's process keeps all rights that it has. With `image`, the guest need
    not boot, and is called `hostname`.
    """

    argv: tuple[str, ...]
    surroundings: Surroundings = field(default=Surroundings())
    terminal: bool = False
    kept: bool = False
    boot_messages: bool = False
    timeout: float | None = None
    jail: bool = True
    image: Image | None = None
    hostname: str = ""


def run_command(spec: MachineSpec, command: CommandRun) -> Ending:
    """Boots `spec`, runs the command as root, ends the guest.

    Raises:
        InvalidInput, EngineUnavailable, HostFailure, DeviceFailed: the guest could not be run.
    """
    with (
        Apart(jail=command.jail) as apart,
        agent_channel() as (agent, port),
        vsock_ends(spec) as vsock,
        Start(command.image, spec, command.hostname) as start,
    ):
        echo = partial(terminal.write_all, 2) if command.boot_messages else None
        log = BootLog(echo, start.console)
        # Nobody sits at its console; but guests that begin as each other have the same devices.
        wiring = Wiring(
            com1=Channel(output=log.write_end), console=Channel(), ports=(port,), vsock=vsock
        )
        try:
            machine = apart.machine(spec, wiring, agent.disconnect, warm=start.warm)
        finally:
            log.close_writer()
        with attended(machine, command.timeout) as attention:
            ending = _execute(agent, command, attention, lambda: start.ready(agent, machine, log))
            start.finish()
            if ending is not None and command.kept:
                agent.power_off()
                machine.wait(_POWER_OFF_PATIENCE)
        log.finish()
        outside = attention.ending(machine, log_says_panic=log.panicked)
    outside = outside.counting(machine.statistics)
    if attention.caught.number is None and not attention.timed_out and ending is not None:
        return ending.counting(machine.statistics)
    if outside.status == 0 and not agent.was_ready:
        lost = "the guest ended before it could run a command"
        outside = replace(outside, status=GUEST_LOST, sentence=lost)
    # A guest whose time is up once it runs the command has nothing to say of that on its console.
    if command.boot_messages or (attention.timed_out and agent.was_ready):
        return outside
    return outside.quoting(log.last_words())


def boot_once(spec: MachineSpec, image: Image, hostname: str) -> None:
    """Boots `spec`, where no guest like it has booted, for those that then need not. A signal that
    ends it is this process's own afterwards.

    Raises:
        As `run_command`.
    """
    with (
        Apart() as apart,
        agent_channel() as (agent, port),
        vsock_ends(spec, silent=True) as vsock,
        Start(image, spec, hostname) as start,
    ):
        if not start.is_kept:
            return
        log = BootLog()
        wiring = Wiring(
            com1=Channel(output=log.write_end), console=Channel(), ports=(port,), vsock=vsock
        )
        try:
            machine = apart.machine(spec, wiring, agent.disconnect)
        finally:
            log.close_writer()
        with attended(machine, None) as attention, contextlib.suppress(GuestNotRunning):
            start.ready(agent, machine, log)
            start.finish()
    if attention.caught.number is not None:
        signal.raise_signal(attention.caught.number)


def _execute(
    agent: Agent, command: CommandRun, attention: Attention, wait_ready: Callable[[], None]
) -> Ending | None:
    """The command's ending, or nothing when the guest ended first."""
    size = terminal.size() if command.terminal else None
    env = {"TERM": os.environ.get("TERM", "linux")} if command.terminal else {}
    try:
        wait_ready()
        order = joined(Exec(argv=command.argv, env=env, terminal=size), command.surroundings)
        return Ending(run_joined(agent, order, leave=attention.leave).returncode)
    except CommandNotStarted as error:
        return not_started(command.argv, error)
    except GuestNotRunning:
        return None
