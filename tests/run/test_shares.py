"""Guests that are kept to their share of the host, by whatever this host has for it."""

import json
import os
import signal
from pathlib import Path

import pytest
from tests import tiny
from tests.conftest import PATIENCE
from tests.run.house import House, wait

from innkeeper.vm.detached.groups import Group
from innkeeper.vm.detached.home import Home
from innkeeper.vm.qmp.client import Client


def group(house: House, name: str) -> Group | None:
    path = Path(house.inspect(name)["directory"], "share.json")
    if not path.exists():
        return None
    directory = json.loads(path.read_text())["group"]
    return None if directory is None else Group(directory)


def limit(house: House, name: str) -> object:
    """What keeps the guest's processor time, as it keeps it: a group, or its process."""
    found = group(house, name)
    if found is None:
        with Home.open(house.inspect(name)["directory"]) as home, Client(home) as client:
            told = client.execute("x-query-limits")
        assert isinstance(told, dict)
        return told["cpu-permille"] / 1000
    name = "cpu.max" if found.version == 2 else "cpu.cfs_quota_us"
    quota = Path(found.directory, name).read_text().split()[0]
    return 0.0 if quota in ("max", "-1") else int(quota) / 100_000


@pytest.fixture
def looping(tmp_path: Path) -> Path:
    return tiny.kernel(tmp_path / "loop", tiny.LOOP)


def test_a_limit_holds_from_the_start_and_changes_while_it_runs(
    house: House, halting: Path
) -> None:
    house.start("a", halting, "--cpu-limit", "50%")
    assert limit(house, "a") == 0.5
    house("set", "a", "--cpu-limit", "0.2")
    assert limit(house, "a") == 0.2
    house("restart", "-t", "0", "a")
    assert limit(house, "a") == 0.2
    house("set", "a", "--cpu-limit", "none")
    assert limit(house, "a") == 0.0
    assert house.inspect("a")["request"]["limits"]["cpu"] is None


def test_a_guest_without_wishes_gets_a_limit_and_its_parent_restarts_it_with_it(
    house: House, halting: Path
) -> None:
    found = house.start("a", halting, "--restart", "always")
    house("set", "a", "--cpu-limit", "30%")
    assert limit(house, "a") == 0.3
    os.kill(found["pid"], signal.SIGKILL)
    house.wait_for_state("a", "running")
    wait(lambda: house.inspect("a")["pid"], lambda pid: pid not in (None, found["pid"]))
    assert limit(house, "a") == 0.3


def test_nothing_stays_of_a_group(house: House, halting: Path) -> None:
    found = house.start("a", halting, "--cpu-limit", "50%")
    first = group(house, "a")
    house("kill", "a")
    if first is None:
        pytest.skip("this host lets its guests have no control groups")
    assert not Path(first.directory).exists()
    house("start", "a")
    found, second = house.inspect("a"), group(house, "a")
    assert second is not None
    assert Path(second.directory, "cgroup.procs").read_text() == f"{found['pid']}\n"
    for process in (found["supervisor"], found["pid"]):
        os.kill(process, signal.SIGKILL)
    house.wait_for_state("a", "exited")
    assert house.states() == {"a": "exited"}
    assert not Path(second.directory).exists()


def test_weights_and_places(house: House, looping: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    found = house.start("a", looping, "--cpu-shares", "256", "--cpuset", str(cpu))
    assert os.sched_getaffinity(found["pid"]) == {cpu}
    first = group(house, "a")
    if first is None:
        # Six steps of a quarter each.
        assert os.getpriority(os.PRIO_PROCESS, found["pid"]) == 6
    else:
        name = "cpu.weight" if first.version == 2 else "cpu.shares"
        weight = int(Path(first.directory, name).read_text())
        assert weight == (25 if first.version == 2 else 256)
    house("set", "a", "--cpuset", "all")
    assert os.sched_getaffinity(found["pid"]) == os.sched_getaffinity(0)


def test_limits_of_devices_are_the_machines(house: House, halting: Path) -> None:
    house.start("a", halting, "--disk-limit", "10M,500iops")
    house("set", "a", "--network-limit", "1000pps")
    with Home.open(house.inspect("a")["directory"]) as home, Client(home) as client:
        told = client.execute("x-query-limits")
    assert isinstance(told, dict)
    del told["cpu-permille"]
    assert told == {
        "disk-bytes": 10 << 20,
        "disk-operations": 500,
        "network-bytes": 0,
        "network-operations": 1000,
    }


def test_no_more_is_promised_than_there_is(house: House, halting: Path) -> None:
    host = json.loads(house("host", "--json"))
    half = host["promisable"] // 2 // 4096 * 4
    house.start("a", halting, "--memory-min", f"{half}K", "--memory", f"{half}K")
    assert json.loads(house("host", "--json"))["promised"] == half << 10
    more = f"{half + 65536}K"
    house("create", "--name", "b", "--kernel", halting, "--memory", more, "--memory-min", more)
    assert "can be promised" in house.refuses("start", "b", status=2)
    # It does not run: what it wants otherwise is no matter.
    house("set", "b", "--cpu-limit", "50%")
    house("set", "b", "--memory-min", "none")
    house("start", "b")
    house("kill", "b")
    house("set", "b", "--memory-min", "1M")
    house("start", "b")
    assert "can be promised" in house.refuses("set", "b", "--memory-min", more, status=2)
    assert "than it has" in house.refuses("set", "b", "--memory-min", "1T", status=2)
    shown = house("host").splitlines()
    assert [line.split()[0] for line in shown[-2:]] == ["a", "b"]


def test_of_two_that_start_at_once_one_is_promised_what_is_there(
    house: House, halting: Path
) -> None:
    host = json.loads(house("host", "--json"))
    most = f"{host['promisable'] * 6 // 10 // 4096 * 4}K"
    for name in ("a", "b"):
        create = ("create", "--name", name, "--kernel", halting)
        house(*create, "--memory", most, "--memory-min", most)
    starting = [house.inn.start("start", name) for name in ("a", "b")]
    ended = [process.communicate(timeout=PATIENCE) for process in starting]
    statuses = sorted(process.returncode for process in starting)
    assert statuses == [0, 2], ended
    assert sorted(house.states().values()) == ["created", "running"]


def test_what_makes_no_sense_changes_nothing(house: House, halting: Path) -> None:
    house.start("a", halting)
    before = house.inspect("a")["request"]
    for options, words in (
        (("--cpu-limit", "much"), "much"),
        (("--cpu-shares", "1"), "shares"),
        (("--cpuset", "5000"), "5000"),
        (("--disk-limit", "50Q"), "50Q"),
        (("--memory-min", "lots"), "lots"),
        ((), "say what to change"),
    ):
        assert words in house.refuses("set", "a", *options, status=2)
        assert house.inspect("a")["request"] == before
    assert "no guest 'x'" in house.refuses("set", "x", "--cpu-limit", "1")


def test_whoever_waits_for_a_guest_promises_it_nothing(house: House, halting: Path) -> None:
    said = house.refuses("run", "--kernel", halting, "--memory-min", "1M", status=2)
    assert "--detach" in said


def test_what_a_guest_cannot_become_while_it_runs_it_does_not_become_later(
    house: House, halting: Path
) -> None:
    house.start("a", halting, "--memory", "16M")
    said = house.refuses("set", "a", "--memory", "64M")
    assert "stop it first" in said
    assert house.inspect("a")["memory"] == 16 << 20
    house("restart", "-t", "0", "a")
    assert house.inspect("a")["memory"] == 16 << 20


def test_what_was_given_up_is_not_had_again_for_a_refusal(house: House, halting: Path) -> None:
    house.start("a", halting, "--memory", "16M", "--memory-min", "16M")
    house.refuses("set", "a", "--memory", "64M", "--memory-min", "4M")
    request = house.inspect("a")["request"]
    assert (request["memory"], request["shares"]["memory"]) == (16 << 20, 4 << 20)
    # What is asked for more is asked for anew, and not had for a refusal either.
    house.refuses("set", "a", "--memory", "64M", "--memory-min", "8M")
    assert house.inspect("a")["request"]["shares"]["memory"] == 4 << 20
