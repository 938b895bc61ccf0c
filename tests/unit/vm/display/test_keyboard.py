from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from innkeeper.vm.display.keyboard import MOST, Keyboard

if TYPE_CHECKING:
    from innkeeper.vm.detached.loop import Loop


class FakeLoop:
    def __init__(self) -> None:
        self.alarms: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.alarms.append((seconds, call))

    def run(self) -> None:
        while self.alarms:
            self.alarms.pop(0)[1]()


class Guest:
    """Takes so many keys, and then none."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.room = room
        self.taken: list[bytes] = []

    def press(self, codes: bytes) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(codes)
        return True


def made(guest: Guest) -> tuple[Keyboard, FakeLoop]:
    loop = FakeLoop()
    return Keyboard(cast("Loop", loop), guest.press), loop


def test_text_goes_down_and_up() -> None:
    guest = Guest()
    keyboard, loop = made(guest)
    assert keyboard.type("aBé") == 1
    loop.run()
    assert guest.taken == [b"\x1c", b"\xf0\x1c", b"\x12", b"\x32", b"\xf0\x32", b"\xf0\x12"]


def test_keys_are_held_together_for_a_while() -> None:
    guest = Guest()
    keyboard, loop = made(guest)
    keyboard.press(("ctrl", "c"), 0.5)
    assert guest.taken == [b"\x14", b"\x21"]
    assert [seconds for seconds, _ in loop.alarms] == [0.5]
    loop.run()
    assert guest.taken[2:] == [b"\xf0\x21", b"\xf0\x14"]


def test_a_guest_that_is_slow_gets_all_keys_in_the_end() -> None:
    guest = Guest(room=3)
    keyboard, loop = made(guest)
    keyboard.type("abc")
    for _ in range(20):
        loop.alarms.pop(0)[1]()
    assert len(guest.taken) == 3
    guest.room = 100
    loop.run()
    assert len(guest.taken) == 6


def test_a_guest_that_does_not_read_costs_no_more_than_so_many_keys() -> None:
    keyboard, loop = made(Guest(room=0))
    for _ in range(10):
        keyboard.type("x" * MOST)
    assert keyboard.waiting == MOST
    assert len(loop.alarms) == 1


def test_keys_that_somebody_held_who_has_gone_go_up() -> None:
    guest = Guest()
    keyboard, loop = made(guest)
    keyboard.key("ctrl", down=True)
    keyboard.key("a", down=True)
    keyboard.key("a", down=False)
    keyboard.release()
    loop.run()
    assert guest.taken == [b"\x14", b"\x1c", b"\xf0\x1c", b"\xf0\x14"]
