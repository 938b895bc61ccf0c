"""A guest's directory: documents that are whole, a lock that is let go by death alone."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.processes import lives, send, start_time


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with Home.open(str(tmp_path)) as found:
        found.make_own()
        found.make_own()
        yield found


def test_a_document_comes_back(home: Home) -> None:
    home.write("x.json", {"a": 1}, lasting=True)
    assert home.read("x.json") == {"a": 1}
    home.remove("x.json")
    home.remove("x.json")
    assert home.read("x.json") is None


@pytest.mark.parametrize("rubbish", [b"", b"[1]", b"{", b"\xff", b"[" * 100_000, b" " * (2 << 20)])
def test_what_makes_no_sense_is_as_if_it_were_not_there(
    home: Home, tmp_path: Path, rubbish: bytes
) -> None:
    (tmp_path / "x.json").write_bytes(rubbish)
    assert home.read("x.json") is None


def _write_on_and_on(path: str) -> None:
    with Home.open(path) as home:
        number = 0
        while True:
            number += 1
            home.write("x.json", {"number": number, "text": "x" * 50_000})


def test_a_reader_never_sees_half_a_document_whatever_is_killed(tmp_path: Path) -> None:
    with Home.open(str(tmp_path)) as home:
        seen = set()
        for _ in range(5):
            writer = multiprocessing.get_context("spawn").Process(
                target=_write_on_and_on, args=(str(tmp_path),)
            )
            writer.start()
            while home.read("x.json") is None:
                pass
            before = len(seen)
            while len(seen) < before + 10:
                found = home.read("x.json")
                assert found is not None
                assert found["text"] == "x" * 50_000
                seen.add((writer.pid, found["number"]))
            writer.kill()
            writer.join()
    # A writer that was killed leaves one unfinished file, which the next one writes over.
    assert len(list(tmp_path.iterdir())) <= 2


def test_a_directory_is_followed_when_it_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with Home.open(str(tmp_path / "old")) as home:
        (tmp_path / "old").rename(tmp_path / "new")
        home.write("x.json", {})
        assert (home.name, home.path) == ("new", str(tmp_path / "new"))
    assert (tmp_path / "new" / "x.json").exists()


def test_the_lock_has_one_holder_and_looking_is_not_taking(home: Home) -> None:
    assert not home.is_taken()
    lock = home.take()
    assert lock is not None
    assert home.take() is None
    assert home.is_taken()
    files.release(lock)
    assert not home.is_taken()
    again = home.take()
    assert again is not None
    files.release(again)


def test_the_lock_is_held_until_the_last_who_inherited_it_has_died(home: Home) -> None:
    lock = home.take()
    assert lock is not None
    with subprocess.Popen(["sleep", "1000"], pass_fds=(lock,)) as child:
        files.release(lock)
        assert home.is_taken()
        child.kill()
        child.wait()
    assert not home.is_taken()


def test_a_guest_that_was_removed_has_no_lock(tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    with Home.open(str(tmp_path / "guest")) as home:
        (tmp_path / "guest").rmdir()
        assert not home.is_taken()
        with pytest.raises(FileNotFoundError):
            home.take()


def test_a_process_is_known_by_when_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = start_time(child.pid)
        assert started is not None
        assert lives(child.pid, started)
        assert not lives(child.pid, started + 1)
        assert not send(child.pid, started + 1, signal.SIGKILL)
        assert child.poll() is None
        assert send(child.pid, started, signal.SIGKILL)
        # It is a zombie until it is waited for, and runs no more.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not lives(child.pid, started)
        child.wait()
        assert not send(child.pid, started, signal.SIGKILL)


def mine() -> dict[str, object]:
    return {"pid": os.getpid(), "start_time": start_time(os.getpid())}


def test_a_guest_that_never_ran_is_created(home: Home) -> None:
    found = standing.look(home)
    assert (found.state, found.is_live, found.pid) == ("created", False, None)


def test_a_guest_whose_lock_is_held_runs_as_its_documents_say(home: Home) -> None:
    home.write(files.RUN, {"phase": "paused", "engine": "kvm", "ready": True, "since": 5})
    home.write(files.SUPERVISOR, {**mine(), "guest": mine(), "restarts": 2})
    lock = home.take()
    assert lock is not None
    found = standing.look(home)
    assert (found.state, found.pid, found.supervisor) == ("paused", os.getpid(), os.getpid())
    assert (found.engine, found.ready, found.since, found.restarts) == ("kvm", True, 5.0, 2)
    files.release(lock)


def test_documents_do_not_outlive_who_wrote_them(home: Home) -> None:
    # As after a crash of the host: they say that it runs, and the lock that it does not.
    home.write(files.RUN, {"phase": "running"})
    home.write(files.SUPERVISOR, {**mine(), "guest": mine()})
    found = standing.look(home)
    assert (found.state, found.pid, found.status) == ("exited", None, None)
    assert found.sentence is not None
    assert "killed" in found.sentence


def test_a_number_that_another_process_has_now_is_not_the_guests(home: Home) -> None:
    home.write(files.RUN, {"phase": "running"})
    home.write(files.SUPERVISOR, {**mine(), "guest": {"pid": os.getpid(), "start_time": 1}})
    lock = home.take()
    assert lock is not None
    found = standing.look(home)
    assert (found.state, found.pid) == ("restarting", None)
    assert standing.process_of(home) is None
    files.release(lock)


def test_a_guests_process_cannot_say_that_it_is_another(home: Home) -> None:
    home.write(files.RUN, {**mine(), "phase": "running"})
    home.write(files.ENDING, {"status": 0, "sentence": "\x1b[2Jgone", "pid": os.getpid()})
    lock = home.take()
    assert lock is not None
    assert standing.process_of(home) is None
    assert standing.look(home).pid is None
    files.release(lock)
    assert standing.look(home).sentence == "\N{REPLACEMENT CHARACTER}[2Jgone"


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"pid": "x"},
        {"pid": True, "start_time": 1},
        {"phase": 7},
        {"phase": "exited"},
        {"guest": 7, "sentence": 7, "status": "x"},
    ],
)
def test_damaged_documents_are_no_traceback(home: Home, damage: dict[str, object]) -> None:
    for name in (files.RUN, files.SUPERVISOR, files.ENDING):
        home.write(name, damage)
    assert standing.look(home).state == "exited"
    lock = home.take()
    assert lock is not None
    assert not standing.look(home).ready
    files.release(lock)
