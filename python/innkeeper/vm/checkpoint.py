"""What images know of their own changes, so that a backup need not read what was read before.

The image of a disk writes down, under the name of a backup, which parts of the disk changed since
(crates/block/src/qcow2/bitmaps.rs). From that it tells which bytes of its file are what they were;
all others are read: of a disk that keeps no such books, or not for that name, the whole file.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_PAIR = struct.Struct("<QQ")
# Bytes of what is told of one range.
RANGE = _PAIR.size
# Bytes of what is told of a file at most: far more than a file has that anybody can back up.
LONGEST = 256 << 20
# Begins and ends, bytes.
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Of the disk of this number: its image is to know under `name` what changes from now on, and
    the file is copied but for what did not change since `since`, in whole pieces of `unit` bytes.
    Nobody needs what it knows under the names `forget`.
    """

    disk: int
    name: str
    since: str | None = None
    forget: tuple[str, ...] = field(default=())
    unit: int = 1 << 16


def parse(packed: bytes) -> Ranges:
    """
    Raises:
        ValueError: when these are no ranges, ascending.
    """
    if len(packed) % _PAIR.size:
        raise ValueError("what did not change in a disk is told by halves")
    found, last = [], 0
    for begin, end in _PAIR.iter_unpack(packed):
        if not last <= begin < end:
            raise ValueError("what did not change in a disk makes no sense")
        found.append((begin, end))
        last = end
    return found


def pack(ranges: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(_PAIR.pack(begin, end) for begin, end in ranges)


def whole(ranges: Ranges, unit: int) -> Ranges:
    """The pieces of `unit` bytes that lie in `ranges` whole."""
    found = []
    for begin, end in ranges:
        begin, end = -(-begin // unit) * unit, end // unit * unit
        if begin < end:
            found.append((begin, end))
    return found


def but(ranges: Ranges, begin: int, end: int) -> Iterable[tuple[int, int]]:
    """What of `begin` to `end` lies in none of them."""
    for first, last in ranges:
        if first > begin:
            yield begin, min(first, end)
        begin = max(begin, last)
        if begin >= end:
            return
    if begin < end:
        yield begin, end
