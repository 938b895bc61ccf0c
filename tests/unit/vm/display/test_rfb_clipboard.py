"""The clipboard, as viewers with and without its extension have it."""

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.vm.display.clipboard import LONGEST, Clipboard
from innkeeper.vm.display.rfb import messages
from innkeeper.vm.display.rfb.clipboard import Board

TEXT = 1
CAPS, REQUEST, PEEK, NOTIFY, PROVIDE = (1 << bit for bit in range(24, 29))


class Viewer:
    def __init__(self, shared: Clipboard, *, extended: bool = True) -> None:
        self.heard: list[bytes] = []
        self.board = Board(shared, self.heard.append)
        if extended:
            self.board.extend()
            assert self.last() == (CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | TEXT)

    def last(self) -> int:
        """The flags of what it heard last."""
        kind, length, flags = struct.unpack_from(">B3xiI", self.heard[-1])
        assert (kind, -length) == (3, len(self.heard[-1]) - 8)
        return int(flags)

    def say(self, flags: int, data: bytes = b"") -> None:
        message = bytearray(struct.pack(">B3xiI", 6, -4 - len(data), flags) + data)
        taken = messages.take(message)
        assert isinstance(taken, messages.ExtendedCut)
        self.board.hear(taken.data)

    def provide(self, text: bytes) -> None:
        self.say(PROVIDE | TEXT, zlib.compress(struct.pack(">I", len(text)) + text))


def test_text_goes_from_viewer_to_viewer_in_any_script() -> None:
    shared = Clipboard()
    one, other, old = Viewer(shared), Viewer(shared), Viewer(shared, extended=False)
    one.say(NOTIFY | TEXT)
    assert one.last() == REQUEST | TEXT
    one.provide("Stra\u00dfe\r\n\u6771\0".encode())
    assert shared.text == "Stra\u00dfe\n\u6771"
    assert one.last() == REQUEST | TEXT, "it knows"
    assert other.last() == NOTIFY | TEXT
    other.say(REQUEST | TEXT)
    assert other.last() == PROVIDE | TEXT
    text = "Stra\u00dfe\r\n\u6771\0".encode()
    assert zlib.decompress(other.heard[-1][12:]) == struct.pack(">I", len(text)) + text
    # Who has no extension has Latin-1.
    assert old.heard == [b"\3\0\0\0\0\0\0\x08Stra\xdfe\n?"]
    old.board.cut(b"gr\xfcn")
    assert shared.text == "gr\u00fcn"
    one.say(PEEK)
    assert one.last() == NOTIFY | TEXT


def test_a_viewer_is_told_as_it_can_be() -> None:
    shared = Clipboard()
    viewer = Viewer(shared)
    viewer.say(CAPS | PROVIDE | TEXT, struct.pack(">I", 1000))
    shared.copy(None, "for all")
    assert viewer.last() == PROVIDE | TEXT
    viewer.say(CAPS)
    heard = len(viewer.heard)
    shared.copy(None, "for others")
    viewer.board.gone()
    assert len(viewer.heard) == heard


def test_only_so_much_is_unpacked_and_kept() -> None:
    shared = Clipboard()
    viewer = Viewer(shared)
    viewer.provide(b"a" * (1 << 20))
    assert shared.text == "a" * LONGEST
    shared.copy(None, "\u6771" * LONGEST)
    assert len(shared.text.encode()) <= LONGEST
    for data in (b"", b"\0", zlib.compress(b"ab"), b"x" * 50):
        with pytest.raises(messages.Nonsense):
            viewer.say(PROVIDE | TEXT, data)
    with pytest.raises(messages.Nonsense):
        Viewer(shared, extended=False).say(PEEK)
    with pytest.raises(messages.Nonsense):
        messages.take(bytearray(struct.pack(">B3xi", 6, -(1 << 21))))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 0xFFFF_FFFF), st.binary(max_size=100), st.booleans())
def test_no_message_harms_the_clipboard(flags: int, data: bytes, packed: bool) -> None:
    viewer = Viewer(Clipboard())
    try:
        viewer.say(flags, zlib.compress(data) if packed else data)
    except messages.Nonsense:
        return
    assert len(viewer.heard) <= 2
