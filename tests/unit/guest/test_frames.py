import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.guest.frames import Ask, Decoder, Exec, ProtocolError, Tell, TooLong, frame


def sent(kind: int, job: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "little") + bytes([kind]) + job.to_bytes(4, "little") + payload


def test_an_exec_has_the_layout_that_the_agent_reads() -> None:
    command = Exec(argv=["ls", "-l"], env={"A": "b"}, cwd="/tmp", user="ann", terminal=(80, 24))
    expected = (
        b"\x01\x50\x00\x18\x00"
        + b"\x03\0\0\0ann"
        + b"\x04\0\0\0/tmp"
        + b"\x02\0\x02\0\0\0ls\x02\0\0\0-l"
        + b"\x01\0\x03\0\0\0A=b"
    )
    assert command.encode() == expected
    assert frame(Ask.EXEC, 7, b"xy") == b"\x02\0\0\0\x01\x07\0\0\0xy"


def test_words_need_not_be_utf_8() -> None:
    command = Exec(argv=["caf\udce9"], env={})
    assert b"\x04\0\0\0caf\xe9" in command.encode()


@pytest.mark.parametrize("argv", [["x"] * 70_000, ["x" * 70_000]])
def test_more_words_than_a_frame_holds_are_too_long(argv: list[str]) -> None:
    with pytest.raises(TooLong):
        Exec(argv=argv, env={}).encode()


@given(st.lists(st.tuples(st.sampled_from(Tell), st.integers(0, 2**32 - 1), st.binary())))
def test_frames_survive_any_fragmentation(frames: list[tuple[Tell, int, bytes]]) -> None:
    stream = b"".join(sent(*one) for one in frames)
    decoder = Decoder(Tell)
    received = [one for byte in stream for one in decoder.push(bytes([byte]))]
    assert received == frames


@pytest.mark.parametrize(
    "stream", [sent(1, 0, b""), b"\xff\xff\xff\xff\x41\0\0\0\0", b"GET / HTTP/1.1"]
)
def test_what_is_no_frame_is_refused(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder(Tell).push(stream)
