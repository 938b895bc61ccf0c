"""What a guest's process does while a part of its memory is on another host."""

import os
from collections.abc import Iterator
from typing import Any, cast

import pytest

from innkeeper.guest.late_memory import LateMemory
from innkeeper.vm.detached.loop import Loop
from innkeeper.vm.qmp.session import CommandError


class Guest:
    def __init__(self) -> None:
        self.loop = Loop()
        self.done: list[str] = []

    def wait_for_memory(self) -> None:
        self.done.append("wait")

    def memory_comes(self) -> None:
        self.done.append("go on")


class Memory:
    """As the core has it; `phase` is what it says next."""

    def __init__(self) -> None:
        self.phase: tuple[str, str | None, int] = ("postcopy-active", None, 8192)
        self._news = os.eventfd(0)

    def fileno(self) -> int:
        return self._news

    def progress(self) -> tuple[str, str | None, int]:
        return self.phase

    def go_on(self, descriptor: int) -> bool:
        return self.phase[0] == "postcopy-paused" and descriptor >= 0

    def abandon(self) -> None:
        self.phase = ("completed", None, 0)


@pytest.fixture
def memory() -> Iterator[Memory]:
    found = Memory()
    yield found
    os.close(found.fileno())


def test_a_guest_stands_still_while_nothing_comes(memory: Memory) -> None:
    guest = Guest()
    phases: list[str] = []
    late = LateMemory(guest, phases.append)
    assert late.status() == {}
    assert not late.outstanding
    late.expect(cast("Any", memory))
    assert late.outstanding
    assert not late.cut_off
    with pytest.raises(CommandError, match="nothing of the guest's memory is missing"):
        late.go_on(0)
    memory.phase = ("postcopy-paused", "the other host is gone", 4096)
    told = late.status()
    assert told == {
        "status": "postcopy-paused",
        "x-missing": 4096,
        "error-desc": "the other host is gone",
    }
    assert late.cut_off
    late.go_on(0)
    memory.phase = ("postcopy-active", None, 4096)
    late.status()
    assert guest.done == ["wait", "go on"]
    memory.phase = ("completed", None, 0)
    late.status()
    assert not late.outstanding
    assert phases == ["postcopy-active", "postcopy-paused", "postcopy-active", "completed"]


def test_a_guest_goes_on_where_all_came_before_anybody_looked(memory: Memory) -> None:
    guest = Guest()
    late = LateMemory(guest, lambda _: None)
    late.expect(cast("Any", memory))
    memory.phase = ("postcopy-paused", "the other host is gone", 4096)
    late.status()
    memory.phase = ("completed", None, 0)
    late.status()
    assert guest.done == ["wait", "go on"]


def test_a_guest_that_ends_while_it_waits_does_not_go_on(memory: Memory) -> None:
    guest = Guest()
    late = LateMemory(guest, lambda _: None)
    late.expect(cast("Any", memory))
    memory.phase = ("postcopy-paused", "the other host is gone", 4096)
    late.status()
    late.abandon()
    assert guest.done == ["wait"]


def test_a_guest_that_has_ended_lets_go(memory: Memory) -> None:
    phases: list[str] = []
    late = LateMemory(Guest(), phases.append)
    late.abandon()
    late.expect(cast("Any", memory))
    late.abandon()
    late.abandon()
    assert phases == ["postcopy-active", "completed"]
