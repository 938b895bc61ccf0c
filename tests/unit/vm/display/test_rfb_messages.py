import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.vm.display.rfb import des, messages


def take(data: bytes) -> tuple[messages.Message | None, bytes]:
    left = bytearray(data)
    return messages.take(left), bytes(left)


def test_messages_come_one_by_one() -> None:
    data = b"\x03\1" + struct.pack(">HHHH", 0, 0, 640, 480) + b"\x05\1\0\7\0\x09" + b"\x04\1\0\0"
    first, rest = take(data)
    assert first == messages.UpdateRequest(incremental=True)
    second, rest = take(rest)
    assert second == messages.PointerEvent(buttons=1, x=7, y=9)
    assert take(rest) == (None, b"\x04\1\0\0")


def test_keys_come_as_symbols_and_as_numbers() -> None:
    assert take(b"\x04\1\0\0\0\0\xff\x0d")[0] == messages.KeyEvent(
        down=True, symbol=0xFF0D, number=None
    )
    assert take(b"\xff\0\0\0\0\0\0\x61\0\0\0\x1e")[0] == messages.KeyEvent(
        down=False, symbol=0x61, number=0x1E
    )


def test_pixel_formats() -> None:
    body = struct.pack(">BBBBHHHBBB3x", 16, 16, 1, 1, 31, 63, 31, 11, 5, 0)
    wanted = (16, 16, True, (31, 63, 31), (11, 5, 0))
    assert take(b"\0\0\0\0" + body)[0] == messages.SetPixelFormat(wanted)
    assert take(b"\0\0\0\0" + body[:3] + b"\0" + body[4:])[0] == messages.SetPixelFormat(None)


@pytest.mark.parametrize(
    "data",
    [b"\x07", b"\x02\0\xff\xff", b"\x06\0\0\0\x7f\0\0\0", b"\x06\0\0\0\x80\0\0\0", b"\xff\1"],
)
def test_what_no_client_says_is_refused(data: bytes) -> None:
    with pytest.raises(messages.Nonsense):
        take(data)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    left = bytearray(data)
    try:
        while messages.take(left) is not None:
            pass
    except messages.Nonsense:
        pass
    assert len(left) <= len(data)


def test_des_is_the_standards() -> None:
    key, text = bytes.fromhex("133457799BBCDFF1"), bytes.fromhex("0123456789ABCDEF")
    assert des.encrypt(key, text).hex() == "85e813540f0ab405"
    assert des.encrypt(bytes(8), bytes(8)).hex() == "8ca64de9c1b123a7"
    # Each byte of the password is read backwards.
    assert des.answer(bytes.fromhex("c82cea9ed93dfb8f"), text * 2)[:8].hex() == "85e813540f0ab405"
