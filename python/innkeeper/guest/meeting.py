"""Where a guest's agent calls by vsock, once it was asked to over its port.

Whatever runs in the guest may call there. So who calls is nobody before it has shown the token that
went over the port, which in a guest is root's alone.
"""

import hmac
import os
import socket
from collections.abc import Callable
from typing import Final

from innkeeper.guest.frames import NONCE, hello
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.detached.stream import Listener, Stream

PORT: Final = 1023
_MOST: Final = 4  # callers at a time
# Bytes for one who has shown nothing yet.
_LIMIT: Final = 1 << 16


class Meeting:
    """`path` is that of the guest's socket device on the host; a guest's call to PORT comes to
    `path`_PORT. `on_met` gets the agent's connection, after its hello.
    """

    def __init__(self, loop: Loop, path: str, on_met: Callable[[socket.socket], None]) -> None:
        self._loop = loop
        self._on_met = on_met
        self._wanted: bytes | None = None
        self._listener = Listener(loop, f"{path}_{PORT}", _MOST, self._come)

    def expect(self) -> bytes:
        """The token for the one who is to come. No other's is good any more."""
        token = os.urandom(NONCE)
        self._wanted = hello(token)
        return token

    def close(self) -> None:
        self._listener.close()

    def _come(self, connection: socket.socket) -> None:
        said = bytearray()

        def hear(data: bytes) -> None:
            said.extend(data)
            wanted = self._wanted
            if wanted is not None and len(said) < len(wanted):
                return
            is_met = wanted is not None and hmac.compare_digest(bytes(said), wanted)
            kept = connection.dup() if is_met else None
            stream.close()
            if kept is not None:
                self._wanted = None
                self._on_met(kept)

        stream = Stream(self._loop, connection, hear, self._listener.left, limit=_LIMIT)
