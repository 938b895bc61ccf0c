"""The two ends of an agent's channel: ours, and the one the machine's virtio-serial port gets."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from innkeeper.guest.agent import Agent
from innkeeper.vm.wiring import Channel

AGENT_PORT: Final = "innkeeper.agent"


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
