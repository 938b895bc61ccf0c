"""The supervisor over guests that are a line of Python each."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import PATIENCE

from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.supervisor import NOT_AGAIN

# Supervises `guest(home, number of its run)` from the tail of this program.
_PROGRAM = """
import itertools, os, sys, time
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.supervisor import supervise
home = Home.open(".")
lock = home.take()
def become(home, ready, outward):
    number = int((home.read("count.json") or {}).get("count", 0)) + 1
    home.write("count.json", {"count": number})
    home.write("run/run.json", {"phase": "running"})
    return guest(home, number)
"""


class Supervised:
    def __init__(self, directory: Path, policy: str, guest: str) -> None:
        self.home = Home.open(str(directory))
        self.home.write(files.ORDER, {"restart": policy})
        code = f"{_PROGRAM}\ndef guest(home, number):\n {guest}\nsupervise(home, os.dup(2), become)"
        self.process = subprocess.Popen([sys.executable, "-c", code], cwd=directory)

    def count(self) -> int:
        found = self.home.read("count.json") or {}
        return int(str(found.get("count", 0)))

    def wait_for_run(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.count() < number or standing.look(self.home).pid is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait(self) -> dict[str, Any]:
        assert self.process.wait(timeout=PATIENCE) == 0
        return self.home.read(files.ENDING) or {}


Start = Callable[[str, str], Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Supervised] = []

    def begin(policy: str, guest: str) -> Supervised:
        made.append(Supervised(tmp_path, policy, guest))
        return made[-1]

    yield begin
    for each in made:
        each.process.kill()
        each.process.wait()
        each.home.close()


def ends(status: str, asked: str = "False") -> str:
    ending = f"dict(status={status}, sentence=None, asked={asked})"
    return f"home.write('run/ending.json', {ending}); return 0"


def test_a_guest_that_ends_has_ended(start: Start) -> None:
    found = start("no", ends("7"))
    assert found.wait()["status"] == 7
    assert (found.count(), standing.look(found.home).status) == (1, 7)
    assert not (Path(found.home.path) / files.SUPERVISOR).exists()


def test_a_guest_that_is_killed_is_reported_by_its_parent(start: Start) -> None:
    found = start("no", "os.kill(os.getpid(), 9)")
    ending = found.wait()
    assert (ending["status"], ending["sentence"]) == (137, "its process was killed by SIGKILL")


def test_one_that_says_nothing_is_reported_as_well(start: Start) -> None:
    ending = start("no", "return 3").wait()
    assert (ending["status"], ending["asked"]) == (3, False)
    assert "unexpectedly" in ending["sentence"]


def test_on_failure_goes_on_until_it_succeeds(start: Start) -> None:
    found = start("on-failure", ends("number < 3"))
    assert found.wait()["status"] == 0
    assert found.count() == 3


def test_always_goes_on_until_it_was_asked_to_end(start: Start) -> None:
    found = start("always", ends("0", asked="number == 3"))
    assert found.wait()["asked"] is True
    assert found.count() == 3


def test_a_full_disk_keeps_nobody_from_starting_it_again(start: Start) -> None:
    full = "run/.ending.json.new"
    dies = f"number == 1 and (os.mkdir({full!r}), os.kill(os.getpid(), 9))"
    found = start("on-failure", f"{dies}; os.rmdir({full!r}); {ends('0')}")
    assert found.wait()["status"] == 0
    assert found.count() == 2


def test_a_guest_whose_end_cannot_be_told_has_ended_all_the_same(start: Start) -> None:
    found = start("no", "os.mkdir('run/.ending.json.new'); os.kill(os.getpid(), 9)")
    assert found.wait() == {}
    assert not standing.look(found.home).is_live


def test_a_guest_that_cannot_be_written_down_is_started_once_it_can(start: Start) -> None:
    full = ".supervisor.json.new"
    dies = f"number == 1 and (os.mkdir({full!r}), os.kill(os.getpid(), 9))"
    found = start("on-failure", f"{dies}; {ends('0')}")
    events = Path(found.home.path).parent / ".events" / "events.jsonl"
    restarts = f'"restart", "guest": "{found.home.name}"'
    deadline = time.monotonic() + PATIENCE
    while not events.exists() or events.read_text().count(restarts) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found.count() == 1
    (Path(found.home.path) / full).rmdir()
    assert found.wait()["status"] == 0
    assert found.count() == 2


def test_one_that_is_told_to_end_is_not_started_again(start: Start) -> None:
    found = start("always", "time.sleep(1000)")
    found.wait_for_run(1)
    found.process.send_signal(signal.SIGTERM)
    assert found.wait()["status"] == 128 + signal.SIGTERM
    assert found.count() == 1


def test_one_that_is_not_to_be_started_again_runs_to_its_end(start: Start) -> None:
    found = start("always", "time.sleep(1000)")
    found.wait_for_run(1)
    found.process.send_signal(NOT_AGAIN)
    pid = standing.look(found.home).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert found.wait()["status"] == 137
    assert found.count() == 1


def test_a_guest_outlives_its_supervisor(start: Start) -> None:
    found = start("always", "time.sleep(1000)")
    found.wait_for_run(1)
    found.process.kill()
    found.process.wait()
    stands = standing.look(found.home)
    assert (stands.state, stands.supervisor) == ("running", None)
    assert stands.pid is not None
    os.kill(stands.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while found.home.is_taken():
        assert time.monotonic() < deadline
    assert standing.look(found.home).state == "exited"


def test_between_two_runs_it_is_restarting_and_can_be_ended(start: Start) -> None:
    found = start("always", "return 1")
    deadline = time.monotonic() + PATIENCE
    while standing.look(found.home).state != "restarting":
        assert time.monotonic() < deadline
    found.process.send_signal(signal.SIGTERM)
    assert found.wait()["status"] == 1
