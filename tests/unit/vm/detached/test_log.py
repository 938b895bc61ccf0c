"""A log that stays short, and those who follow it over its turns; the journal in the same way."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import journal, log
from innkeeper.vm.detached.follow import follow, lines_at_end
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.log import Log


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    (tmp_path / "guests" / "a").mkdir(parents=True)
    with Home.open(str(tmp_path / "guests" / "a")) as found:
        found.make_own()
        yield found


def test_a_log_is_two_files_that_do_not_grow(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LONGEST", 1000)
    written = Log(home)
    for number in range(200):
        written.write(f"line {number}\n".encode() * 5)
    written.close()
    place = Path(home.path)
    sizes = [(place / name).stat().st_size for name in (files.LOG, files.OLD_LOG)]
    assert max(sizes) < 1100
    assert (place / files.LOG).read_text().endswith("line 199\n")
    # The next run goes on in the same one.
    again = Log(home)
    again.write(b"more\n")
    again.close()
    assert (place / files.LOG).read_text().endswith("line 199\nmore\n")


def test_the_last_words_are_of_this_run(home: Home) -> None:
    written = Log(home)
    written.write(b"Kernel panic - not syncing: x\n")
    assert written.panicked
    written.restart()
    assert (written.panicked, written.text) == (False, "")
    written.close()


def test_a_full_disk_costs_lines_and_nothing_else(home: Home) -> None:
    written = Log(home)
    written.close()
    written._fd = os.open("/dev/full", os.O_WRONLY)
    written.write(b"lost\n")
    assert written.text == "lost\n"
    written.close()


def test_a_follower_goes_on_in_the_new_file(home: Home) -> None:
    place = Path(home.path)
    path = place / files.LOG
    path.write_bytes(b"skipped\n")
    steps = iter(
        (
            lambda: path.write_bytes(b"skipped\none\n"),
            lambda: (path.rename(place / files.OLD_LOG), path.write_bytes(b"two\n")),
            lambda: path.unlink(),
            lambda: path.write_bytes(b"three\n"),
        )
    )

    def over() -> bool:
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    said = b"".join(follow(home.directory, files.LOG, len(b"skipped\n"), over))
    assert said == b"one\ntwo\nthree\n"


def test_what_is_not_there_yet_is_followed_once_it_is(home: Home) -> None:
    path = Path(home.path) / "late"
    steps = iter((lambda: None, lambda: path.write_bytes(b"x")))

    def over() -> bool:
        step = next(steps, None)
        if step is not None:
            step()
        return step is None

    assert b"".join(follow(home.directory, "late", 0, over)) == b"x"


@pytest.mark.parametrize(
    ("count", "expected"), [(0, b""), (1, b"c"), (2, b"b\nc"), (9, b"a\nb\nc")]
)
def test_the_last_lines(count: int, expected: bytes) -> None:
    assert lines_at_end(b"a\nb\nc", count) == expected


def test_the_journal_turns_and_loses_nothing_of_the_present(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_LONGEST", 2000)
    for number in range(100):
        journal.tell(home, "start", number=number)
    place = Path(home.path).parent / journal.DIRECTORY
    lines = [
        json.loads(line)
        for name in (journal.OLD, journal.NAME)
        if (place / name).exists()
        for line in (place / name).read_text().splitlines()
    ]
    numbers = [line["number"] for line in lines]
    assert numbers == list(range(numbers[0], 100))
    assert {(line["event"], line["guest"]) for line in lines} == {("start", "a")}
    assert sum(each.stat().st_size for each in place.iterdir()) < 4500


def test_a_journal_that_cannot_be_written_is_nobodys_end(home: Home) -> None:
    (Path(home.path).parent / journal.DIRECTORY).write_text("in the way")
    journal.tell(home, "start")
