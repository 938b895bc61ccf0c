"""A guest whose console is the terminal that `inn` was started from, or a script's pipes."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Self

from innkeeper.errors import GuestNotRunning, InvalidInput
from innkeeper.guest.connection import agent_channel, vsock_ends
from innkeeper.guest.console_mode import ConsoleMode
from innkeeper.guest.warm import Start
from innkeeper.images.store import Image
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import terminal
from innkeeper.vm.apart import Apart, MachineApart
from innkeeper.vm.attended import Attention, attended
from innkeeper.vm.boot_log import BootLog
from innkeeper.vm.ending import GUEST_LOST, Ending
from innkeeper.vm.relay import Relay
from innkeeper.vm.wiring import Channel, Vsock, Wiring

DEVICES: Final = {ConsoleMode.SERIAL: "/dev/ttyS0", ConsoleMode.VIRTIO: "/dev/hvc0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleRun:
    """`timeout` in seconds. Without `jail`, the guest's process keeps all rights that it has. With
    `image`, the guest need not boot, and is called `hostname`.
    """

    mode: ConsoleMode
    timeout: float | None = None
    jail: bool = True
    image: Image | None = None
    hostname: str = ""


def run_shell(spec: MachineSpec, console: ConsoleRun) -> Ending:
    """Boots an image and gives its console a login shell; the guest ends with the shell."""
    with (
        Apart(jail=console.jail) as apart,
        Start(console.image, spec, console.hostname) as start,
        _Terminal(console.mode, start.console) as front,
        agent_channel() as (agent, port),
        vsock_ends(spec) as vsock,
    ):
        machine = front.machine(apart, spec, (port,), vsock, agent.disconnect, start)
        with attended(machine, console.timeout) as attention:
            try:
                start.ready(agent, machine, front.log)
                columns, rows = terminal.size()
                machine.control.resize_console(columns, rows)
                device = DEVICES.get(console.mode, "/dev/console")
                # The terminal is raw before there is a prompt: no key is taken for another's.
                with front.joined(machine, attention):
                    agent.console(device, os.environ.get("TERM", "linux"), columns, rows)
                    machine.wait()
            except GuestNotRunning:
                machine.wait()
            start.finish()
        ending = front.ending(machine, attention)
        if ending.status == 0 and not agent.was_ready and not attention.left:
            lost = "the guest ended before it had a shell"
            ending = replace(ending, status=GUEST_LOST, sentence=lost)
        told = attention.timed_out and agent.was_ready
    return ending if told else front.quoted(ending)


def run_kernel(spec: MachineSpec, console: ConsoleRun) -> Ending:
    """Runs a kernel that the user brought, until it ends by itself."""
    with (
        Apart(jail=console.jail) as apart,
        _Terminal(console.mode) as front,
        vsock_ends(spec) as vsock,
    ):
        machine = front.machine(apart, spec, (), vsock, lambda: None)
        with attended(machine, console.timeout) as attention, front.joined(machine, attention):
            machine.wait()
        return front.quoted(front.ending(machine, attention))


class _Terminal:
    """Standard input and output as a guest's console."""

    def __init__(self, mode: ConsoleMode, before: str = "") -> None:
        self._mode = mode
        self._interactive = terminal.is_interactive()
        self._relay: Relay | None = None
        if mode is not ConsoleMode.NONE and terminal.may_read(0):
            self._relay = Relay(0, self._leave)
        self._on_leave: Callable[[], None] = lambda: None
        shown = partial(terminal.write_all, 1) if mode is ConsoleMode.SERIAL else None
        self.log = BootLog(shown, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.log.finish()

    def machine(
        self,
        apart: Apart,
        spec: MachineSpec,
        ports: tuple[tuple[str, Channel], ...],
        vsock: Vsock | None,
        on_end: Callable[[], None],
        start: Start | None = None,
    ) -> MachineApart:
        typed = self._relay.read_end if self._relay else None
        serial = self._mode is ConsoleMode.SERIAL
        com1 = Channel(input=typed if serial else None, output=self.log.write_end)
        virtio = self._mode is ConsoleMode.VIRTIO
        # Guests that begin as each other have the same devices, whoever sits where.
        nobody = None if start is None else Channel()
        console = Channel(input=typed, output=1) if virtio else nobody
        try:
            with _firmware_log(spec) as log:
                wiring = Wiring(
                    com1=com1, console=console, ports=ports, vsock=vsock, firmware_log=log
                )
                if start is None:
                    return apart.machine(spec, wiring, on_end)
                return apart.machine(spec, wiring, on_end, warm=start.warm)
        finally:
            self.log.close_writer()
            if self._relay:
                self._relay.close()

    @contextlib.contextmanager
    def joined(self, machine: MachineApart, attention: Attention) -> Iterator[None]:
        """What is typed reaches the guest within this block; Ctrl-] ends the guest."""

        def leave() -> None:
            attention.left = True
            machine.control.stop()

        self._on_leave = leave
        with contextlib.ExitStack() as stack:
            if self._interactive and self._relay:
                stack.enter_context(terminal.raw_mode(0))
                stack.enter_context(terminal.on_resize(machine.control.resize_console))
            if self._relay:
                self._relay.start()
            yield

    def ending(self, machine: MachineApart, attention: Attention) -> Ending:
        self.log.finish()
        ending = attention.ending(machine, log_says_panic=self.log.panicked)
        return ending.counting(machine.statistics)

    def quoted(self, ending: Ending) -> Ending:
        """With the console's last words, where nobody has seen them."""
        hidden = self._mode is not ConsoleMode.SERIAL
        return ending.quoting(self.log.last_words()) if hidden else ending

    def _leave(self) -> None:
        self._on_leave()


@contextlib.contextmanager
def _firmware_log(spec: MachineSpec) -> Iterator[int | None]:
    """
    Raises:
        InvalidInput: when the file that the user named cannot be written.
    """
    if spec.firmware is None or spec.firmware.log is None:
        yield None
        return
    path = spec.firmware.log
    try:
        file = path.open("wb")
    except OSError as error:
        raise InvalidInput(f"cannot write to {path}: {error.strerror}") from error
    with file:
        yield file.fileno()
