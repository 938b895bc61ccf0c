"""Tab completion of guests' names, as a shell asks for it, and tables without what draws them."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.conftest import INN

from innkeeper.cli.columns import ago, columns
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.registry import Registry


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("inn exec w", {"web", "web2"}),
        ("inn stop db we", {"web", "web2"}),
        ("inn console d", {"db"}),
        ("inn stats ", {"db", "web", "web2"}),
        ("inn resu", {"resume"}),
    ],
)
def test_a_shell_completes_names(words: str, expected: set[str], tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "guests"))
    for name in ("db", "web", "web2"):
        registry.create(name, lambda home: home.write(files.DEFINITION, {"version": 1}))
    asked = {
        **os.environ,
        "INNKEEPER_HOME": str(tmp_path),
        "_INN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    said = subprocess.run([INN], env=asked, capture_output=True, check=True, text=True)
    assert set(said.stdout.split()) == expected


def test_columns_are_as_wide_as_they_must_be() -> None:
    lines = columns(("A", "LONG", "C"), [("aaaa", "b", ""), ("a", "bb", "c")])
    assert lines == ["A     LONG  C", "aaaa  b", "a     bb    c"]
    assert columns(("A",), []) == ["A"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),
        (1.5, "1 second"),
        (119, "119 seconds"),
        (121, "2 minutes"),
        (7300, "2 hours"),
        (3 * 86400 + 5, "3 days"),
    ],
)
def test_how_long_ago(seconds: float, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert ago(1000.0 - seconds) == words
