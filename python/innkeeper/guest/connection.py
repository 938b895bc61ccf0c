"""The two ends of an agent's channel: ours, and the one the machine's virtio-serial port gets."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from innkeeper.errors import HostFailure
from innkeeper.guest.agent import Agent
from innkeeper.machine.spec import MachineSpec
from innkeeper.vm import vsock
from innkeeper.vm.wiring import Channel, Vsock

AGENT_PORT: Final = "innkeeper.agent"


@contextlib.contextmanager
def vsock_ends(spec: MachineSpec, *, silent: bool = False) -> Iterator[Vsock | None]:
    """The host's side of the socket device of a guest that this process attends to. A `silent` one
    has nobody at the other side.

    Raises:
        HostFailure: when the path is taken, or cannot be made.
    """
    asked = spec.vsock
    if asked is None or asked.path is None:
        yield Vsock(cid=asked.cid) if silent and asked is not None else None
        return
    path = str(asked.path)
    try:
        listener = vsock.listen(path)
    except OSError as error:
        raise HostFailure(f"cannot make the vsock socket {path}: {error.strerror}") from error
    board = vsock.Switchboard(path)
    board.serve()
    with listener, board.theirs:
        try:
            yield Vsock(cid=asked.cid, listener=listener.fileno(), outward=board.theirs.fileno())
        finally:
            vsock.remove(path)


@contextlib.contextmanager
def agent_channel() -> Iterator[tuple[Agent, tuple[str, Channel]]]:
    """The agent to be, and the port for `Wiring.ports`."""
    ours, theirs = socket.socketpair()
    agent = Agent(ours)
    try:
        with theirs:
            yield agent, (AGENT_PORT, Channel(input=theirs.fileno(), output=theirs.fileno()))
    finally:
        agent.close()
