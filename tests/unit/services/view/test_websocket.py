import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.services.view import websocket


def masked(kind: int, body: bytes) -> bytes:
    """As a browser sends it."""
    mask = b"\x11\x22\x33\x44"
    if len(body) < 126:
        head = bytes((0x80 | kind, 0x80 | len(body)))
    elif len(body) < 1 << 16:
        head = struct.pack(">BBH", 0x80 | kind, 0xFE, len(body))
    else:
        head = struct.pack(">BBQ", 0x80 | kind, 0xFF, len(body))
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))


def test_the_handshake_is_the_standards() -> None:
    assert websocket.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
def test_frames_of_all_lengths_come_whole(length: int) -> None:
    body = bytes(at * 7 & 0xFF for at in range(length))
    whole = masked(websocket.BINARY, body)
    data = bytearray(whole[:-1])
    if length:
        assert websocket.take(data) is None
    data += whole[-1:]
    data += b"next"
    assert websocket.take(bytearray(whole)) == (websocket.BINARY, body)
    found = websocket.take(data)
    assert length == 0 or (found == (websocket.BINARY, body) and data == b"next")
    head = websocket.frame(websocket.BINARY, body)
    assert head.endswith(body)
    assert len(head) - length == (2 if length < 126 else 4 if length < 1 << 16 else 10)


@pytest.mark.parametrize(
    "data", [b"\x82\x01a", b"\xc2\x80", b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"]
)
def test_what_no_browser_sends_is_refused(data: bytes) -> None:
    with pytest.raises(websocket.Broken):
        websocket.take(bytearray(data))


@given(st.binary(max_size=40))
def test_any_bytes_are_frames_or_none(data: bytes) -> None:
    left = bytearray(data)
    try:
        while websocket.take(left) is not None:
            pass
    except websocket.Broken:
        pass
