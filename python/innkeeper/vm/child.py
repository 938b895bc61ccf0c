"""The process of one guest that somebody waits for: a fork of its owner (innkeeper.vm.apart), or
what `innkeeper.vm.process` starts with one argument, FD.

FD is a socket to the process that wants the guest. It sends one pickled `Order`, hears in a line of
JSON whether the machine could be made, and sends then one byte for each request, with a descriptor
for the answer where there is one; we answer with one more line when the guest has ended. When the
socket closes, nobody wants the guest any more, however its owner came to its end.

Between the order and the machine, this process goes into its jail (innkeeper.vm.jail).
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import DeviceFailed, InnkeeperError
from innkeeper.machine.firmware import prepare_variables
from innkeeper.machine.spec import MachineSpec
from innkeeper.machine.tpm import DIRECTORY
from innkeeper.vm import first, jail, tpm
from innkeeper.vm.bridge import Plug
from innkeeper.vm.changes import Change, Changes
from innkeeper.vm.record import Records
from innkeeper.vm.running import RunningMachine
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.warm import RecordFiles, WarmStart
from innkeeper.vm.wiring import Wiring

LENGTH: Final = struct.Struct("<I")
SIZE: Final = struct.Struct("<HH")  # columns and rows, behind RESIZE
GO: Final = b"g"
STOP: Final = b"s"
POWER_BUTTON: Final = b"p"
STATISTICS: Final = b"t"
RESIZE: Final = b"r"
RECORD: Final = b"w"  # with the descriptors of `RecordFiles`
# Behind it a pickled `Change`; with the descriptor for the answer. Those of its files come before,
# in as many messages as they need.
CHANGE: Final = b"c"
FILES: Final = b"f"
# One message has up to 253 descriptors (SCM_MAX_FD of Linux).
MOST_FILES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run. The descriptors in `wiring` are this process's. From the owner, so trusted.

    `own` is a directory that the process may write to. The machine begins as `warm`, or boots where
    it cannot.
    """

    spec: MachineSpec
    wiring: Wiring
    jail: bool
    own: Path
    warm: WarmStart | None = None


def main(argv: list[str]) -> int:
    owner = socket.socket(fileno=int(argv[1]))
    os.set_inheritable(owner.fileno(), False)  # noqa: FBT003 - the one argument it has
    serve(owner, _inherited)
    return 0


def serve(owner: socket.socket, arrive: Callable[[socket.socket], Order]) -> None:
    """Runs the guest that `owner` orders, to its end. `arrive` receives the order."""
    # Ctrl-C is for the owner, who then ends us; a terminal sends it to both.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    # What the owner does at this one, since it was forked, is not ours to do: this just ends.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    order = arrive(owner)
    records = Records()
    try:
        parent = first.become_first(order.spec) if order.jail else first.Parent()
        machine = _made(order, parent)
        _close(order)
        _tell(owner, {"made": True, "pid": first.number()})
        if receive(owner, 1) != GO:
            os._exit(1)
        machine.start()
        changes = Changes(machine.control, order.spec, locked_in=order.jail)
        ours = (machine, owner, records, changes)
        threading.Thread(target=_obey, args=ours, daemon=True).start()
        machine.wait()
        kind, code, what = machine.outcome
    except InnkeeperError as error:
        details = error.details if isinstance(error, DeviceFailed) else ""
        _tell(owner, {"error": error.code, "message": str(error), "details": details})
        return
    told = machine.statistics and machine.statistics.as_dict()
    _tell(owner, {"kind": kind, "code": code, "what": what, "statistics": told})
    records.wait()


def _inherited(owner: socket.socket) -> Order:
    (length,) = LENGTH.unpack(receive(owner, LENGTH.size))
    order: Order = pickle.loads(receive(owner, length))
    return order


def _made(order: Order, parent: first.Parent) -> RunningMachine:
    with contextlib.ExitStack() as stack:
        return _wired(order, parent, stack)


def _wired(order: Order, parent: first.Parent, stack: contextlib.ExitStack) -> RunningMachine:
    """`stack` has what the machine has duplicates of."""
    spec, wiring = order.spec, order.wiring
    if spec.tpm is not None:
        place = spec.tpm.state or order.own / DIRECTORY
        own = tpm.started(place, order.own.name, jail=order.jail)
        wiring = replace(wiring, tpm=stack.enter_context(own))
    if spec.firmware is not None:
        prepare_variables(spec.firmware)
    if order.jail:
        if spec.network is not None and spec.network.bridge is not None:
            # What it publishes there, the owner takes away again.
            plug = Plug(spec.network, spec.vcpus)
            spec = replace(spec, network=plug.network)
            wiring = replace(wiring, taps=plug.taps)
        if any(disk.nbd for disk in spec.disks):
            from innkeeper.vm.disk_images import connected

            wiring = replace(wiring, disks=connected(spec))
        # Its devices are found as the owner finds them.
        needed = spec if order.warm is None else order.warm.applied(spec)
        jail.enter(needed, (order.own,), _here(), order.own.name)
        parent.stay_with()
    if order.warm is not None:
        # Whatever is wrong with it, the guest can boot; its owner sees that it did.
        with contextlib.suppress(InnkeeperError):
            return RunningMachine(order.warm.applied(spec), wiring, beginning=order.warm.beginning)
    return RunningMachine(spec, wiring)


def _here() -> Path | None:
    """Nothing is looked for in a directory that was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _obey(
    machine: RunningMachine, owner: socket.socket, records: Records, changes: Changes
) -> None:
    while True:
        request, fds = _asked(owner)
        if request == STOP:
            machine.control.stop()
        elif request == POWER_BUTTON:
            machine.control.power_button()
        elif request == RESIZE:
            machine.control.resize_console(*SIZE.unpack(receive(owner, SIZE.size)))
        elif request == STATISTICS:
            _tell_statistics(machine, fds)
        elif request == RECORD:
            records.take(machine, RecordFiles.of(fds))
        elif request == FILES:
            changes.take(fds)
        elif request == CHANGE:
            _change(owner, changes, *fds)


def _asked(owner: socket.socket) -> tuple[bytes, list[int]]:
    try:
        request, fds, _, _ = socket.recv_fds(owner, 1, MOST_FILES)
    except OSError:
        # It has gone without having heard all that we said.
        request, fds = b"", []
    if not request:
        os._exit(1)
    return request, fds


def _change(owner: socket.socket, changes: Changes, told: int) -> None:
    (length,) = LENGTH.unpack(receive(owner, LENGTH.size))
    change: Change = pickle.loads(receive(owner, length))
    changes.answer(change, told)


def _tell_statistics(machine: RunningMachine, fds: list[int]) -> None:
    told = machine.control.statistics()
    answer = None if told is None else GuestStatistics.of(told).as_dict()
    for fd in fds:
        # Who asked may have gone meanwhile.
        with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "w") as file:
            json.dump(answer, file)


def _tell(owner: socket.socket, answer: dict[str, object]) -> None:
    with contextlib.suppress(OSError):
        owner.sendall(json.dumps(answer).encode() + b"\n")


def _close(order: Order) -> None:
    """The machine has its own duplicates; ours would keep the other ends from seeing the end."""
    for fd in descriptors(order) - {0, 1, 2}:
        os.close(fd)


def descriptors(order: Order) -> set[int]:
    """All that are in it."""
    layers = () if order.warm is None else order.warm.beginning.layers
    memory = {fd for layer in layers for fd in (layer.pages, layer.index)}
    if order.warm is not None and order.warm.beginning.code is not None:
        memory.add(order.warm.beginning.code)
    return memory | _of_wiring(order.wiring)


def _of_wiring(wiring: Wiring) -> set[int]:
    channels = [wiring.com1, wiring.com2, wiring.console, *(channel for _, channel in wiring.ports)]
    fds = {fd for channel in channels if channel for fd in (channel.input, channel.output)}
    if wiring.vsock is not None:
        fds |= {wiring.vsock.listener, wiring.vsock.outward}
    return {fd for fd in (*fds, *wiring.taps, wiring.firmware_log) if fd is not None}


def receive(owner: socket.socket, count: int) -> bytes:
    """So many bytes. Where they do not come, nobody wants a guest any more."""
    try:
        data = owner.recv(count, socket.MSG_WAITALL)
    except OSError:
        data = b""
    if len(data) < count:
        os._exit(1)
    return data
