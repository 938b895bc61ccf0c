"""`Guest` over a channel whose other end is the test."""

import socket
import struct
import threading
import time

import pytest

from innkeeper.guest.agent import Agent
from innkeeper.guest.frames import STDIN_WINDOW, Tell, hello
from innkeeper.sdk.guest import Guest


def tell(kind: Tell, job: int, payload: bytes) -> bytes:
    return struct.pack("<IBI", len(payload), kind, job) + payload


def test_a_guest_that_does_not_listen_does_not_outlast_the_time() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        agent = Agent(ours)
        guest = Guest()
        guest._agent = agent
        theirs.sendall(hello())
        agent.wait_ready(60)
        # It takes more and more standard input, by its own words, and reads nothing.
        credit = tell(Tell.CREDIT, 1, struct.pack("<I", STDIN_WINDOW))
        begun = time.monotonic()

        def claim() -> None:
            for _ in range(100):
                theirs.send(credit)
                time.sleep(0.01)

        thread = threading.Thread(target=claim)
        thread.start()
        with pytest.raises(TimeoutError):
            guest.run(["cat"], stdin=bytes(1 << 22), timeout=1)
        assert time.monotonic() - begun < 30
        thread.join()
        guest.close()
