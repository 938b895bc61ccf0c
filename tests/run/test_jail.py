"""Code that has come out of its guest (tests.run.escaped), in the jail and without it."""

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests import tiny
from tests.run.escaped import escape, escape_attended
from tests.run.house import House, wait

from innkeeper.machine import EngineChoice, MachineSpec
from innkeeper.vm.process import GuestProcess
from innkeeper.vm.wiring import Wiring


def test_what_escapes_from_a_guest_is_in_a_jail(house: House, tmp_path: Path) -> None:
    found = escape(house, tmp_path)
    # It can copy itself: so a guest is saved while it goes on. A copy is in the same jail.
    assert (found.pop("write its own"), found.pop("fork")) == ("done", "done")
    # Not allowed, not there, or not to be written to.
    assert set(found.values()) <= {"EPERM", "EACCES", "ENOENT", "EROFS"}, found


def test_so_is_what_escapes_from_one_that_is_attended_to(house: House, tmp_path: Path) -> None:
    found = escape_attended(house, tmp_path)
    assert (found.pop("write its own"), found.pop("fork")) == ("done", "done")
    assert set(found.values()) <= {"EPERM", "EACCES", "ENOENT", "EROFS"}, found


def test_without_the_jail_an_attended_one_could_do_much(house: House, tmp_path: Path) -> None:
    found = escape_attended(house, tmp_path, "--no-jail")
    done = {goal for goal, result in found.items() if result == "done"}
    assert done >= {"read a file", "read another guest", "control another guest", "fork", "run"}


def test_a_guest_of_a_program_is_in_a_jail(
    halting: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spec = MachineSpec(kernel=halting, memory=16 << 20, devices=(), engine=EngineChoice.TRANSLATOR)
    guest = GuestProcess(spec, Wiring())
    try:
        (own,) = tmp_path.glob("innkeeper-scratch-*")
        pid = wait(lambda: inner(guest.pid), lambda found: is_locked_in(found))
        status = Path(f"/proc/{pid}/status").read_text()
        mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
        if len(mounts) > 10:
            pytest.skip("this host gives no root directories to this user")
        assert [line.split(" ")[1] for line in mounts if " rw," in line] == [str(own)]
        # It is the first of its own, and the process between holds nothing of the guest's.
        assert "NSpid:\t" in status
        assert next(line for line in status.splitlines() if "NSpid" in line).split()[2] == "1"
        assert pid != guest.pid
        held = {str(fd.readlink()) for fd in Path(f"/proc/{guest.pid}/fd").iterdir()}
        assert not any(name.startswith("socket:") for name in held)
        # Who kills that one has killed the guest.
        os.kill(guest.pid, signal.SIGKILL)
        wait(lambda: Path(f"/proc/{pid}").exists(), lambda there: not there)
    finally:
        guest.close()
    assert not own.exists()


def inner(pid: int) -> int:
    """The guest's process, of which the one that was started is the parent."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def is_locked_in(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()
    return False


def test_without_the_jail_it_could_do_much(house: House, tmp_path: Path) -> None:
    # So the test above sees what is done, and not only what fails anyhow.
    found = escape(house, tmp_path, "--no-jail")
    done = {goal for goal, result in found.items() if result == "done"}
    assert done >= {"read a file", "read another guest", "control another guest", "fork", "run"}
    assert done >= {"send to somebody", "go up", "go up by what it holds"}


def test_which_walls_stand_is_told(house: House, halting: Path) -> None:
    assert "seccomp" in house.start("a", halting)["jail"]
    assert house.start("b", halting, "--no-jail")["jail"] == []


def walls(house: House, kernel: Path, *options: str) -> dict[str, Any]:
    """A guest with all walls that this host can have; else the reason why that is not tested."""
    found = house.start("walled", kernel, *options)
    assert "seccomp" in found["jail"]
    if found["jail_missing"]:
        pytest.skip("; ".join(found["jail_missing"]))
    return found


def test_there_is_nothing_in_its_root_but_what_it_needs(house: House, halting: Path) -> None:
    found = walls(house, halting, "--engine", "translator", "--network", "none")
    mounts = Path(f"/proc/{found['pid']}/mounts").read_text().splitlines()
    places = {line.split(" ")[1] for line in mounts}
    guest = Path(found["directory"])
    mine = {f"/proc/{found['pid']}", "/proc/sys/kernel/random/boot_id"}
    cache = str(Path.home() / ".cache" / "innkeeper")
    expected = {"/", *mine, str(halting), str(guest / "run"), str(guest.parent / ".events")}
    assert places - {cache} == expected
    writable = {line.split(" ")[1] for line in mounts if " rw," in line}
    assert writable == {str(guest / "run"), str(guest.parent / ".events")}


def test_guests_of_root_are_users_of_their_own(house: House, halting: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give guests users of their own")
    first = walls(house, halting)
    second = house.start("b", halting)
    users = [Path(f"/proc/{found['pid']}").stat().st_uid for found in (first, second)]
    assert users[0] != users[1]
    assert min(users) >= 1_879_048_192
    assert f"user {users[0]}" in first["jail"]
    # What they write is root's, as if it had written it.
    assert (Path(first["directory"]) / "run" / "run.json").stat().st_uid == 0


def test_its_process_sees_no_other(house: House, halting: Path) -> None:
    found = walls(house, halting)
    assert "pid namespace" in found["jail"]
    numbers = [
        line.split()[1:]
        for line in Path(f"/proc/{found['pid']}/status").read_text().splitlines()
        if line.startswith("NSpid:")
    ]
    assert numbers == [[str(found["pid"]), "1"]]
    # Its parent is the supervisor, and nobody between them is left.
    children = [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and is_child(entry, found["supervisor"])
    ]
    assert [entry.name for entry in children] == [str(found["pid"])]


def is_child(process: Path, parent: int) -> bool:
    try:
        return process.joinpath("stat").read_text().rpartition(") ")[2].split()[1] == str(parent)
    except OSError:
        return False


def test_a_guest_that_is_renamed_knows_its_name(house: House, halting: Path) -> None:
    walls(house, halting)
    house("rename", "walled", "other")
    house("stop", "other")
    told = [
        json.loads(line) for line in house("events", "--past", "--json", "--no-follow").splitlines()
    ]
    assert {event["guest"] for event in told if event["event"] == "exit"} == {"other"}


def test_each_thread_has_given_up_what_it_has_no_need_of(house: House, tmp_path: Path) -> None:
    # A kernel that is not in a hurry: so all of its threads are there to be looked at.
    found = house.start("many", tiny.kernel(tmp_path / "loop", tiny.LOOP))
    filters = {}
    for thread in Path(f"/proc/{found['pid']}/task").iterdir():
        lines = (thread / "status").read_text().splitlines()
        told = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if "Seccomp_filters" not in told:
            pytest.skip("this kernel does not count filters")
        filters[told["Name"]] = int(told["Seccomp_filters"])
    # The process's, which are what the one has that makes the others.
    process = filters["threads"]
    names = {name.split(" ")[0] for name in filters}
    assert {"vcpu", "timers", "input"} <= names, filters
    assert all(count > process for name, count in filters.items() if name != "threads"), filters
    assert filters["vcpu 0"] == process + 2
