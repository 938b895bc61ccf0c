"""What a guest's agent does for the guest as a whole, beside running commands.

    agent.run_errand(errands.set_time(time.time_ns()))

An errand is a value; `Agent.run_errand` waits for its answer, `AgentHub.errand` hears of it later.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from innkeeper.errors import InnkeeperError, InvalidInput
from innkeeper.guest.frames import MAX_PAYLOAD, Ask, Tell, string, take_string
from innkeeper.vm.display.clipboard import LONGEST

# What an answer of `clipboard` begins with.
_COPIED: Final = struct.Struct("<QB")
# Bytes that a guest's generator of random numbers begins anew from, and as many again.
_ENTROPY: Final = 64
_LONGEST_FREEZE: Final = 24 * 3600.0  # seconds


class ErrandFailed(InnkeeperError):
    """The guest could not do what it was asked for; the text has its own words."""

    code = "errand_failed"

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class ThawedTooSoon(ErrandFailed):
    """A guest's file systems did not stand still for as long as they should have."""

    code = "thawed_too_soon"

    def __init__(self) -> None:
        super().__init__("the guest's file systems are not frozen any more: their time was over")


@dataclass(frozen=True, slots=True)
class Errand:
    """What to ask; `what` is it in words, behind which a refusal stands."""

    kind: Ask
    payload: bytes
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells a guest from others that were one with it. What is empty stays as it is.

    `machine_id` has 16 bytes; `cards` are pairs of a card's address so far and its new one, of 6
    bytes each. `entropy` goes to the guest's generator of random numbers.
    """

    hostname: str = ""
    machine_id: bytes = b""
    cards: Sequence[tuple[bytes, bytes]] = ()
    entropy: bytes = b""

    @classmethod
    def fresh(
        cls, hostname: str = "", *, cards: Sequence[tuple[bytes, bytes]] = (), machine: bool = True
    ) -> "Identity":
        """With random numbers of its own, and such a machine ID if it is wanted."""
        machine_id = b""
        if machine:
            numbers = bytearray(os.urandom(16))
            # As machine-id(5) has them: a UUID of version 4.
            numbers[6] = numbers[6] & 0x0F | 0x40
            numbers[8] = numbers[8] & 0x3F | 0x80
            machine_id = bytes(numbers)
        return cls(
            hostname=hostname, machine_id=machine_id, cards=cards, entropy=os.urandom(_ENTROPY)
        )


def set_time(nanoseconds: int) -> Errand:
    """The guest's clock, since 1970. Answered by `time_ahead`."""
    return Errand(Ask.SET_TIME, struct.pack("<Q", nanoseconds), "cannot set the guest's clock")


def time_ahead(answer: bytes) -> int:
    """By how many nanoseconds the guest's clock was ahead of what it was set to."""
    (found,) = struct.unpack("<q", answer)
    return int(found)


def renew(identity: Identity) -> Errand:
    """
    Raises:
        InvalidInput: when it is nothing that a guest can be.
    """
    if len(identity.machine_id) not in (0, 16):
        raise InvalidInput(f"a machine ID has 16 bytes, not {len(identity.machine_id)}")
    if any(len(address) != 6 for card in identity.cards for address in card):
        raise InvalidInput("a card's address has 6 bytes")
    payload = string(identity.hostname) + string(identity.machine_id) + string(identity.entropy)
    payload += struct.pack("<H", len(identity.cards))
    payload += b"".join(old + new for old, new in identity.cards)
    if len(payload) > MAX_PAYLOAD:
        raise InvalidInput(f"an identity of {len(payload)} bytes is too long")
    return Errand(Ask.RENEW, payload, "the guest cannot take its identity")


def decode_identity(payload: bytes) -> Identity:
    """What `renew` made. Only of what is well-formed."""
    hostname, at = take_string(payload, 0)
    machine_id, at = take_string(payload, at)
    entropy, at = take_string(payload, at)
    addresses = [payload[place : place + 6] for place in range(at + 2, len(payload), 6)]
    return Identity(
        hostname=hostname.decode(errors="surrogateescape"),
        machine_id=machine_id,
        entropy=entropy,
        cards=list(zip(addresses[::2], addresses[1::2], strict=True)),
    )


def freeze(limit: float) -> Errand:
    """All its file systems on disks stand still until `thaw`, for `limit` seconds at most.

    Answered by `count`.

    Raises:
        InvalidInput: when nothing can stand still for that long.
    """
    if not 0 < limit <= _LONGEST_FREEZE:
        raise InvalidInput(f"file systems cannot be frozen for {limit:g} s")
    milliseconds = max(1, round(limit * 1000))
    what = "cannot freeze the guest's file systems"
    return Errand(Ask.FREEZE, struct.pack("<I", milliseconds), what)


def thaw() -> Errand:
    """Answered by `count`: none, when the guest has thawed them by itself."""
    return Errand(Ask.THAW, b"", "cannot thaw the guest's file systems")


def set_clipboard(text: str) -> Errand:
    """What was copied elsewhere, for whoever pastes in the guest.

    Raises:
        InvalidInput: when it is longer than a clipboard is there.
    """
    payload = text.encode(errors="replace")
    if len(payload) > LONGEST:
        raise InvalidInput(f"a guest's clipboard has {LONGEST} bytes at most, not {len(payload)}")
    return Errand(Ask.SET_CLIPBOARD, payload, "cannot set the guest's clipboard")


def clipboard(known: int = 0) -> Errand:
    """What was copied in the guest, after what had the number `known`. Answered by `copied`."""
    return Errand(Ask.CLIPBOARD, struct.pack("<Q", known), "cannot read the guest's clipboard")


def copied(answer: bytes) -> tuple[int, str | None]:
    """The number of what the guest's clipboard has, and that; None where it is what was known.

    Raises:
        ErrandFailed: when no agent of ours says that.
    """
    if len(answer) < _COPIED.size:
        raise ErrandFailed("the guest's agent says nothing of its clipboard that makes sense")
    number, changed = _COPIED.unpack_from(answer)
    text = answer[_COPIED.size :][:LONGEST].decode(errors="replace") if changed else None
    return int(number), text


def count(answer: bytes) -> int:
    """Of file systems."""
    (found,) = struct.unpack("<I", answer)
    return int(found)


def outcome(errand: Errand, kind: Tell, payload: bytes) -> bytes | ErrandFailed:
    """What a job's last frame says: the answer, or why there is none. The guest is not trusted."""
    if kind is Tell.DONE:
        return payload
    number, reason = refusal(payload)
    return ErrandFailed(f"{errand.what}: {reason}", number)


def refusal(payload: bytes) -> tuple[int, str]:
    """The number and the words of a FAILED frame.

    Raises:
        struct.error: when it has none.
    """
    (number,) = struct.unpack_from("<I", payload)
    # The agent's standard library adds the number, which tells a person nothing.
    reason = payload[4:].decode(errors="replace").removesuffix(f" (os error {number})")
    return number, "".join(each for each in reason if each.isprintable())
