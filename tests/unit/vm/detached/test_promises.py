"""What was promised to guests of others, as their supervisors tell it."""

import os
from pathlib import Path

from innkeeper.vm.detached import promises

MOST = 1 << 40


def told(directory: Path, *own: str) -> int:
    return promises.of_others(set(own), MOST, str(directory))


def test_a_promise_counts_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    made = promises.make("a-1", 5 << 30, str(tmp_path))
    assert made is not None
    assert (told(tmp_path), told(tmp_path, "a-1"), told(tmp_path, "b")) == (5 << 30, 0, 5 << 30)
    promises.change("a-1", 1 << 30, str(tmp_path))
    assert told(tmp_path) == 1 << 30
    made.end()
    assert list(tmp_path.iterdir()) == []
    # Of one that has none, nothing is told.
    promises.change("a-1", 1 << 30, str(tmp_path))
    assert told(tmp_path) == 0
    assert promises.make("a", 0, str(tmp_path)) is None


def test_what_a_killed_supervisor_left_does_not_count_and_goes(tmp_path: Path) -> None:
    made = promises.make("a", 5, str(tmp_path))
    assert made is not None
    os.close(made._fd)
    assert told(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_promise_does_not_count(tmp_path: Path) -> None:
    held = [promises.make(name, MOST + 1, str(tmp_path)) for name in ("too-much", "words")]
    user = os.geteuid()
    (tmp_path / f"innkeeper-promise-{user}-words").write_text("much")
    os.mkfifo(tmp_path / f"innkeeper-promise-{user}-pipe")
    (tmp_path / f"innkeeper-promise-{user}-link").symlink_to("innkeeper-promise-{user}-words")
    (tmp_path / f"innkeeper-promise-{user + 1}-other").write_text("5")
    (tmp_path / "innkeeper-promise-").write_text("5")
    assert told(tmp_path) == 0
    for promise in held:
        assert promise is not None
        promise.end()
