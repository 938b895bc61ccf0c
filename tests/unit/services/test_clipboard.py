"""A guest's agent that says nothing, or nonsense, costs who asks it a while and a sentence."""

import contextlib
import struct
from collections.abc import Iterator

import pytest

from innkeeper.errors import GuestNotRunning
from innkeeper.guest.errands import Errand, ErrandFailed
from innkeeper.services import clipboard


class FakeHome:
    name = "box"

    def read(self, name: str) -> dict[str, object]:
        return {}

    def is_taken(self) -> bool:
        return False

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator["FakeHome"]:
        yield self


class FakeAgent:
    def __init__(self, answer: bytes | None, *, booted: bool = True) -> None:
        self._answer = answer
        self._booted = booted

    def wait_ready(self, timeout: float | None = None) -> None:
        assert timeout is not None, "no guest need ever boot"
        if not self._booted:
            raise TimeoutError

    def run_errand(self, errand: Errand, timeout: float | None = None) -> bytes:
        assert timeout is not None
        if self._answer is None:
            raise TimeoutError
        return self._answer


def meet(monkeypatch: pytest.MonkeyPatch, agent: FakeAgent) -> None:
    monkeypatch.setattr(clipboard, "registry", FakeHome)
    monkeypatch.setattr(clipboard.attached, "agent", lambda _: contextlib.nullcontext(agent))


@pytest.mark.parametrize("agent", [FakeAgent(None), FakeAgent(b"", booted=False)])
def test_silence(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    meet(monkeypatch, agent)
    with pytest.raises(GuestNotRunning, match="does not answer"):
        clipboard.get("box")
    with pytest.raises(GuestNotRunning, match="does not answer"):
        clipboard.put("box", "text")


@pytest.mark.parametrize("answer", [b"", b"short"])
def test_nonsense(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    meet(monkeypatch, FakeAgent(answer))
    with pytest.raises(ErrandFailed, match="makes sense"):
        clipboard.get("box")


def test_what_is_no_text_is_shown_as_far_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    meet(monkeypatch, FakeAgent(struct.pack("<QB", 1, 1) + b"a\xffb"))
    assert clipboard.get("box") == "a\ufffdb"
    # Nobody looks at what an agent says to what it was told.
    meet(monkeypatch, FakeAgent(b"\xff"))
    clipboard.put("box", "text")
