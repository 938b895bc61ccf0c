"""One client's side of the clipboard. Spec: RFC 6143, "ClientCutText" and "ServerCutText";
rfbproto, "Extended Clipboard Pseudo-Encoding".

Who knows the extension is told that there is something, and asks for it, in UTF-8; who does not, is
sent Latin-1. Of the formats of clipboards there is text alone.
"""

import struct
import zlib
from collections.abc import Callable
from typing import Final

from innkeeper.vm.display.clipboard import LONGEST, Clipboard
from innkeeper.vm.display.rfb.messages import Nonsense

EXTENDED: Final = -0x3F5E_1A32
"""The pseudo-encoding 0xC0A1E5CE."""
_TEXT: Final = 1 << 0
_CAPS, _REQUEST, _PEEK, _NOTIFY, _PROVIDE = (1 << bit for bit in range(24, 29))
_ACTIONS: Final = _CAPS | _REQUEST | _PEEK | _NOTIFY | _PROVIDE
# Bytes that text of the longest clipboard has at most, with CR LF for each LF and a zero behind it.
_MOST: Final = 2 * LONGEST + 1


class Board:
    """`send` takes whole messages."""

    def __init__(self, shared: Clipboard, send: Callable[[bytes], None]) -> None:
        self._shared = shared
        self._send = send
        # What the client can be told; none before it said so, or where it knows no extension.
        self._extended = False
        self._actions = 0
        shared.join(self, self._changed)

    def gone(self) -> None:
        self._shared.leave(self)

    def extend(self) -> None:
        """The client knows the extension."""
        if not self._extended:
            self._extended = True
            # Until it says otherwise.
            self._actions = _REQUEST | _NOTIFY | _PROVIDE
            self._say(_ACTIONS | _TEXT, struct.pack(">I", LONGEST))

    def cut(self, text: bytes) -> None:
        self._shared.copy(self, text.decode("latin-1"))

    def hear(self, data: bytes) -> None:
        """
        Raises:
            Nonsense: when it makes no sense, or nobody offered it.
        """
        if not self._extended or len(data) < 4:
            raise Nonsense("an extended clipboard that was not offered")
        (flags,) = struct.unpack_from(">I", data)
        text = flags & _TEXT
        if flags & _CAPS:
            self._actions = flags & _ACTIONS if text else 0
        elif flags & _PROVIDE:
            if text:
                self._shared.copy(self, _provided(data[4:]))
        elif flags & _REQUEST:
            if text:
                self._provide()
        elif flags & _PEEK:
            self._notify()
        elif flags & _NOTIFY and text and self._actions & _REQUEST:
            self._say(_REQUEST | _TEXT)

    def _changed(self) -> None:
        if not self._extended:
            text = self._shared.text.encode("latin-1", errors="replace")
            self._send(struct.pack(">B3xI", 3, len(text)) + text)
        elif self._actions & _NOTIFY:
            self._notify()
        elif self._actions & _PROVIDE:
            self._provide()

    def _notify(self) -> None:
        self._say(_NOTIFY | (_TEXT if self._shared.text else 0))

    def _provide(self) -> None:
        text = self._shared.text.replace("\n", "\r\n").encode() + b"\0"
        # A stream of its own each time.
        self._say(_PROVIDE | _TEXT, zlib.compress(struct.pack(">I", len(text)) + text))

    def _say(self, flags: int, data: bytes = b"") -> None:
        self._send(struct.pack(">B3xiI", 3, -4 - len(data), flags) + data)


def _provided(data: bytes) -> str:
    """No more of it is unpacked than a clipboard has."""
    stream = zlib.decompressobj()
    try:
        (length,) = struct.unpack(">I", stream.decompress(data, 4))
        text = stream.decompress(stream.unconsumed_tail, _MOST)[:length]
    except (zlib.error, struct.error) as error:
        raise Nonsense("a clipboard that cannot be unpacked") from error
    return text.removesuffix(b"\0").decode(errors="replace")
