"""Text for a guest's clipboard comes from standard input as it is, or is refused in a sentence."""

import io
import sys

import pytest
from tests.unit.cli.test_main import inn

from innkeeper.services import clipboard as clipboards
from innkeeper.vm.display.clipboard import LONGEST


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def test_text_is_utf_8_whatever_the_terminal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(clipboards, "put", lambda _name, text: copied.append(text))
    monkeypatch.setattr(clipboards, "get", lambda _name: copied[-1])
    typed(monkeypatch, "für alle\r\n".encode())
    assert inn(monkeypatch, "clipboard", "box", "-") == 0
    assert copied == ["für alle\r\n"]
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    assert inn(monkeypatch, "clipboard", "box") == 0
    sys.stdout.flush()
    assert shown.getvalue() == "für alle\r\n".encode()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * (LONGEST + 1)])
def test_what_no_clipboard_can_have_is_refused(
    data: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, data)
    assert inn(monkeypatch, "clipboard", "box", "-") == 2
    said = capsys.readouterr().err
    assert said.startswith("inn: ")
    assert said.count("\n") == 1
