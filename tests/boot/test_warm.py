"""Debian guests that begin as another was when it had booted."""

import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.conftest import PATIENCE
from tests.run.house import House, wait

from innkeeper import Guest
from innkeeper.images import Image

# Who a guest is, a line each. What its kernel was told shows as whom it booted.
IDENTITY = """
sed 's/.*innkeeper.hostname=\\([^ ]*\\).*/\\1/' /proc/cmdline
hostname; cat /etc/hostname /sys/class/net/e*/address
od -An -N16 -tx1 /dev/urandom; date +%s
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, debian: Image) -> Iterator[House]:
    """Where a guest `first` has booted, so that none like it need to."""
    home = tmp_path_factory.mktemp("warm") / "home"
    furnish(home, debian)
    found = House(home)
    assert identity(found, "first")[0] == "first"
    assert len(starts(found)) == 1
    yield found
    if names := found("ps", "-aq").split():
        found("rm", "-f", *names)


def identity(house: House, name: str, *options: str) -> list[str]:
    run = ("run", "--name", name, "--memory", "192M", *options, "debian")
    return house(*run, "--", "sh", "-c", IDENTITY).splitlines()


def starts(house: House) -> list[str]:
    return [start["start"] for start in json.loads(house("image", "warm", "ls", "--json"))]


def test_the_next_begins_as_the_first_and_is_itself(house: House) -> None:
    one, before = identity(house, "one"), time.time()
    other = identity(house, "other")
    assert (one[0], one[1:3]) == ("first", ["one", "one"])
    assert (other[0], other[1:3]) == ("first", ["other", "other"])
    # Address and random numbers.
    assert one[3] != other[3]
    assert one[4] != other[4]
    # Of the two clocks, which are told apart by whole seconds.
    assert before - 1 <= int(other[5]) <= time.time() + 1
    assert len(starts(house)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_one_boots_for_it_leaves_no_guest(
    house: House, number: signal.Signals
) -> None:
    run = ("run", "--detach", "--name", "unwanted", "--memory", "208M", "debian")
    with house.inn.start(*run) as process:
        wait(lambda: process.poll() is not None or runs_a_processor(process.pid), bool)
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE) == 128 + number
    assert "unwanted" not in house.states()
    assert len(starts(house)) == 1


def runs_a_processor(pid: int) -> bool:
    """Whether a process, or one below it, has a thread that runs one of a guest."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        if any((thread / "comm").read_text().startswith("vcpu") for thread in threads):
            return True
        below = [int(word) for it in threads for word in (it / "children").read_text().split()]
    except OSError:
        return False
    return any(map(runs_a_processor, below))


def test_a_cold_one_boots(house: House) -> None:
    assert identity(house, "cold", "--cold")[0] == "cold"


def test_another_kind_boots_and_leaves_a_start_of_its_own(house: House) -> None:
    assert identity(house, "two", "--cpus", "2")[0] == "two"
    assert identity(house, "three", "--cpus", "2")[0] == "two"
    (newest, *_) = starts(house)
    assert house("image", "warm", "rm", newest[:12]) == f"{newest[:12]}\n"
    assert newest not in starts(house)


def test_what_one_writes_is_gone_with_it(house: House) -> None:
    run = ("run", "--memory", "192M", "debian", "--", "sh", "-c")
    house(*run, "echo written > /root/note; sync; rm /bin/true")
    assert house(*run, "ls /root /bin/true") == "/bin/true\n\n/root:\n"


def test_folders_are_those_of_each(house: House, tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
        volume = f"{tmp_path / name}:/src"
        assert house("run", "-v", volume, "debian", "--", "ls", "/src") == f"{name}\n"


@pytest.mark.parametrize("file", ["pages.0", "state", "disk0.0.qcow2"])
def test_a_damaged_start_is_no_harm(house: House, file: str) -> None:
    identity(house, "sound")
    (key, *_) = starts(house)
    path = house.home / "warm" / key / file
    os.truncate(path, path.stat().st_size // 2)
    assert identity(house, "damaged")[0] == "damaged"
    assert identity(house, "again")[0] == "damaged"


def test_a_start_that_no_machine_can_begin_as_is_dropped(house: House) -> None:
    identity(house, "sound")
    (key, *_) = starts(house)
    place = house.home / "warm" / key
    state = place / "state"
    state.write_bytes(state.read_bytes()[:100])
    manifest = json.loads((place / "warm.json").read_text())
    for file in manifest["start"]["files"]:
        if file["name"] == "state":
            file["size"], file["mtime"] = 100, state.stat().st_mtime_ns
            file["sum"] = hashlib.sha256(state.read_bytes()).hexdigest()
    (place / "warm.json").write_text(json.dumps(manifest))
    assert identity(house, "booted")[0] == "booted"
    assert key not in starts(house)
    assert identity(house, "maker")[0] == "maker"


def test_many_at_once_do_no_harm(house: House) -> None:
    house("image", "warm", "rm", "--all")
    for _ in range(2):
        running = [
            house.inn.start("run", "--memory", "192M", "--name", name, "debian", "--", "hostname")
            for name in ("one", "two", "three", "four")
        ]
        told = [guest.communicate()[0].decode().strip() for guest in running]
        assert told == ["one", "two", "three", "four"]
    assert len(starts(house)) == 1


def test_guests_of_programs_begin_so_as_well(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(house.home))
    identity(house, "first")
    # Names that no guest had whose start is kept.
    for name in ("alpha", "beta"):
        with Guest("debian", memory="192M", name=name) as guest:
            told = guest.run(["sh", "-c", IDENTITY]).stdout.splitlines()
            assert told[1:3] == [name, name] != told[:2]
    with Guest("debian", memory="192M", name="cold", cold=True) as guest:
        assert guest.run(["sh", "-c", IDENTITY]).stdout.splitlines()[0] == "cold"


def test_guests_that_stay_begin_so_as_well(house: House) -> None:
    started = house("image", "warm", "make", "--detach", "--memory", "192M", "debian").strip()
    assert started in {start[:12] for start in starts(house)}
    for name in ("one", "two"):
        house("run", "--detach", "--name", name, "--memory", "192M", "debian")
        told = house("exec", name, "sh", "-c", IDENTITY).splitlines()
        assert (told[0], told[1:3]) == ("debian", [name, name])
    house("exec", "one", "sh", "-c", "echo kept > /root/note; sync")
    # What is removed is in use no more by then, and the guest goes on without it.
    house("image", "warm", "rm", "--all")
    house("snapshot", "create", "one", "saved")
    house("restart", "one")
    house("wait", "--ready", "one")
    assert house("exec", "one", "cat", "/root/note") == "kept\n"
    house("snapshot", "restore", "one", "saved")
    house("wait", "--ready", "one")
    told = house("exec", "one", "sh", "-c", IDENTITY).splitlines()
    assert told[:2] == ["debian", "one"]


def test_a_guest_that_stays_for_a_command_runs_it_once(house: House) -> None:
    for name in ("maker", "taker"):
        house("run", "-d", "--name", name, "--memory", "192M", "debian", "--", "hostname")
        house("wait", name)
        assert house("logs", name).splitlines().count(name) == 1


def test_a_guest_that_cannot_start_says_why_and_costs_no_start(house: House) -> None:
    # One of a kind that stays has booted, and left a start.
    house("run", "--detach", "--name", "early", "--memory", "192M", "debian")
    house("rm", "-f", "early")
    before = starts(house)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        like = ("--memory", "192M", "--publish", f"127.0.0.1:{port}:80", "debian")
        for _ in range(4):
            said = house.refuses("run", "--detach", "--name", "late", *like)
            assert f"cannot publish port {port}" in said
            # No number of the host's behind its words.
            assert said.endswith("Address already in use\n")
    assert starts(house) == before
    assert house("run", "--detach", "--name", "late", *like) == "late\n"
    house("rm", "-f", "late")
    assert starts(house) == before
