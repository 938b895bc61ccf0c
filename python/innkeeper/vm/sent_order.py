"""An order that goes to a guest's process by its socket, with its descriptors, which have other
numbers there.
"""

import os
import pickle
import socket
from dataclasses import replace
from typing import Final

from innkeeper.vm.child import LENGTH, Order, descriptors, receive
from innkeeper.vm.saved import LayerFiles
from innkeeper.vm.wiring import Channel, Wiring

_MOST_DESCRIPTORS: Final = 64


def send(channel: socket.socket, order: Order) -> None:
    """
    Raises:
        OSError: the process has gone.
    """
    fds = sorted(descriptors(order))
    data = pickle.dumps((order, fds))
    socket.send_fds(channel, [LENGTH.pack(len(data))], fds)
    channel.sendall(data)


def arrive(owner: socket.socket) -> Order:
    """What the owner sends. Where that does not come, this process ends."""
    head, fds, _, _ = socket.recv_fds(owner, LENGTH.size, _MOST_DESCRIPTORS)
    if len(head) < LENGTH.size:
        os._exit(1)
    (length,) = LENGTH.unpack(head)
    order: Order
    order, numbers = pickle.loads(receive(owner, length))
    here = dict(zip(numbers, fds, strict=True))
    warm = order.warm
    if warm is not None:
        layers = tuple(
            LayerFiles(pages=here[layer.pages], index=here[layer.index])
            for layer in warm.beginning.layers
        )
        code = None if warm.beginning.code is None else here[warm.beginning.code]
        warm = replace(warm, beginning=replace(warm.beginning, layers=layers, code=code))
    return replace(order, wiring=_renumbered(order.wiring, here), warm=warm)


def _renumbered(wiring: Wiring, here: dict[int, int]) -> Wiring:
    def channel(found: Channel | None) -> Channel | None:
        if found is None:
            return None
        return Channel(input=fd(found.input), output=fd(found.output))

    def fd(number: int | None) -> int | None:
        return None if number is None else here[number]

    vsock = wiring.vsock
    return Wiring(
        com1=channel(wiring.com1),
        com2=channel(wiring.com2),
        console=channel(wiring.console),
        ports=tuple((name, channel(port) or Channel()) for name, port in wiring.ports),
        vsock=vsock and replace(vsock, listener=fd(vsock.listener), outward=fd(vsock.outward)),
        taps=tuple(here[number] for number in wiring.taps),
        firmware_log=fd(wiring.firmware_log),
    )
