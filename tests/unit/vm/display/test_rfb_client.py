"""A client's side of RFB, in a few lines, against ours."""

import struct
import zlib
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.vm.display.clipboard import Clipboard
from innkeeper.vm.display.rfb import des
from innkeeper.vm.display.rfb.client import Client
from innkeeper.vm.display.rfb.encodings import (
    ALPHA_CURSOR,
    CURSOR,
    DESKTOP_SIZE,
    EXTENDED_SIZE,
    QEMU_KEYS,
    RAW,
    TIGHT,
    ZRLE,
    Format,
    Part,
    Pointer,
)
from innkeeper.vm.display.rfb.places import Security

if TYPE_CHECKING:
    import ssl

    from innkeeper.vm.display.seat import Seat

BLACK = b"\0\0\0"
GREETING = b"RFB 003.008\n"


class FakeScreen:
    """Of one colour, which tells what of it is asked for."""

    def __init__(self) -> None:
        self.size = 64, 32
        self.now = self.resized = 1
        self.changed: list[tuple[int, int, int, int]] = []
        self.wishes: list[tuple[int, int]] = []
        self.has_driver = False
        self.pointer: Pointer | None = None

    def refresh(self) -> tuple[int, int, int, int]:
        return (*self.size, self.now, self.resized)

    def changed_since(self, seen: int) -> list[tuple[int, int, int, int]]:
        if seen == 0:
            return [(0, 0, *self.size)]
        return self.changed if seen < self.now else []

    def wish(self, width: int, height: int) -> bool:
        self.wishes.append((width, height))
        return self.has_driver

    def cursor(self, known: int | None) -> Pointer | None:
        return None if self.pointer is None or known == self.pointer[0] else self.pointer

    def raw(self, part: Part, pixels: Format) -> bytes:
        return bytes(part[2] * part[3] * (pixels[0] // 8))

    def zrle(self, part: Part, pixels: Format) -> bytes:
        return b"\1" + BLACK

    def tight(self, part: Part, pixels: Format) -> tuple[int, bytes, bytes]:
        return 0, b"", bytes(3 * part[2] * part[3])


class FakeKeyboard:
    def __init__(self) -> None:
        self.keys: list[tuple[str, bool]] = []

    def key(self, name: str, *, down: bool) -> None:
        self.keys.append((name, down))


class FakeSeat:
    def __init__(self) -> None:
        self.screen: FakeScreen | None = FakeScreen()
        self.keyboard = FakeKeyboard()
        self.clipboard = Clipboard()
        self.has_tablet = False
        self.points: list[tuple[float, float, int, int]] = []
        self.moves: list[tuple[int, int, int, int]] = []

    def point(self, place: tuple[float, float], wheel: int, buttons: int) -> bool:
        if self.has_tablet:
            self.points.append((*place, wheel, buttons))
        return self.has_tablet

    def move(self, right: int, down: int, wheel: int, buttons: int) -> None:
        self.moves.append((right, down, wheel, buttons))


class Viewer:
    def __init__(self, password: bytes | None = None, tls: "ssl.SSLContext | None" = None) -> None:
        self.seat = FakeSeat()
        self.screen = cast("FakeScreen", self.seat.screen)
        self.said = bytearray()
        self.gone = False
        seat = cast("Seat", self.seat)
        security = Security(password, tls)
        self.client = Client(seat, "box", security, self._hear, self._hang_up, lambda: None)

    def _hear(self, data: bytes) -> None:
        self.said += data

    def _hang_up(self) -> None:
        self.gone = True

    def say(self, data: bytes) -> bytes:
        """One byte at a time, as a slow network has it."""
        self.said.clear()
        for byte in data:
            self.client.receive(bytes((byte,)))
        return bytes(self.said)

    def join(self, *encodings: int) -> None:
        self.say(GREETING + b"\1\1")
        self.say(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def update(self, *, incremental: bool = True) -> bytes:
        self.say(struct.pack(">BBHHHH", 3, incremental, 0, 0, 64, 32))
        self.client.update()
        return bytes(self.said)


def heads(update: bytes) -> tuple[int, int, int, int, int]:
    """The first rectangle's, of an update."""
    assert update[0] == 0
    return cast("tuple[int, int, int, int, int]", struct.unpack_from(">HHHHi", update, 4))


def test_a_client_is_greeted_and_told_of_the_screen() -> None:
    viewer = Viewer()
    assert viewer.said == GREETING
    assert viewer.say(GREETING) == b"\1\1"
    assert viewer.say(b"\1") == bytes(4)
    init = viewer.say(b"\1")
    assert struct.unpack_from(">HHBB", init) == (64, 32, 32, 24)
    assert init[20:] == b"\0\0\0\3box"


def test_old_clients_are_told_what_to_do() -> None:
    viewer = Viewer()
    assert viewer.say(b"RFB 003.003\n") == b"\0\0\0\1"
    assert viewer.say(b"\1")[20:] == b"\0\0\0\3box"


def test_a_password_is_asked_for() -> None:
    viewer = Viewer(b"secret")
    assert viewer.say(GREETING) == b"\1\2"
    challenge = viewer.say(b"\2")
    assert len(challenge) == 16
    assert viewer.say(des.answer(b"secret", challenge)) == bytes(4)
    assert not viewer.gone
    other = Viewer(b"secret")
    other.say(GREETING)
    challenge = other.say(b"\2")
    assert other.say(des.answer(b"guess", challenge)).endswith(b"the password is wrong")
    assert other.gone
    sly = Viewer(b"secret")
    sly.say(GREETING)
    sly.say(b"\1")
    assert sly.gone


def test_an_update_comes_when_there_is_something_new() -> None:
    viewer = Viewer()
    viewer.join(RAW)
    first = viewer.update(incremental=False)
    assert heads(first) == (0, 0, 64, 32, RAW)
    assert len(first) == 4 + 12 + 64 * 32 * 4
    assert viewer.update() == b""
    viewer.screen.now, viewer.screen.changed = 2, [(32, 0, 32, 32)]
    viewer.client.update()
    assert heads(bytes(viewer.said)) == (32, 0, 32, 32, RAW)


def test_streams_go_on_from_update_to_update() -> None:
    viewer = Viewer()
    viewer.join(ZRLE, RAW)
    stream = zlib.decompressobj()
    for _ in range(3):
        update = viewer.update(incremental=False)
        assert heads(update)[4] == ZRLE
        (length,) = struct.unpack_from(">I", update, 16)
        assert length == len(update) - 20
        assert stream.decompress(update[20:]) == b"\1" + BLACK


def test_tight_has_lengths_of_up_to_three_bytes() -> None:
    viewer = Viewer()
    viewer.join(TIGHT)
    update = viewer.update(incremental=False)
    assert heads(update)[4] == TIGHT
    assert update[16] == 0
    length, at = 0, 17
    for shift in (0, 7, 14):
        length |= (update[at] & (0x7F if shift < 14 else 0xFF)) << shift
        at += 1
        if update[at - 1] < 0x80:
            break
    assert length == len(update) - at
    assert zlib.decompressobj().decompress(update[at:]) == bytes(64 * 32 * 3)


def test_sizes_are_told_as_the_client_knows_them() -> None:
    for encoding, shown in ((DESKTOP_SIZE, (0, 0)), (EXTENDED_SIZE, (0, 0))):
        viewer = Viewer()
        viewer.join(RAW, encoding)
        while viewer.update(incremental=False) and heads(bytes(viewer.said))[4] != RAW:
            pass
        viewer.screen.size, viewer.screen.now, viewer.screen.resized = (80, 60), 2, 2
        assert heads(viewer.update()) == (*shown, 80, 60, encoding)
        assert heads(viewer.update()) == (0, 0, 80, 60, RAW)
    # Who knows of none sees what there was.
    viewer = Viewer()
    viewer.join(RAW)
    viewer.screen.size, viewer.screen.now, viewer.screen.resized = (80, 60), 2, 2
    assert heads(viewer.update(incremental=False)) == (0, 0, 64, 32, RAW)


def test_a_wish_for_another_size_is_refused() -> None:
    viewer = Viewer()
    viewer.join(RAW, EXTENDED_SIZE)
    answer = viewer.say(struct.pack(">BxHHBx", 251, 800, 600, 0))
    assert heads(answer) == (1, 1, 64, 32, EXTENDED_SIZE)


def test_a_wish_for_another_size_is_the_guests_to_fulfil() -> None:
    viewer = Viewer()
    viewer.join(RAW, EXTENDED_SIZE)
    assert viewer.seat.screen is not None
    viewer.seat.screen.has_driver = True
    answer = viewer.say(struct.pack(">BxHHBx", 251, 800, 600, 0))
    assert heads(answer) == (1, 4, 64, 32, EXTENDED_SIZE)
    assert viewer.seat.screen.wishes == [(800, 600)]
    assert heads(viewer.say(struct.pack(">BxHHBx", 251, 0, 600, 0)))[1] == 1
    assert viewer.seat.screen.wishes == [(800, 600)]


def test_clients_draw_the_pointer() -> None:
    viewer = Viewer()
    viewer.join(RAW, CURSOR)
    assert viewer.seat.screen is not None
    pixels = bytes((1, 2, 3, 255, 4, 5, 6, 0))
    viewer.seat.screen.pointer = (1, (1, 0), 2, 1, pixels)
    seen = viewer.update()
    assert heads(seen) == (1, 0, 2, 1, CURSOR)
    assert seen[16:] == bytes((3, 2, 1, 0, 6, 5, 4, 0, 0x80))
    # Once is enough, until it is another.
    assert heads(viewer.update())[4] == RAW
    viewer.seat.screen.pointer = (2, (0, 0), 0, 0, b"")
    assert viewer.update()[4:] == struct.pack(">HHHHi", 0, 0, 0, 0, CURSOR)
    other = Viewer()
    other.join(RAW, ALPHA_CURSOR)
    assert other.seat.screen is not None
    other.seat.screen.pointer = (1, (0, 0), 1, 1, bytes((100, 50, 25, 128)))
    seen = other.update()
    assert heads(seen)[4] == ALPHA_CURSOR
    assert seen[16:] == bytes((0, 0, 0, RAW, 100, 50, 25, 128))


def test_keys_by_their_numbers_are_offered() -> None:
    viewer = Viewer()
    viewer.join(RAW, QEMU_KEYS)
    assert heads(viewer.update())[4] == QEMU_KEYS
    viewer.say(b"\xff\0\0\1\0\0\0\x7a\0\0\0\x15")
    assert viewer.seat.keyboard.keys == [("y", True)]


def key(symbol: int, *, down: bool) -> bytes:
    return struct.pack(">BBxxI", 4, down, symbol)


def test_characters_bring_their_shift() -> None:
    viewer = Viewer()
    viewer.join(RAW)
    viewer.say(key(ord("A"), down=True) + key(ord("A"), down=False))
    pressed = [("shift", True), ("a", True), ("shift", False), ("a", False)]
    assert viewer.seat.keyboard.keys == pressed
    viewer.seat.keyboard.keys.clear()
    viewer.say(key(0xFFE1, down=True) + key(ord("A"), down=True))
    assert viewer.seat.keyboard.keys == [("shift", True), ("a", True)]
    viewer.seat.keyboard.keys.clear()
    viewer.client.gone()
    assert sorted(viewer.seat.keyboard.keys) == [("a", False), ("shift", False)]


def test_pointers_move_by_differences() -> None:
    viewer = Viewer()
    viewer.join(RAW)
    for buttons, x, y in ((0, 10, 10), (0, 15, 7), (1, 15, 7), (4, 15, 7), (8, 15, 7), (8, 15, 7)):
        viewer.say(struct.pack(">BBHH", 5, buttons, x, y))
    expected = [
        (0, 0, 0, 0),
        (5, -3, 0, 0),
        (0, 0, 0, 1),
        (0, 0, 0, 2),
        (0, 0, -1, 0),
        (0, 0, 0, 0),
    ]
    assert viewer.seat.moves == expected


@pytest.mark.parametrize("start", [b"", GREETING, GREETING + b"\1\1"])
def test_a_client_is_cut_off_for_nonsense_and_harms_nobody(start: bytes) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        viewer = Viewer()
        viewer.client.receive(start)
        for at in range(0, len(data), 7):
            if not viewer.gone:
                viewer.client.receive(data[at : at + 7])
        viewer.client.update()
        viewer.client.gone()

    check()


def test_a_screen_that_has_gone_is_nothing_to_update() -> None:
    viewer = Viewer()
    viewer.join(RAW)
    viewer.seat.screen = None
    assert viewer.update() == b""


def test_a_tablet_is_where_the_pointer_is() -> None:
    viewer = Viewer()
    viewer.join(RAW)
    viewer.seat.has_tablet = True
    viewer.say(struct.pack(">BBHH", 5, 2, 63, 0))
    assert viewer.seat.points == [(1.0, 0.0, 0, 4)]
    assert viewer.seat.moves == []
