"""Commands whose streams are read piece by piece, against a guest that we play ourselves."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from innkeeper.errors import CommandNotStarted, GuestNotRunning, InvalidInput
from innkeeper.guest.agent import Agent
from innkeeper.guest.frames import OUTPUT_WINDOW, STDIN_WINDOW, Ask, Decoder, Exec, Tell
from innkeeper.guest.process import LineSplitter, Process
from innkeeper.sdk.aio import AsyncProcess

COMMAND = Exec(argv=("x",), env={})
PIECE = 1 << 15


def told(kind: Tell, payload: bytes) -> bytes:
    return struct.pack("<IBI", len(payload), kind, 1) + payload


EXIT_7 = told(Tell.EXIT, b"\0\x07\0\0\0")


class Play:
    """An agent and the guest's end of its channel."""

    def __init__(self) -> None:
        ours, self.guest = socket.socketpair()
        self.guest.settimeout(30)
        self.agent = Agent(ours)
        self._heard = Decoder(Ask)

    def hears(self) -> list[tuple[Ask, bytes]]:
        """What the guest is told next."""
        while True:
            found = [(kind, data) for kind, _, data in self._heard.push(self.guest.recv(1 << 16))]
            if found:
                return found

    def hears_credit(self) -> int:
        told_of = [
            struct.unpack("<I", data)[0] for kind, data in self.hears() if kind is Ask.CREDIT
        ]
        return sum(told_of)


@pytest.fixture
def play() -> Iterator[Play]:
    stage = Play()
    yield stage
    stage.agent.close()
    stage.guest.close()


def test_pieces_come_while_the_command_runs(play: Play) -> None:
    process = Process(play.agent, COMMAND)
    play.guest.sendall(told(Tell.STDOUT, b"one\ntw"))
    assert process.stdout.read(30) == b"one\ntw"
    assert process.returncode is None
    with pytest.raises(TimeoutError):
        process.stderr.read(0)
    play.guest.sendall(told(Tell.STDOUT, b"o\r\nthree") + told(Tell.STDERR, b"err") + EXIT_7)
    assert process.wait(30) == 7
    assert list(process.stdout.lines()) == ["o", "three"]
    assert list(process.stderr) == [b"err"]
    assert process.returncode == 7


def test_a_window_opens_when_somebody_reads(play: Play) -> None:
    process = Process(play.agent, COMMAND)
    assert [kind for kind, _ in play.hears()] == [Ask.EXEC]
    for _ in range(OUTPUT_WINDOW // PIECE):
        play.guest.sendall(told(Tell.STDOUT, bytes(PIECE)))
    read = 0
    while read < OUTPUT_WINDOW:
        read += len(process.stdout.read(30))
    assert play.hears_credit() > 0


def test_a_guest_that_goes_beyond_its_window_is_cut_off(play: Play) -> None:
    process = Process(play.agent, COMMAND)
    for _ in range(OUTPUT_WINDOW // PIECE + 1):
        play.guest.sendall(told(Tell.STDOUT, bytes(PIECE)))
    with pytest.raises(GuestNotRunning):
        process.wait(30)
    assert sum(map(len, process.stdout)) == OUTPUT_WINDOW


def test_leaving_the_block_kills_what_still_runs(play: Play) -> None:
    with Process(play.agent, COMMAND):
        assert [kind for kind, _ in play.hears()] == [Ask.EXEC]
    assert play.hears() == [(Ask.SIGNAL, b"\x09")]
    with pytest.raises(InvalidInput):
        Process(play.agent, COMMAND).send_signal(65)
    with pytest.raises(InvalidInput):
        Process(play.agent, COMMAND).resize(0, 24)


def test_lines_are_cut_anywhere() -> None:
    text = "ä\nöü\r\n\nlast"
    for at in range(len(text.encode()) + 1):
        data, splitter = text.encode(), LineSplitter()
        lines = splitter.push(data[:at]) if at else []
        lines += splitter.push(data[at:]) if at < len(data) else []
        assert lines + splitter.push(b"") == ["ä", "öü", "", "last"]


def asynchronous(play: Play) -> AsyncProcess:
    return AsyncProcess(play.agent, COMMAND, ThreadPoolExecutor(2))


def test_pieces_come_to_a_loop(play: Play) -> None:
    async def act() -> None:
        async with asynchronous(play) as process:
            play.guest.sendall(told(Tell.STDOUT, b"one\n") + told(Tell.STDERR, b"err"))
            assert await process.stdout.read() == b"one\n"
            assert process.returncode is None
            play.guest.sendall(told(Tell.STDOUT, b"two\nthree") + EXIT_7)
            assert await process.wait() == 7
            assert [line async for line in process.stdout.lines()] == ["two", "three"]
            assert [piece async for piece in process.stderr] == [b"err"]

    asyncio.run(act())


def test_a_loop_that_writes_what_nobody_takes_still_reads(play: Play) -> None:
    async def act() -> None:
        async with asynchronous(play) as process:
            writing = asyncio.ensure_future(process.write(bytes(2 * STDIN_WINDOW)))
            window = OUTPUT_WINDOW
            for _ in range(3 * OUTPUT_WINDOW // PIECE):
                while window < PIECE:
                    window += play.hears_credit()
                window -= PIECE
                play.guest.sendall(told(Tell.STDOUT, bytes(PIECE)))
                assert await process.stdout.read() == bytes(PIECE)
            assert not writing.done()
            play.guest.sendall(EXIT_7)
            await writing
            assert process.returncode == 7

    asyncio.run(act())


def test_what_cannot_start_and_what_is_lost_raise_in_a_loop(play: Play) -> None:
    async def act() -> None:
        process = asynchronous(play)
        play.guest.sendall(told(Tell.FAILED, b"\x02\0\0\0No such file"))
        with pytest.raises(CommandNotStarted, match="No such file"):
            await process.wait()
        process = asynchronous(play)
        play.guest.close()
        with pytest.raises(GuestNotRunning):
            await process.wait()

    asyncio.run(act())
