"""What a guest's process says of its traffic, which may be anything."""

import contextlib
from typing import Any

import pytest

from innkeeper.services import usage

_DISK = {kind: {"requests": 1, "bytes": 512} for kind in ("read", "written", "flushed", "unmapped")}
_CARD = {"id": "net0", "sent": {"bytes": 1}, "received": {"bytes": 2}}


def told(monkeypatch: pytest.MonkeyPatch, traffic: object) -> list[dict[str, Any]] | None:
    class Process:
        def execute(self, command: str) -> object:
            return traffic if command == "x-query-traffic" else {}

    class Guests:
        def open(self, name: str) -> contextlib.AbstractContextManager[str]:
            return contextlib.nullcontext(name)

    monkeypatch.setattr(usage, "registry", Guests)
    monkeypatch.setattr(usage, "Client", lambda *_: contextlib.nullcontext(Process()))
    return usage.cards("web")


def test_cards_say_who_moves_their_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    card = {**_CARD, "vhost": False, "why_not": "there are rules"}
    found = told(monkeypatch, {"disks": [_DISK], "cards": [card]})
    assert found == [{"id": "net0", "vhost": False, "why_not": "there are rules"}]


def test_a_process_of_an_older_version_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = told(monkeypatch, {"disks": [], "cards": [_CARD]})
    assert found == [{"id": "net0", "vhost": False, "why_not": None}]


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"disks": 3, "cards": []},
        {"disks": [], "cards": ["net0"]},
        {"disks": [{}], "cards": []},
        {"disks": [], "cards": [{**_CARD, "sent": {"bytes": "many"}}]},
        {"disks": [], "cards": [{**_CARD, "sent": {"bytes": 1.5}}]},
        [],
    ],
)
def test_nonsense_is_no_answer(monkeypatch: pytest.MonkeyPatch, nonsense: object) -> None:
    assert told(monkeypatch, nonsense) is None
