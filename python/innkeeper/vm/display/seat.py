"""What a guest has for all who sit at it, whichever machine is there: screen, keyboard, mouse and
clipboard.
"""

from collections.abc import Callable
from typing import Final

from innkeeper._core import Control, Screen
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.display import png
from innkeeper.vm.display.clipboard import Clipboard
from innkeeper.vm.display.keyboard import Keyboard

# Coordinates of a tablet go so far.
_FURTHEST: Final = 0x7FFF


class Seat:
    """`control` answers the machine that there is now."""

    def __init__(self, loop: Loop, control: Callable[[], Control]) -> None:
        self._control = control
        self.clipboard = Clipboard()
        self.keyboard = Keyboard(loop, lambda codes: control().key(codes))

    @property
    def screen(self) -> Screen | None:
        return self._control().screen()

    def picture(self) -> bytes | None:
        """What is shown now, as PNG; None where there is no screen."""
        screen = self.screen
        if screen is None:
            return None
        screen.refresh()
        width, rgb = screen.rgb()
        return png.encode(width, len(rgb) // (3 * width), rgb)

    def point(self, place: tuple[float, float], wheel: int, buttons: int) -> bool:
        """The hand is at that part of the screen's width and height. False where the guest has no
        tablet: then it is to be moved.
        """
        x, y = (round(min(max(part, 0), 1) * _FURTHEST) for part in place)
        return self._control().point(x, y, wheel, buttons)

    def move(self, right: int, down: int, wheel: int, buttons: int) -> None:
        self._control().mouse(right, down, wheel, buttons)
