"""Signals for a command in a guest, and what is said of one that cannot be run."""

import errno
import signal
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from innkeeper.errors import CommandNotStarted
from innkeeper.guest import attached
from innkeeper.guest.streams import not_started
from innkeeper.vm.detached import standing


class Ended(BaseException):
    """In place of this process's end."""


class FakeJob:
    def __init__(self) -> None:
        self.heard: list[int] = []
        self.hears = threading.Event()

    def signal(self, number: int) -> None:
        self.heard.append(number)
        self.hears.set()


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(state=standing.RUNNING)
    monkeypatch.setattr(standing, "look", lambda _home: found)

    def end(_status: int) -> None:
        raise Ended

    monkeypatch.setattr(attached.os, "_exit", end)
    return found


def test_the_first_is_the_commands_and_the_second_is_ours(state: SimpleNamespace) -> None:
    assert state.state == standing.RUNNING
    job = FakeJob()
    with attached._signals_passed_on(cast("Any", None)) as hear:
        hear(cast("Any", job))
        signal.raise_signal(signal.SIGTERM)
        assert job.hears.wait(60)
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)
    assert job.heard == [signal.SIGTERM]


def test_the_first_ends_us_where_the_guest_was_paused_meanwhile(state: SimpleNamespace) -> None:
    job = FakeJob()
    with attached._signals_passed_on(cast("Any", None)) as hear:
        hear(cast("Any", job))
        state.state = standing.PAUSED
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)
    assert job.heard == []


def test_a_command_that_cannot_be_run_says_where() -> None:
    error = CommandNotStarted("Not a directory", 20)
    for cwd, where in (("/nope", "/nope of the guest"), ("", "the guest")):
        ending = not_started(("pwd",), error, cwd)
        assert ending.status == 126
        assert ending.sentence == f"cannot run 'pwd' in {where}: Not a directory"


def test_a_command_whose_agent_is_gone_is_lost_and_not_unknown() -> None:
    error = CommandNotStarted("the guest's agent began anew", errno.ECONNRESET)
    ending = not_started(("sleep",), error)
    assert (ending.status, "ended before the command did" in str(ending.sentence)) == (125, True)
