"""What a connection of the loop still hands on while its last words are on their way."""

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest

from innkeeper.vm.detached.loop import READ, WRITE
from innkeeper.vm.detached.stream import Stream

if TYPE_CHECKING:
    from innkeeper.vm.detached.loop import Loop


class FakeLoop:
    def watch(self, fd: int, events: int, call: Callable[[int], object]) -> None: ...

    def forget(self, fd: int) -> None: ...


@pytest.mark.parametrize("descriptors", [False, True])
def test_what_comes_while_it_closes_is_nobodys(descriptors: bool) -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []
    ended: list[bool] = []
    passed: list[list[int]] = []
    stream = Stream(
        cast("Loop", FakeLoop()), ours, heard.append, lambda: ended.append(True), limit=64 << 20
    )
    if descriptors:
        stream.take_descriptors(passed.append)
    theirs.sendall(b"first")
    stream._ready(READ)
    # More than the socket takes.
    words = bytes(16 << 20)
    stream.send(words)
    stream.finish()
    reader, writer = os.pipe()
    socket.send_fds(theirs, [b"second"], [writer])
    os.close(writer)
    os.set_blocking(reader, False)
    stream._ready(READ)
    assert heard == [b"first"]
    assert passed == []
    # The one that came along is closed: nobody holds the pipe any more.
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert not ended
    taken = 0
    while taken < len(words):
        taken += len(theirs.recv(1 << 20))
        stream._ready(WRITE)
    assert ended == [True]
    theirs.close()
