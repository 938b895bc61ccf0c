"""One RFB client, once it has been greeted. Spec: RFC 6143, "Protocol Messages"."""

import struct
from collections.abc import Callable
from typing import Final

from innkeeper._core import Screen
from innkeeper.vm.display import keys
from innkeeper.vm.display.rfb import messages
from innkeeper.vm.display.rfb.clipboard import EXTENDED, Board
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
from innkeeper.vm.display.rfb.greeting import Greeting
from innkeeper.vm.display.rfb.places import Security
from innkeeper.vm.display.seat import Seat

_SHOWN: Final = 0, 0, 0, 0
# Answers to SetDesktopSize: whose wish it was, and that nobody resizes this screen, or that the
# guest was told and does as it likes.
_OWN_WISH, _PROHIBITED, _FORWARDED = 1, 1, 4
# Pixels of an update at most: what is left comes with the next one.
_MOST_PIXELS: Final = 1 << 20
_SHIFTS: Final = frozenset(("shift", "shift_r"))

# As `Screen.refresh` answers: width, height, now, and when the size changed.
Look = tuple[int, int, int, int]


class Client:
    """`send` takes whole messages; `hang_up` ends it; `wants` is called when it wants an update."""

    def __init__(
        self,
        seat: Seat,
        name: str,
        security: Security,
        send: Callable[[bytes], None],
        hang_up: Callable[[], None],
        wants: Callable[[], None],
    ) -> None:
        self._seat = seat
        self._name = name.encode()
        self._hang_up = hang_up
        self._greeting = Greeting(security, send, self._end)
        self._send = self._greeting.send
        self._wants = wants
        self._data = bytearray()
        self._over = False
        self._step: Callable[[], bool] = self._init
        self._board: Board | None = None
        self._encoder = Encoder()
        self._encodings: frozenset[int] = frozenset()
        self._acknowledged = False
        # What it has seen of the picture, and of its sizes: times of the screen's.
        self._seen = 0
        # Of that, what it was not sent yet.
        self._rest: list[Part] = []
        self._size = 0
        self._size_told = False
        self._told = 0, 0
        self._pointer_seen: int | None = None
        self.waiting = False
        self._held: dict[str, None] = {}
        self._pointer: tuple[int, int] | None = None
        self._buttons = 0

    @property
    def greeted(self) -> bool:
        """It has said who it is."""
        return self._board is not None

    def receive(self, data: bytes) -> None:
        try:
            self._data += self._greeting.receive(data)
            while not self._over and self._step():
                pass
        except messages.Nonsense:
            self._end()

    def _end(self) -> None:
        """Nothing more is heard of it, nor told to it."""
        if self._over:
            return
        self._over = True
        self.waiting = False
        self._data.clear()
        self.gone()
        self._hang_up()

    def gone(self) -> None:
        """Keys and buttons that it held go up."""
        board, self._board = self._board, None
        if board is not None:
            board.gone()
        held, self._held = self._held, {}
        for name in held:
            self._seat.keyboard.key(name, down=False)
        if self._buttons:
            self._buttons = 0
            self._seat.move(0, 0, 0, 0)

    def _take(self, count: int) -> bytes | None:
        if len(self._data) < count:
            return None
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

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
        if self._over:
            return False
        self._board = Board(self._seat.clipboard, self._send)
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
                self._choose(encodings)
            case messages.UpdateRequest(incremental):
                self._ask(incremental=incremental)
            case messages.KeyEvent():
                self._key(message)
            case messages.PointerEvent():
                self._move(message)
            case messages.SetDesktopSize(width, height):
                self._wish(width, height)
            case messages.CutText() | messages.ExtendedCut():
                self._cut(message)
        return True

    def _choose(self, encodings: tuple[int, ...]) -> None:
        self._encodings = frozenset(encodings)
        self._encoder.choose(encodings)
        if EXTENDED in self._encodings and self._board is not None:
            self._board.extend()

    def _ask(self, *, incremental: bool) -> None:
        if not incremental:
            self._forget()
        self.waiting = True
        self._wants()

    def _cut(self, message: messages.CutText | messages.ExtendedCut) -> None:
        assert self._board is not None
        if isinstance(message, messages.CutText):
            self._board.cut(message.text)
        else:
            self._board.hear(message.data)

    def _set_format(self, wanted: Format | None) -> None:
        if wanted is None or not _known(wanted):
            raise messages.Nonsense("pixels are of true colour here")
        self._encoder.format = wanted
        self._forget()
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

    def _forget(self) -> None:
        """It has seen nothing."""
        self._seen, self._rest = 0, []

    def update(self, look: Look | None = None) -> None:
        """Sends what it has not seen, if it waits for that and there is something. `look` is what a
        refresh just now has found.
        """
        screen = self._seat.screen
        if not self.waiting or screen is None:
            return
        width, height, now, resized = screen.refresh() if look is None else look
        if QEMU_KEYS in self._encodings and not self._acknowledged:
            self._acknowledged = True
            self._send_rectangles([head(_SHOWN, QEMU_KEYS)])
            return
        if resized != self._size or (EXTENDED_SIZE in self._encodings and not self._size_told):
            self._size, self._size_told = resized, True
            self._forget()
            if {EXTENDED_SIZE, DESKTOP_SIZE} & self._encodings:
                self._told = width, height
                extended = EXTENDED_SIZE in self._encodings
                size = head((0, 0, width, height), DESKTOP_SIZE)
                self._send_rectangles([_extended(0, 0, width, height) if extended else size])
                return
        if self._send_pointer(screen):
            return
        if not self._rest:
            found = screen.changed_since(self._seen)
            # Who knows of no other size sees as much as there was in the beginning.
            found = [part for part in (_within(part, self._told) for part in found) if part[2]]
            self._seen, self._rest = now, found
        parts, self._rest = _first(self._rest)
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


def _first(parts: list[Part]) -> tuple[list[Part], list[Part]]:
    """As many as fit into one update, and the others."""
    room = _MOST_PIXELS
    for place, (x, y, width, height) in enumerate(parts):
        rows = min(height, room // width)
        if rows < height:
            head = [(x, y, width, rows)] if rows else []
            return parts[:place] + head, [(x, y + rows, width, height - rows), *parts[place + 1 :]]
        room -= width * height
    return parts, []
