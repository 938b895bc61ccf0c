"""Keys on their way to the guest, which takes them at its own pace."""

from collections import deque
from collections.abc import Callable
from typing import Final

from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.display import keys

# Seconds after which a key is tried again that the guest had no room for.
_PAUSE: Final = 0.01
# Keys that wait. Who types more into a guest that does not read loses them, as at a real one.
MOST: Final = 8192
# Seconds between typed keys, so that a firmware's buffer of sixteen keeps up.
_PACE: Final = 0.01

Press = Callable[[bytes], bool]


class Keyboard:
    """`press` hands scan codes of a key to the machine, and answers whether it took them."""

    def __init__(self, loop: Loop, press: Press) -> None:
        self._loop = loop
        self._press = press
        # Scan codes, and the seconds after which the next may follow.
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._busy = False
        self._held: dict[str, None] = {}

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def key(self, name: str, *, down: bool) -> None:
        """A key goes down or up. One that is down goes down again when it repeats."""
        if down:
            self._held[name] = None
        else:
            self._held.pop(name, None)
        self._add(name, down=down, pause=0)

    def release(self) -> None:
        """Whoever held keys has gone."""
        for name in list(self._held):
            self.key(name, down=False)

    def press(self, names: tuple[str, ...], seconds: float) -> None:
        """Holds keys together for so long."""
        for name in names:
            self._add(name, down=True, pause=seconds if name is names[-1] else 0)
        for name in reversed(names):
            self._add(name, down=False, pause=0)

    def type(self, text: str) -> int:
        """Types what an American keyboard has keys for; how many characters it has none for."""
        unknown = 0
        for character in text:
            held = keys.of_character(character)
            unknown += not held
            for name in held:
                self._add(name, down=True, pause=0)
            for name in reversed(held):
                self._add(name, down=False, pause=_PACE if name is held[0] else 0)
        return unknown

    def _add(self, name: str, *, down: bool, pause: float) -> None:
        codes = keys.scan_codes(name, down=down)
        if not codes or len(self._waiting) >= MOST:
            return
        self._waiting.append((codes, pause))
        if not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        self._busy = False
        while self._waiting:
            codes, pause = self._waiting[0]
            taken = self._press(codes)
            if taken:
                self._waiting.popleft()
            if not taken or pause:
                self._busy = True
                self._loop.after(pause if taken else _PAUSE, self._go_on)
                return
