"""Viewers that do not read, or go in the middle, of a screen that draws noise without end."""

import gc
import os
import socket
import struct
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest
from tests.unit.vm.display.test_rfb_client import FakeKeyboard

from innkeeper.vm.detached.loop import READ, Loop
from innkeeper.vm.detached.stream import Stream
from innkeeper.vm.display.clipboard import Clipboard
from innkeeper.vm.display.rfb import server
from innkeeper.vm.display.rfb.client import Client
from innkeeper.vm.display.rfb.encodings import RAW, Format, Part
from innkeeper.vm.display.rfb.places import Security
from innkeeper.vm.display.rfb.server import RfbServer

if TYPE_CHECKING:
    from innkeeper.vm.display.seat import Seat

WIDTH, HEIGHT = 2048, 1200
GREETING = b"RFB 003.008\n\1\1" + struct.pack(">BxHi", 2, 1, RAW)
REQUEST = struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT)
# Bytes of an update: pixels, and heads of rectangles.
MOST = (4 << 20) + 4096


class Noise:
    """Another picture each time."""

    def __init__(self) -> None:
        self._now = 1
        self._bytes = os.urandom(4 * WIDTH * HEIGHT)

    def refresh(self) -> tuple[int, int, int, int]:
        self._now += 1
        return WIDTH, HEIGHT, self._now, 1

    def changed_since(self, seen: int) -> list[Part]:
        return [(0, 0, WIDTH, HEIGHT)]

    def raw(self, part: Part, pixels: Format) -> bytes:
        return self._bytes[: 4 * part[2] * part[3]]

    def cursor(self, known: int | None) -> None:
        return None


class NoisySeat:
    def __init__(self) -> None:
        self.screen = Noise()
        self.keyboard = FakeKeyboard()
        self.clipboard = Clipboard()


class Viewer:
    def __init__(self, place: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(place)
        self._socket.sendall(GREETING)
        # Greeting, security, its result, size and name.
        self.take(12 + 2 + 4 + 24 + 3)

    def take(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self._socket.recv(count - len(data))
            assert piece, "it was hung up on"
            data += piece
        return bytes(data)

    def ask(self, times: int = 1) -> None:
        self._socket.sendall(REQUEST * times)

    def update(self) -> list[Part]:
        """Of the rectangles of one."""
        self.ask()
        (count,) = struct.unpack(">xxH", self.take(4))
        parts = []
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.take(12))
            assert encoding == RAW
            self.take(4 * width * height)
            parts.append((x, y, width, height))
        return parts

    def close(self) -> None:
        self._socket.close()


@contextmanager
def serving(place: str) -> Iterator[tuple[Loop, RfbServer]]:
    """A loop in a thread of its own."""
    loop = Loop()
    seat = cast("Seat", NoisySeat())
    made = RfbServer(loop, seat, lambda: "box", [(place, Security())])
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop, made
    finally:
        loop.post(made.close)
        loop.post(loop.stop)
        thread.join()
        loop.close()


def asked(loop: Loop, what: Callable[[], int]) -> int:
    """By the loop's thread."""
    found: list[int] = []
    come = threading.Event()

    def look() -> None:
        found.append(what())
        come.set()

    loop.post(look)
    assert come.wait(60)
    return found[0]


def test_noise_costs_no_more_than_an_update_for_each_viewer(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Stream.send

    def send(self: Stream, data: bytes) -> None:
        sent(self, data)
        assert self.waiting <= MOST

    monkeypatch.setattr(Stream, "send", send)
    place = str(tmp_path_factory.mktemp("r") / "s")
    with serving(place) as (loop, made):
        # Some never read, and ask for more all the same; some go in the middle of a rectangle.
        deaf = [Viewer(place) for _ in range(6)]
        for viewer in deaf:
            viewer.ask(times=50)
        for _ in range(6):
            rude = Viewer(place)
            rude.ask()
            rude.take(4 + 12 + 1000)
            rude.close()
        eager = Viewer(place)
        seen = [part for _ in range(6) for part in eager.update()]
        # It was sent whole pictures, in parts that fit together.
        assert sum(width * height for _, _, width, height in seen) >= WIDTH * HEIGHT
        assert all(width * height <= MOST // 4 for _, _, width, height in seen)
        streams = [stream for _, stream in made._clients.values()]
        assert asked(loop, lambda: sum(each.waiting for each in streams)) <= len(streams) * MOST
        assert asked(loop, lambda: made.clients) == len(deaf) + 1
        for viewer in (*deaf, eager):
            viewer.close()


class Slow(Noise):
    """Each picture of it takes a while, by the clock `spent`."""

    def __init__(self, spent: list[float]) -> None:
        super().__init__()
        self._spent = spent

    def raw(self, part: Part, pixels: Format) -> bytes:
        self._spent[0] += 0.05
        return b""


class FakeLoop:
    def __init__(self, spent: list[float]) -> None:
        self._spent = spent
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.alarms.append((self._spent[0] + seconds, call))

    def watch(self, fd: int, events: int, call: Callable[[int], object]) -> None:
        pass

    def forget(self, fd: int) -> None:
        pass


def test_looks_take_a_share_and_serve_each_in_turn(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = [0.0]
    for clock in ("monotonic", "thread_time"):
        monkeypatch.setattr(f"innkeeper.vm.display.rfb.server.time.{clock}", lambda: spent[0])
    loop = FakeLoop(spent)
    seat = NoisySeat()
    seat.screen = Slow(spent)
    place = str(tmp_path_factory.mktemp("r") / "s")
    made = RfbServer(cast("Loop", loop), cast("Seat", seat), lambda: "box", [(place, Security())])
    ends = []
    for _ in range(3):
        ours, theirs = socket.socketpair()
        ends.append(theirs)
        made._come(ours, Security(), made._listeners[0])
    clients = [client for client, _ in made._clients.values()]
    served = []
    for client in clients:
        client.receive(GREETING)
        client.receive(REQUEST)
    for _ in range(12):
        looks = [alarm for alarm in loop.alarms if alarm[0] < server._GREETING]
        loop.alarms = [alarm for alarm in loop.alarms if alarm not in looks]
        (at, look) = looks[0]
        spent[0] = max(spent[0], at)
        before = spent[0]
        look()
        # One of them is all that there is time for.
        assert spent[0] - before <= 0.1
        assert min(at for at, _ in loop.alarms) >= spent[0] + 2.9 * (spent[0] - before)
        served.append([client.waiting for client in clients].index(False))
        clients[served[-1]].receive(REQUEST)
    assert [served.count(each) for each in range(3)] == [4, 4, 4]
    made.close()
    assert made.clients == 0, "also those who have not taken all"
    for end in ends:
        end.close()


def test_who_has_left_is_forgotten_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    loop = FakeLoop([0.0])
    place = str(tmp_path_factory.mktemp("r") / "s")
    seat = cast("Seat", NoisySeat())
    made = RfbServer(cast("Loop", loop), seat, lambda: "box", [(place, Security())])
    ours, theirs = socket.socketpair()
    made._come(ours, Security(), made._listeners[0])
    ((client, stream),) = made._clients.values()
    left = [weakref.ref(client), weakref.ref(stream)]
    stream.close()
    del client, stream, ours
    gc.collect()
    assert [each() for each in left] == [None, None]
    # The clock that was to hurry it still runs.
    assert len(loop.alarms) == 1
    loop.alarms[0][1]()
    made.close()
    theirs.close()


def test_who_is_gone_before_the_greeting_never_came(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    loop = FakeLoop([0.0])
    place = str(tmp_path_factory.mktemp("r") / "s")
    seat = cast("Seat", NoisySeat())
    made = RfbServer(cast("Loop", loop), seat, lambda: "box", [(place, Security())])
    told: list[int] = []
    made.on_client = lambda: told.append(made.clients)
    ours, theirs = socket.socketpair()
    theirs.close()
    made._come(ours, Security(), made._listeners[0])
    assert made.clients == 0
    assert not told
    assert not loop.alarms
    made.close()


def test_who_does_not_take_the_last_words_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    loop = FakeLoop([0.0])
    place = str(tmp_path_factory.mktemp("r") / "s")
    seat = cast("Seat", NoisySeat())
    made = RfbServer(cast("Loop", loop), seat, lambda: "box", [(place, Security())])
    ours, theirs = socket.socketpair()
    made._come(ours, Security(), made._listeners[0])
    ((client, stream),) = made._clients.values()
    client.receive(GREETING + REQUEST)
    client.update()
    assert stream.waiting
    assert client.greeted
    client.receive(b"\x63")
    assert made.clients == 1
    # Nobody hears what it says from here on.
    theirs.sendall(REQUEST)
    stream._ready(READ)
    assert not client._data
    loop.alarms[-1][1]()
    assert made.clients == 0
    made.close()
    theirs.close()


def test_who_wants_no_compression_costs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(zlib, "compressobj", made.append)
    seat = cast("Seat", NoisySeat())
    client = Client(seat, "box", Security(), lambda _: None, lambda: None, lambda: None)
    client.receive(GREETING + REQUEST)
    client.update()
    assert client.greeted
    assert made == []
