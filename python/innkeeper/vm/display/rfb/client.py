"""One RFB client, from its greeting on. Spec: RFC 6143, "Protocol Messages"."""

import hmac
import os
import struct
from collections.abc import Callable
from typing import Final

from innkeeper._core import Screen
from innkeeper.vm.display import keys
from innkeeper.vm.display.rfb import des, messages
from innkeeper.vm.display.rfb.encodings import (
    ALPHA_CURSOR,
    CURSOR,
    DESKTOP_SIZE,
    EXTENDED_SIZE,
    NATIVE,
    QEMU_KEYS,
    Encoder,
    Format,
    Part,
    head,
    pointer,
)
from innkeeper.vm.display.seat import Seat

_VERSION: Final = b"RFB 003.008\n"
_OLDEST: Final = b"RFB 003.003\n"
_NONE, _VNC = 1, 2
_CHALLENGE: Final = 16
_SHOWN: Final = 0, 0, 0, 0
# Answers to SetDesktopSize: whose wish it was, and that nobody resizes this screen, or that the
# guest was told and does as it likes.
_OWN_WISH, _PROHIBITED, _FORWARDED = 1, 1, 4
_SHIFTS: Final = frozenset(("shift", "shift_r"))


class Client:
    """`send` takes whole messages; `hang_up` ends it; `wants` is called when it wants an update."""

    def __init__(
        self,
        seat: Seat,
        name: str,
        password: bytes | None,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
        wants: Callable[[], None],
    ) -> None:
        self._seat = seat
        self._name = name.encode()
        self._password = password
        self._send = send
        self._hang_up = hang_up
        self._wants = wants
        self._data = bytearray()
        self._step: Callable[[], bool] = self._version
        self._challenge = os.urandom(_CHALLENGE)
        self._oldest = False
        self._encoder = Encoder()
        self._encodings: frozenset[int] = frozenset()
        self._acknowledged = False
        # What it has seen of the picture, and of its sizes: times of the screen's.
        self._seen = 0
        self._size = 0
        self._size_told = False
        self._told = 0, 0
        self._pointer_seen: int | None = None
        self.waiting = False
        self._held: dict[str, None] = {}
        self._pointer: tuple[int, int] | None = None
        self._buttons = 0
        send(_VERSION)

    def receive(self, data: bytes) -> None:
        self._data += data
        try:
            while self._step():
                pass
        except messages.Nonsense:
            self._hang_up()

    def gone(self) -> None:
        """Keys and buttons that it held go up."""
        for name in self._held:
            self._seat.keyboard.key(name, down=False)
        if self._buttons:
            self._seat.move(0, 0, 0, 0)

    # Greeting.

    def _take(self, count: int) -> bytes | None:
        if len(self._data) < count:
            return None
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def _version(self) -> bool:
        version = self._take(len(_VERSION))
        if version is None:
            return False
        if not version.startswith(b"RFB 003."):
            raise messages.Nonsense("it is no client of RFB 3")
        kind = _NONE if self._password is None else _VNC
        self._oldest = version <= _OLDEST
        if self._oldest:
            # There is nothing to choose.
            self._send(struct.pack(">I", kind))
            self._begin_security(kind)
        else:
            self._send(bytes((1, kind)))
            self._step = self._security
        return True

    def _security(self) -> bool:
        chosen = self._take(1)
        if chosen is None:
            return False
        if chosen[0] != (_NONE if self._password is None else _VNC):
            self._refuse("there is no such security here")
            return False
        self._begin_security(chosen[0])
        return True

    def _begin_security(self, kind: int) -> None:
        if kind == _VNC:
            self._send(self._challenge)
            self._step = self._answer
            return
        if not self._oldest:
            self._send(struct.pack(">I", 0))
        self._step = self._init

    def _answer(self) -> bool:
        answer = self._take(_CHALLENGE)
        if answer is None:
            return False
        assert self._password is not None
        if not hmac.compare_digest(answer, des.answer(self._password, self._challenge)):
            self._refuse("the password is wrong")
            return False
        self._send(struct.pack(">I", 0))
        self._step = self._init
        return True

    def _refuse(self, why: str) -> None:
        reason = b"" if self._oldest else struct.pack(">I", len(why)) + why.encode()
        self._send(struct.pack(">I", 1) + reason)
        self._hang_up()

    def _init(self) -> bool:
        # Whether others may look as well: they may.
        if self._take(1) is None:
            return False
        width, height, _, self._size = self._refresh()
        self._told = width, height
        bits, depth, big, largest, shifts = NATIVE
        pixels = struct.pack(">BBBBHHHBBB3x", bits, depth, big, 1, *largest, *shifts)
        self._send(
            struct.pack(">HH", width, height)
            + pixels
            + struct.pack(">I", len(self._name))
            + self._name
        )
        self._step = self._message
        return True

    def _refresh(self) -> tuple[int, int, int, int]:
        screen = self._seat.screen
        return (1, 1, 0, 0) if screen is None else screen.refresh()

    # Messages.

    def _message(self) -> bool:
        message = messages.take(self._data)
        if message is None:
            return False
        match message:
            case messages.SetPixelFormat(wanted):
                self._set_format(wanted)
            case messages.SetEncodings(encodings):
                self._encodings = frozenset(encodings)
                self._encoder.choose(encodings)
            case messages.UpdateRequest(incremental):
                self._seen = self._seen if incremental else 0
                self.waiting = True
                self._wants()
            case messages.KeyEvent():
                self._key(message)
            case messages.PointerEvent():
                self._move(message)
            case messages.SetDesktopSize(width, height):
                self._wish(width, height)
            # A clipboard: there is nobody in the guest to hand it to.
        return True

    def _set_format(self, wanted: Format | None) -> None:
        if wanted is None or not _known(wanted):
            raise messages.Nonsense("pixels are of true colour here")
        self._encoder.format = wanted
        self._seen = 0
        self._pointer_seen = None

    def _key(self, event: messages.KeyEvent) -> None:
        name = None if event.number is None else keys.of_number(event.number)
        if name is None:
            name = keys.of_symbol(event.symbol)
        if name is None:
            return
        # A client that sends characters rather than keys may not send their shift.
        needed = event.number is None and event.symbol < 0x7F
        needed = needed and "shift" in keys.of_character(chr(event.symbol))
        alone = needed and not _SHIFTS & self._held.keys()
        if alone and event.down:
            self._seat.keyboard.key("shift", down=True)
        self._seat.keyboard.key(name, down=event.down)
        if alone and event.down:
            self._seat.keyboard.key("shift", down=False)
        if event.down:
            self._held[name] = None
        else:
            self._held.pop(name, None)

    def _move(self, event: messages.PointerEvent) -> None:
        x, y = self._pointer or (event.x, event.y)
        self._pointer = event.x, event.y
        pressed = event.buttons & ~self._buttons
        wheel = (pressed >> 4 & 1) - (pressed >> 3 & 1)
        self._buttons = event.buttons
        # The second is the middle one here, and the right one at a mouse.
        held = event.buttons & 1 | event.buttons << 1 & 4 | event.buttons >> 1 & 2
        width, height = self._told
        place = event.x / max(width - 1, 1), event.y / max(height - 1, 1)
        if not self._seat.point(place, wheel, held):
            self._seat.move(event.x - x, event.y - y, wheel, held)

    # Updates.

    def update(self) -> None:
        """Sends what it has not seen, if it waits for that and there is something. The screen has
        been refreshed.
        """
        screen = self._seat.screen
        if not self.waiting or screen is None:
            return
        width, height, now, resized = screen.refresh()
        if QEMU_KEYS in self._encodings and not self._acknowledged:
            self._acknowledged = True
            self._send_rectangles([head(_SHOWN, QEMU_KEYS)])
            return
        if resized != self._size or (EXTENDED_SIZE in self._encodings and not self._size_told):
            self._size, self._size_told, self._seen = resized, True, 0
            if {EXTENDED_SIZE, DESKTOP_SIZE} & self._encodings:
                self._told = width, height
                extended = EXTENDED_SIZE in self._encodings
                size = head((0, 0, width, height), DESKTOP_SIZE)
                self._send_rectangles([_extended(0, 0, width, height) if extended else size])
                return
        if self._send_pointer(screen):
            return
        parts = screen.changed_since(self._seen)
        # Who knows of no other size sees as much as there was in the beginning.
        parts = [part for part in (_within(part, self._told) for part in parts) if part[2]]
        self._seen = now
        if parts:
            self._send_rectangles(self._encoder.rectangles(screen, parts))

    def _send_pointer(self, screen: Screen) -> bool:
        """Where the client draws it, and it looks different."""
        if not {CURSOR, ALPHA_CURSOR} & self._encodings:
            return False
        looks = screen.cursor(self._pointer_seen)
        if looks is None:
            return False
        self._pointer_seen = looks[0]
        alpha = ALPHA_CURSOR in self._encodings
        self._send_rectangles([pointer(looks, self._encoder.format, alpha=alpha)])
        return True

    def _wish(self, width: int, height: int) -> None:
        screen = self._seat.screen
        forwarded = width and height and screen is not None and screen.wish(width, height)
        status = _FORWARDED if forwarded else _PROHIBITED
        width, height, _, _ = self._refresh()
        self._send_rectangles([_extended(_OWN_WISH, status, width, height)], asked=False)

    def _send_rectangles(self, rectangles: list[bytes], *, asked: bool = True) -> None:
        if asked:
            self.waiting = False
        self._send(struct.pack(">xxH", len(rectangles)) + b"".join(rectangles))


def _extended(reason: int, status: int, width: int, height: int) -> bytes:
    """The size, as one screen. Spec: rfbproto, "ExtendedDesktopSize Pseudo-encoding"."""
    screens = struct.pack(">B3xIHHHHI", 1, 0, 0, 0, width, height, 0)
    return head((reason, status, width, height), EXTENDED_SIZE) + screens


def _within(part: Part, size: tuple[int, int]) -> Part:
    x, y, width, height = part
    wide, high = (max(0, most - at) for most, at in zip(size, (x, y), strict=True))
    return (x, y, min(width, wide), min(height, high)) if wide and high else (x, y, 0, 0)


def _known(wanted: Format) -> bool:
    bits, _, _, largest, shifts = wanted
    fits = all(
        most & (most + 1) == 0 and shift + most.bit_length() <= bits
        for most, shift in zip(largest, shifts, strict=True)
    )
    return bits in (8, 16, 32) and fits
