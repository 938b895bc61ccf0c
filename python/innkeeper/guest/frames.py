"""The host's side of the agent's protocol; guest/src/frame.rs describes it and is the agent's.

A frame is `length: u32` of the payload, `kind: u8`, `job: u32`, payload; all little-endian.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, TypeVar

VERSION: Final = 3
STDIN_WINDOW: Final = 256 * 1024
# With how much of it each job begins: the rest comes as credit, from agents that have so much.
STDIN_BEGIN: Final = 64 * 1024
OUTPUT_WINDOW: Final = 256 * 1024  # of standard output and standard error together
MAX_PAYLOAD: Final = 64 * 1024
_HEADER: Final = struct.Struct("<IBI")
_EXEC_HEAD: Final = struct.calcsize("<BHH")
NONCE: Final = 16  # bytes


class Ask(IntEnum):
    """Frames to the agent."""

    EXEC = 1
    STDIN = 2
    STDIN_END = 3
    SIGNAL = 4
    RESIZE = 5
    CONSOLE = 6
    POWER_OFF = 7
    CREDIT = 8
    SYNC = 9
    SET_TIME = 10
    RENEW = 11
    FREEZE = 12
    THAW = 13
    MEET = 14
    SET_CLIPBOARD = 15
    CLIPBOARD = 16


# What concerns the guest as a whole and ends as a job does: guest/errands.py.
ERRANDS: Final = frozenset(
    (Ask.SET_TIME, Ask.RENEW, Ask.FREEZE, Ask.THAW, Ask.SET_CLIPBOARD, Ask.CLIPBOARD)
)


class Tell(IntEnum):
    """Frames from the agent."""

    HELLO = 64
    STDOUT = 65
    STDERR = 66
    EXIT = 67
    FAILED = 68
    CREDIT = 69
    DONE = 70


class ProtocolError(Exception):
    """The guest sent something that is no frame. It may, and can then not be followed further."""


Kind = TypeVar("Kind", Ask, Tell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """A command. `terminal` is (columns, rows) for a terminal instead of three pipes.

    `user` is USER[:GROUP], by names or numbers of the guest; nothing stands for root, and for `cwd`
    for the user's home.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str = ""
    user: str = ""
    terminal: tuple[int, int] | None = None

    def encode(self) -> bytes:
        """
        Raises:
            TooLong: when no frame can hold it.
        """
        columns, rows = self.terminal or (0, 0)
        head = struct.pack("<BHH", self.terminal is not None, columns, rows)
        head += string(self.user) + string(self.cwd)
        variables = [f"{name}={value}" for name, value in self.env.items()]
        payload = head + _strings(self.argv) + _strings(variables)
        if len(payload) > MAX_PAYLOAD:
            raise TooLong
        return payload


_LENGTHS: Final = {
    Ask.STDIN_END: 0,
    Ask.SIGNAL: 1,
    Ask.RESIZE: 4,
    Ask.CREDIT: 4,
    Ask.POWER_OFF: 0,
    Ask.SET_TIME: 8,
    Ask.FREEZE: 4,
    Ask.THAW: 0,
    Ask.CLIPBOARD: 8,
}


def is_well_formed(kind: Ask, payload: bytes) -> bool:
    """Whether the agent can read it. One that is not well-formed ends the channel."""
    try:
        match kind:
            case Ask.EXEC:
                return _end_of_exec(payload) == len(payload)
            case Ask.RENEW:
                return _end_of_renewal(payload) == len(payload)
    except struct.error:
        return False
    return kind not in _LENGTHS or len(payload) == _LENGTHS[kind]


def _end_of_exec(payload: bytes) -> int:
    at = _skip_string(payload, _skip_string(payload, _EXEC_HEAD))
    for _ in ("argv", "env"):
        (count,) = struct.unpack_from("<H", payload, at)
        at += 2
        for _ in range(count):
            at = _skip_string(payload, at)
    return at


def _end_of_renewal(payload: bytes) -> int:
    after_name = _skip_string(payload, 0)
    after_id = _skip_string(payload, after_name)
    if after_id - after_name not in (4, 4 + 16):
        return -1
    at = _skip_string(payload, after_id)
    (cards,) = struct.unpack_from("<H", payload, at)
    return at + 2 + 12 * int(cards)


def decode_exec(payload: bytes) -> Exec:
    """What `Exec.encode` made. Only of what is well-formed."""
    terminal, columns, rows = struct.unpack_from("<BHH", payload)
    user, at = take_string(payload, _EXEC_HEAD)
    cwd, at = take_string(payload, at)
    lists: list[list[str]] = []
    for _ in ("argv", "env"):
        (count,) = struct.unpack_from("<H", payload, at)
        at += 2
        words = []
        for _ in range(count):
            word, at = take_string(payload, at)
            words.append(word.decode(errors="surrogateescape"))
        lists.append(words)
    argv, variables = lists
    return Exec(
        argv=argv,
        env={name: value for name, _, value in (pair.partition("=") for pair in variables)},
        cwd=cwd.decode(errors="surrogateescape"),
        user=user.decode(errors="surrogateescape"),
        terminal=(columns, rows) if terminal else None,
    )


def take_string(payload: bytes, at: int) -> tuple[bytes, int]:
    """The string that begins there, and where the next field does."""
    end = _skip_string(payload, at)
    return payload[at + 4 : end], end


def _skip_string(payload: bytes, at: int) -> int:
    (length,) = struct.unpack_from("<I", payload, at)
    return at + 4 + int(length)


def hello(nonce: bytes = bytes(NONCE)) -> bytes:
    """The whole frame, as the agent sends it first and in answer to a SYNC."""
    return frame(Tell.HELLO, 0, struct.pack("<H", VERSION) + nonce)


def check_hello(payload: bytes) -> None:
    """
    Raises:
        ProtocolError: when the agent speaks another version.
    """
    if len(payload) != 2 + NONCE:
        raise ProtocolError("hello")
    (version,) = struct.unpack_from("<H", payload)
    if version != VERSION:
        raise ProtocolError(f"version {version}")


def frame(kind: Ask | Tell, job: int, payload: bytes = b"") -> bytes:
    return _HEADER.pack(len(payload), kind, job) + payload


def credit(count: int) -> bytes:
    return struct.pack("<I", count)


def sync(nonce: bytes, keep: Sequence[int]) -> bytes:
    return nonce + struct.pack(f"<H{len(keep)}I", len(keep), *keep)


def meet(port: int, token: bytes) -> bytes:
    return struct.pack("<I", port) + token


def console(device: str, term: str, columns: int, rows: int) -> bytes:
    return string(device) + string(term) + struct.pack("<HH", columns, rows)


def string(text: str | bytes) -> bytes:
    # As Python spells what is not UTF-8 in arguments and names of files.
    encoded = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return struct.pack("<I", len(encoded)) + encoded


def _strings(texts: Sequence[str]) -> bytes:
    if len(texts) > 0xFFFF:
        raise TooLong
    return struct.pack("<H", len(texts)) + b"".join(string(text) for text in texts)


class TooLong(Exception):
    """A command with more words than any system takes."""


class Decoder(Generic[Kind]):
    """Collects bytes and yields whole frames as (kind, job, payload).

    `kinds` are those that the other side sends: `Tell`, where that is the agent.
    """

    def __init__(self, kinds: type[Kind]) -> None:
        self._kinds: dict[int, Kind] = {int(kind): kind for kind in kinds}
        self._bytes = bytearray()

    def push(self, data: bytes) -> list[tuple[Kind, int, bytes]]:
        """
        Raises:
            ProtocolError: on an unknown kind or a payload longer than the protocol allows.
        """
        self._bytes += data
        frames = []
        while len(self._bytes) >= _HEADER.size:
            length, kind, job = _HEADER.unpack_from(self._bytes)
            if length > MAX_PAYLOAD or kind not in self._kinds:
                raise ProtocolError(f"kind {kind}, {length} bytes")
            end = _HEADER.size + length
            if len(self._bytes) < end:
                break
            frames.append((self._kinds[kind], job, bytes(self._bytes[_HEADER.size : end])))
            del self._bytes[:end]
        return frames
