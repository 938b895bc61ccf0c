"""The bytes of qemu-guest-agent's protocol: JSON texts on lines, and the byte that begins anew.

The guest is not trusted: a line's length and depth are bounded, and so is what may be made of it.
Spec: QEMU documentation, "QEMU Guest Agent Protocol Reference".
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Final

from innkeeper.vm.qmp.parser import Malformed, parse

# Bytes of an answer; the longest that is asked for has a piece of a file in it.
LONGEST: Final = 512 * 1024
# No text of JSON has it: whoever reads it forgets what came before.
_ANEW: Final = b"\xff"


class Nonsense(Exception):
    """The guest sent something that is no answer. It may."""


def sync(number: int) -> bytes:
    """Asked at first: the agent forgets what it has of a question, and so do we of its answers."""
    return _ANEW + request("guest-sync-delimited", {"id": number})


def request(command: str, arguments: Mapping[str, object]) -> bytes:
    asked: dict[str, object] = {"execute": command}
    if arguments:
        asked["arguments"] = arguments
    return json.dumps(asked).encode() + b"\n"


class Answers:
    """Collects bytes and yields whole answers."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, data: bytes) -> list[dict[str, object]]:
        """
        Raises:
            Nonsense: when it is none, or longer than any.
        """
        self._bytes += data
        at = self._bytes.rfind(_ANEW)
        if at >= 0:
            del self._bytes[: at + 1]
        found = []
        while (end := self._bytes.find(b"\n")) >= 0:
            line = bytes(self._bytes[:end]).strip()
            del self._bytes[: end + 1]
            if line:
                found.append(_answer(line))
        if len(self._bytes) > LONGEST:
            raise Nonsense("an answer without an end")
        return found


def _answer(line: bytes) -> dict[str, object]:
    if len(line) > LONGEST:
        raise Nonsense("a long answer")
    try:
        answer = parse(line)
    except Malformed as malformed:
        raise Nonsense(str(malformed)) from malformed
    if not isinstance(answer, dict):
        raise Nonsense("an answer that is no object")
    return answer


def integer(answer: object, name: str | None = None) -> int:
    """A whole number of 64 bits, which is the answer or its member `name`.

    Raises:
        Nonsense: when it is none.
    """
    found = member(answer, name) if name is not None else answer
    if not isinstance(found, int) or isinstance(found, bool) or not -(1 << 63) <= found < 1 << 64:
        raise Nonsense(f"{name or 'the answer'} is no whole number")
    return found


def data(answer: object, name: str, most: int) -> bytes:
    """Bytes of a member, `most` at most; none where it is missing.

    Raises:
        Nonsense: when it is nothing of that kind.
    """
    found = member(answer, name) or ""
    try:
        if not isinstance(found, str):
            raise Nonsense(f"{name} is no text")
        decoded = base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Nonsense(f"{name} is no data") from error
    if len(decoded) > most:
        raise Nonsense(f"{name} is more than was asked for")
    return decoded


def member(answer: object, name: str) -> object:
    """
    Raises:
        Nonsense: when the answer has no members.
    """
    if not isinstance(answer, dict):
        raise Nonsense("an answer that is no object")
    return answer.get(name)
