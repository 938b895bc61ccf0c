"""The clipboard between viewers and an agent that answers late, or never."""

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest

from innkeeper.guest import errands
from innkeeper.guest.clipboard import GuestClipboard
from innkeeper.guest.errands import Errand, ErrandFailed
from innkeeper.guest.frames import Ask
from innkeeper.vm.display.clipboard import Clipboard

if TYPE_CHECKING:
    from innkeeper.guest.hub import AgentHub, Answered
    from innkeeper.vm.detached.loop import Loop

NOTHING_NEW = struct.pack("<QB", 0, 0)


def copied(number: int, text: str) -> bytes:
    return struct.pack("<QB", number, 1) + text.encode()


class Stage:
    """Loop and hub; `asked` is what waits for an answer."""

    def __init__(self) -> None:
        self.ready = True
        self.alarms: list[Callable[[], None]] = []
        self.asked: list[tuple[Errand, Answered]] = []
        self.shared = Clipboard()
        self.clipboard = GuestClipboard(
            cast("Loop", self), cast("AgentHub", self), self.shared, lambda: True
        )

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.alarms.append(call)

    def errand(self, errand: Errand, answered: "Answered") -> None:
        self.asked.append((errand, answered))

    def second(self) -> None:
        alarms, self.alarms = self.alarms, []
        for alarm in alarms:
            alarm()

    def texts(self) -> list[bytes]:
        """Those that are on their way."""
        return [one.payload for one, _ in self.asked if one.kind is Ask.SET_CLIPBOARD]

    def answer(self, kind: Ask, answer: bytes | ErrandFailed) -> None:
        found = next(each for each in self.asked if each[0].kind is kind)
        self.asked.remove(found)
        found[1](answer)


def test_one_errand_each_way_is_on_its_way() -> None:
    stage = Stage()
    stage.clipboard.begin()
    stage.clipboard.wanted()
    for number in range(100):
        stage.shared.copy(None, f"text {number}")
        stage.second()
    assert [one.kind for one, _ in stage.asked] == [Ask.CLIPBOARD, Ask.SET_CLIPBOARD]
    assert stage.texts() == [b"text 0"]
    stage.answer(Ask.SET_CLIPBOARD, b"")
    assert stage.texts() == [b"text 99"]
    stage.answer(Ask.SET_CLIPBOARD, b"")
    assert stage.texts() == []
    # What was asked before all that has nothing new to say.
    stage.answer(Ask.CLIPBOARD, copied(1, "text 0"))
    assert stage.shared.text == "text 99"
    stage.second()
    stage.answer(Ask.CLIPBOARD, copied(2, "text 99"))
    stage.second()
    stage.answer(Ask.CLIPBOARD, copied(3, "from within"))
    assert stage.shared.text == "from within"
    assert stage.texts() == []


def test_another_agent_owes_no_answer() -> None:
    stage = Stage()
    stage.clipboard.begin()
    stage.clipboard.wanted()
    stage.shared.copy(None, "before")
    lost, stage.asked = stage.asked, []
    stage.clipboard.begin()
    stage.second()
    assert stage.texts() == [b"before"]
    # Also where one comes after all.
    for _, answered in lost:
        answered(ErrandFailed("lost"))
    stage.shared.copy(None, "after")
    assert stage.texts() == [b"before"]
    stage.answer(Ask.SET_CLIPBOARD, b"")
    assert stage.texts() == [b"after"]


def test_an_agent_without_a_clipboard_is_left_alone() -> None:
    for answer in (ErrandFailed("none", errno.ENOSYS), b"short"):
        stage = Stage()
        stage.clipboard.begin()
        stage.clipboard.wanted()
        stage.answer(Ask.CLIPBOARD, answer)
        stage.second()
        stage.shared.copy(None, "text")
        assert stage.asked == []
    with pytest.raises(ErrandFailed):
        errands.copied(bytes(8))
    assert errands.copied(NOTHING_NEW) == (0, None)
