"""The clipboard of a guest and of all who sit at it: all others hear of who copied last."""

from collections.abc import Callable
from typing import Final

# Bytes, in UTF-8: as many as a guest's agent takes.
LONGEST: Final = 60_000

Listening = Callable[[], None]


class Clipboard:
    """Text with line feeds between its lines."""

    def __init__(self) -> None:
        self.text = ""
        self._listening: dict[object, Listening] = {}

    def join(self, who: object, listening: Listening) -> None:
        """`listening` is called when somebody else has copied something."""
        self._listening[who] = listening

    def leave(self, who: object) -> None:
        self._listening.pop(who, None)

    def copy(self, who: object, text: str) -> None:
        """What is too long for it, is cut off; what it has already, is nothing new."""
        text = text.replace("\r\n", "\n").replace("\0", "")
        text = text.encode(errors="replace")[:LONGEST].decode(errors="ignore")
        if text == self.text:
            return
        self.text = text
        for other, listening in list(self._listening.items()):
            if other is not who:
                listening()
