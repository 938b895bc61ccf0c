"""What guests that run show, and what is typed to them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.services import output_file
from innkeeper.vm.detached.home import OWN
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.display import keys
from innkeeper.vm.qmp.client import Client

# Bytes of a picture: more than the largest screen has.
_LARGEST: Final = 64 << 20
# What people call keys whose name in the protocol is another.
_ALSO: Final = {
    "control": "ctrl",
    "del": "delete",
    "ins": "insert",
    "return": "ret",
    "enter": "ret",
    "escape": "esc",
    "space": "spc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "win": "meta_l",
    "super": "meta_l",
    "printscreen": "print",
}


def screenshot(name: str, path: Path) -> None:
    """Writes what the guest shows to a PNG file, or to standard output as `-`.

    Raises:
        GuestNotFound, GuestNotRunning; CommandRefused: when it has no display.
        HostFailure: when the file cannot be written.
    """
    # Through the guest's own directory: that is all that its process may write to, and works in.
    base = f".screenshot-{os.getpid()}.png"
    passed = f"{OWN}/{base}"
    with registry().open(name) as home:
        try:
            with Client(home) as client:
                client.execute("screendump", filename=base)
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(passed, flags, dir_fd=home.directory), "rb") as file:  # noqa: PTH123
                picture = file.read(_LARGEST)
        finally:
            home.remove(passed)
    if str(path) == "-":
        sys.stdout.buffer.write(picture)
        sys.stdout.buffer.flush()
        return
    output_file.write(path, picture)


def send_keys(name: str, combinations: Sequence[str]) -> None:
    """Presses keys such as ctrl-alt-delete, one combination after another.

    Raises:
        InvalidInput: when there is no such key.
        GuestNotFound, GuestNotRunning.
    """
    pressed = [parse_keys(combination) for combination in combinations]
    with registry().open(name) as home, Client(home) as client:
        for names in pressed:
            values = [{"type": "qcode", "data": key} for key in names]
            client.execute("send-key", keys=values)


def type_text(name: str, text: str) -> None:
    """Types text, as far as an American keyboard has it.

    Raises:
        InvalidInput: when it has a character that there is no key for.
        GuestNotFound, GuestNotRunning.
    """
    for character in text:
        if not keys.of_character(character):
            raise InvalidInput(f"there is no key for {character!r}")
    with registry().open(name) as home, Client(home) as client:
        client.execute("x-type", text=text)


def parse_keys(text: str) -> tuple[str, ...]:
    """The keys of a combination, written with dashes or plus signs between them.

    Raises:
        InvalidInput: when there is no such key.
    """
    found = []
    for word in text.replace("+", "-").split("-"):
        key = _ALSO.get(word.lower(), word.lower())
        if key not in keys.NAMES:
            raise InvalidInput(f"there is no key {word!r}; write them like ctrl-alt-delete, f1")
        found.append(key)
    return tuple(found)
