"""The process of one guest, which `innkeeper.vm.process` starts with one argument, FD.

FD is a socket to the process that wants the guest. It sends one pickled `Order` and then one byte
for each request, with a descriptor for the answer where there is one; we answer with one line of
JSON when the guest has ended. When the socket closes, nobody wants the guest any more, however its
owner came to its end.
"""

import contextlib
import json
import os
import pickle
import signal
import socket
import struct
import sys
import threading
from dataclasses import dataclass
from typing import Final

from innkeeper.errors import InnkeeperError
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm.running import RunningMachine
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.wiring import Wiring

LENGTH: Final = struct.Struct("<I")
STOP: Final = b"s"
POWER_BUTTON: Final = b"p"
STATISTICS: Final = b"t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run. The descriptors in `wiring` are inherited ones. From the owner, so trusted."""

    spec: MachineSpec
    wiring: Wiring


def main(argv: list[str]) -> int:
    # Ctrl-C is for the owner, who then ends us; a terminal sends it to both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    owner = socket.socket(fileno=int(argv[1]))
    os.set_inheritable(owner.fileno(), False)  # noqa: FBT003 - the one argument it has
    (length,) = LENGTH.unpack(_receive(owner, LENGTH.size))
    order: Order = pickle.loads(_receive(owner, length))
    answer = _run(order, owner)
    owner.sendall(json.dumps(answer).encode() + b"\n")
    return 0


def _run(order: Order, owner: socket.socket) -> dict[str, object]:
    try:
        machine = RunningMachine(order.spec, order.wiring)
        _close(order.wiring)
        machine.start()
        threading.Thread(target=_obey, args=(machine, owner), daemon=True).start()
        machine.wait()
        kind, code, what = machine.outcome
    except InnkeeperError as error:
        return {"error": error.code, "message": str(error)}
    return {"kind": kind, "code": code, "what": what}


def _obey(machine: RunningMachine, owner: socket.socket) -> None:
    while True:
        request, fds, _, _ = socket.recv_fds(owner, 1, 1)
        if request == STOP:
            machine.control.stop()
        elif request == POWER_BUTTON:
            machine.control.power_button()
        elif request == STATISTICS:
            _tell_statistics(machine, fds)
        elif not request:
            os._exit(1)


def _tell_statistics(machine: RunningMachine, fds: list[int]) -> None:
    told = machine.control.statistics()
    answer = None if told is None else GuestStatistics.of(told).as_dict()
    for fd in fds:
        # Who asked may have gone meanwhile.
        with contextlib.suppress(BrokenPipeError), os.fdopen(fd, "w") as file:
            json.dump(answer, file)


def _close(wiring: Wiring) -> None:
    """The machine has its own duplicates; ours would keep the other ends from seeing the end."""
    channels = [wiring.com1, wiring.com2, wiring.console, *(channel for _, channel in wiring.ports)]
    fds = {fd for channel in channels if channel for fd in (channel.input, channel.output)}
    for fd in fds - {None, 0, 1, 2}:
        os.close(int(fd or 0))


def _receive(owner: socket.socket, count: int) -> bytes:
    data = owner.recv(count, socket.MSG_WAITALL)
    if len(data) < count:
        sys.exit(1)
    return data
