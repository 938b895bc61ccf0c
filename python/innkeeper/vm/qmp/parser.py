"""Cuts a stream of bytes into JSON texts, which need no line breaks between them.

What comes from outside is bounded here: a text's length and how deep it is nested. Whoever is over
a bound is not listened to any longer, since nobody knows where the next text would begin.
Spec: RFC 8259; QMP specification, "Protocol Specification".
"""

import json
import re
from typing import Final

LONGEST: Final = 64 * 1024  # bytes of a text
DEEPEST: Final = 64

_STRUCTURE: Final = re.compile(rb'["{}\[\]\n]')
_IN_STRING: Final = re.compile(rb'["\\\n]')
_OPENING: Final = b"{["


class Overrun(Exception):
    """A text that is too long or too deep, in words."""


class Malformed(Exception):
    """A text that is not JSON, in words. The next one may be."""


class Splitter:
    """Collects bytes and yields whole texts."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._seen = 0  # up to here they were looked at
        self._depth = 0
        self._in_string = False

    def push(self, data: bytes) -> list[bytes]:
        """
        Raises:
            Overrun: on a text beyond the bounds.
        """
        self._bytes += data
        texts = []
        while (end := self._find_end()) is not None:
            text = bytes(self._bytes[:end]).strip()
            del self._bytes[:end]
            self._seen, self._depth, self._in_string = 0, 0, False
            if text:
                self._require(len(text) <= LONGEST, "too long")
                texts.append(text)
        self._require(len(self._bytes) <= LONGEST, "too long")
        return texts

    def _find_end(self) -> int | None:
        """Where the first text ends; None while it does not."""
        while True:
            pattern = _IN_STRING if self._in_string else _STRUCTURE
            found = pattern.search(self._bytes, self._seen)
            if found is None:
                self._seen = max(self._seen, len(self._bytes))
                return None
            at, self._seen = found.start(), found.end()
            if self._step(self._bytes[at], at):
                return self._seen
            if self._seen > len(self._bytes):
                # The character behind a backslash is still to come.
                return None

    def _step(self, byte: int, at: int) -> bool:
        """True when the text ends with this byte."""
        if byte == ord("\\"):
            self._seen = at + 2
        elif byte == ord("\n"):
            # No string goes over a line's end. Outside of all brackets, it ends what is no JSON.
            ends = self._in_string or self._depth == 0
            return ends
        elif byte == ord('"'):
            self._in_string = not self._in_string
        elif byte in _OPENING:
            self._depth += 1
            self._require(self._depth <= DEEPEST, "nested too deep")
        else:
            self._depth -= 1
            return self._depth <= 0
        return False

    @staticmethod
    def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - a condition
        if not holds:
            raise Overrun(f"JSON text is {what}")


def parse(text: bytes) -> object:
    """
    Raises:
        Malformed: when `text` is not JSON.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"JSON parse error, {error}") from error


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
