"""Guests that stay, as processes: with kernels of a few bytes, so that each starts in no time."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests import tiny
from tests.conftest import INN, PATIENCE, wait_for
from tests.run.house import House, wait

from innkeeper.vm.ending import GUEST_LOST


def test_a_guest_outlives_who_started_it(house: House, halting: Path) -> None:
    found = house.start("a", halting, "--memory", "16M", "--cpus", "2")
    (listed,) = json.loads(house("ps", "--json"))
    assert listed.items() <= found.items()
    wanted = {"name": "a", "state": "running", "image": None, "cpus": 2, "memory": 16 << 20}
    assert listed.items() >= wanted.items()
    assert listed["engine"] != "auto"
    assert house.processes() == {found["pid"], found["supervisor"]}
    threads = {
        (thread / "comm").read_text().strip()
        for thread in Path(f"/proc/{found['pid']}/task").iterdir()
    }
    assert {"vcpu 0", "vcpu 1"} <= threads
    assert house("ps").splitlines()[1].split()[:2] == ["a", "running"]
    assert house("ps", "--quiet") == "a\n"


def test_create_start_stop_and_remove(house: House, halting: Path) -> None:
    assert house("create", "--name", "a", "--kernel", halting) == "a\n"
    assert house.states() == {"a": "created"}
    assert house("ps", "--json") == "[]\n"
    assert house("start", "a") == "a\n"
    assert house("ps", "-q") == "a\n"
    assert "is running" in house.refuses("start", "a")
    assert "is running" in house.refuses("rm", "a")
    # It does not listen to its power button.
    assert house("stop", "--timeout", "0.2s", "a") == "a\n"
    found = house.inspect("a")
    assert (found["state"], found["status"], found["pid"]) == ("exited", 0, None)
    assert house("stop", "a") == "a\n"
    assert house("restart", "-t", "0", "a") == "a\n"
    assert house.states() == {"a": "running"}
    assert house("rm", "--force", "a") == "a\n"
    assert house.states() == {}


def test_names(house: House, halting: Path) -> None:
    generated = house("run", "--detach", "--kernel", halting).strip()
    house("rename", generated, "b")
    assert house.states() == {"b": "running"}
    assert "already" in house.refuses("create", "--name", "b", "--kernel", halting)
    house("create", "--name", "c", "--kernel", halting)
    assert "already" in house.refuses("rename", "c", "b")
    house.refuses("rename", "c", "no/name", status=2)
    for command in ("start", "stop", "kill", "pause", "resume", "restart", "rm", "inspect"):
        assert "there is no guest 'x'" in house.refuses(command, "x")
    # The guest that runs is reached by its new name.
    house("pause", "b")
    assert house.states() == {"b": "paused", "c": "created"}
    assert "the guest 'c' was never started" in house.refuses("wait", "c")
    house("resume", "b")
    assert house.states()["b"] == "running"


def test_many_names_at_once_and_one_that_fails_spares_the_others(
    house: House, halting: Path
) -> None:
    house.start("a", halting)
    house.start("b", halting)
    done = house.inn("kill", "a", "x", "b")
    assert (done.returncode, done.stdout) == (1, b"a\nb\n")
    assert house.states() == {"a": "exited", "b": "exited"}


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (tiny.out_byte(0xF4, 3), 7, None),
        (tiny.TRIPLE_FAULT, 121, "shut down after a triple fault"),
    ],
)
def test_how_a_guest_ended_is_told(
    house: House, tmp_path: Path, code: bytes, status: int, words: str | None
) -> None:
    kernel = tiny.kernel(tmp_path / "k", code + tiny.HALT)
    house.start("a", kernel)
    assert house("wait", "a") == f"{status}\n"
    found = house.inspect("a")
    assert (found["state"], found["status"]) == ("exited", status)
    assert words is None or words in found["sentence"]


def test_one_that_cannot_start_says_why_and_is_not_there(
    house: House, tmp_path: Path, halting: Path
) -> None:
    (tmp_path / "rubbish").write_bytes(b"rubbish" * 1000)
    said = house.refuses("run", "-d", "--name", "a", "--kernel", tmp_path / "rubbish", status=2)
    assert "rubbish" in said
    assert house.states() == {}
    house.refuses("run", "-d", "--kernel", halting, "--device", "no_such:thing", status=2)
    house.refuses("run", "-d", "--kernel", halting, "--timeout", "1s", status=2)
    house.refuses("run", "--kernel", halting, "--restart", "always", status=2)


def test_kill_9_of_the_guest_is_told_and_undone_by_start(house: House, halting: Path) -> None:
    other = house.start("b", halting)
    os.kill(house.start("a", halting)["pid"], signal.SIGKILL)
    found = house.wait_for_state("a", "exited")
    assert (found["status"], found["sentence"]) == (137, "its process was killed by SIGKILL")
    assert house.inspect("b")["pid"] == other["pid"]
    house("start", "a")
    assert house.states() == {"a": "running", "b": "running"}


def test_kill_9_of_the_supervisor_leaves_a_guest_that_can_be_ended(
    house: House, halting: Path
) -> None:
    found = house.start("a", halting)
    os.kill(found["supervisor"], signal.SIGKILL)
    after = wait(lambda: house.inspect("a"), lambda seen: seen["supervisor"] is None)
    assert (after["state"], after["pid"]) == ("running", found["pid"])
    house("stop", "-t", "0", "a")
    assert (house.inspect("a")["state"], house.inspect("a")["status"]) == ("exited", 0)
    house("start", "a")


def test_kill_9_of_both_is_told(house: House, halting: Path) -> None:
    found = house.start("a", halting)
    os.kill(found["supervisor"], signal.SIGKILL)
    os.kill(found["pid"], signal.SIGKILL)
    after = house.wait_for_state("a", "exited")
    assert (after["status"], after["pid"]) == (None, None)
    assert "killed, or the host went down" in after["sentence"]
    house("start", "a")
    assert house.states() == {"a": "running"}


def test_restart_policies(house: House, tmp_path: Path, halting: Path) -> None:
    found = house.start("a", halting, "--restart", "always")
    os.kill(found["pid"], signal.SIGKILL)
    after = wait(
        lambda: house.inspect("a"),
        lambda seen: seen["state"] == "running" and seen["pid"] != found["pid"],
    )
    assert (after["supervisor"], after["restarts"]) == (found["supervisor"], 1)
    house("kill", "a")
    assert house.states() == {"a": "exited"}
    # 1 is what a guest that writes 0 to the device ends with.
    failing = tiny.kernel(tmp_path / "fail", tiny.out_byte(0xF4, 0) + tiny.HALT)
    house.start("b", failing, "--restart", "on-failure")
    wait(lambda: house.inspect("b"), lambda seen: seen["restarts"] >= 2)
    house("stop", "b")
    assert house.states()["b"] == "exited"


def test_two_inn_commands_at_once_start_a_guest_once(house: House, halting: Path) -> None:
    house("create", "--name", "a", "--kernel", halting)
    starts = [house.inn.start("start", "a") for _ in range(4)]
    statuses = sorted(process.wait(timeout=PATIENCE) for process in starts)
    for process in starts:
        process.communicate()
    assert statuses == [0, 1, 1, 1]
    assert len(house.processes()) == 2


def test_commands_against_each_other_leave_a_guest_or_none(house: House, halting: Path) -> None:
    words = (
        ("create", "--name", "a", "--kernel", str(halting)),
        ("start", "a"),
        ("rm", "--force", "a"),
        ("rename", "a", "b"),
        ("stop", "-t", "0", "a"),
        ("kill", "b"),
        ("rm", "-f", "b"),
        ("ps", "-a", "--json"),
    )
    for _ in range(3):
        racing = [house.inn.start(*command) for command in words]
        for process in racing:
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode in (0, 1), said
            assert b"Traceback" not in said
    for state in house.states().values():
        assert state in ("created", "running", "exited")


def test_the_console_has_many_readers_who_come_and_go(house: House, tmp_path: Path) -> None:
    house.start("a", tiny.kernel(tmp_path / "echo", tiny.ECHO))
    with house.inn.start("console", "a") as one, house.inn.start("console", "-r", "a") as two:
        assert one.stdout is not None
        assert two.stdout is not None
        assert one.stdin is not None
        # The second reader is there once it hears what the first types.
        deadline = time.monotonic() + PATIENCE
        os.set_blocking(two.stdout.fileno(), False)
        heard = b""
        while b"x" not in heard:
            assert time.monotonic() < deadline
            os.write(one.stdin.fileno(), b"x")
            time.sleep(0.05)
            try:
                heard += os.read(two.stdout.fileno(), 100)
            except BlockingIOError:
                continue
        wait_for(one.stdout.fileno(), b"x")
        one.kill()
        two.kill()
    assert house.states() == {"a": "running"}
    assert set(house("logs", "a")) == {"x"}


def test_logs_are_followed_to_the_guests_end(house: House, tmp_path: Path) -> None:
    code = tiny.say("one\ntwo\n") + tiny.HALT
    house.start("a", tiny.kernel(tmp_path / "talk", code))
    with house.inn.start("logs", "--follow", "a") as follower:
        assert follower.stdout is not None
        wait_for(follower.stdout.fileno(), b"two\n")
        house("stop", "-t", "0", "a")
        assert follower.wait(timeout=PATIENCE) == 0
    assert house("logs", "a", "--tail", "1") == "two\n"
    assert house("logs", "a") == "one\ntwo\n"


def test_events_tell_a_guests_life(house: House, halting: Path) -> None:
    with house.inn.start("events", "--past", "--json") as follower:
        assert follower.stdout is not None
        house.start("a", halting)
        house("pause", "a")
        house("resume", "a")
        house("kill", "a")
        house("rm", "a")
        said = wait_for(follower.stdout.fileno(), b'"remove"')
        follower.terminate()
    told = [json.loads(line)["event"] for line in said.splitlines()]
    expected = ["create", "start", "pause", "resume", "kill", "exit", "remove"]
    assert told == expected
    past = house("events", "--no-follow").splitlines()
    assert [line.split()[3] for line in past] == expected


def test_stats(house: House, tmp_path: Path) -> None:
    house.start("busy", tiny.kernel(tmp_path / "loop", tiny.LOOP), "--memory", "32M")
    (found,) = json.loads(house("stats", "--json"))
    assert (found["name"], found["granted"]) == ("busy", 32 << 20)
    assert found["cpu_percent"] > 1
    assert found["memory"] > 1 << 20
    assert found["statistics"]["engine"] == house.inspect("busy")["engine"]
    assert "busy" in house("stats", "busy")
    house("kill", "busy")
    house.refuses("stats", "busy")
    assert house("stats", "--json") == "[]\n"


def test_a_guest_without_an_agent_says_so(house: House, halting: Path) -> None:
    house.start("a", halting)
    said = house.refuses("exec", "--timeout", "0.1s", "a", "true", status=GUEST_LOST)
    assert "no agent answers in the guest 'a'" in said
    house("kill", "a")
    assert "not running" in house.refuses("console", "a")


def test_a_guest_is_its_owners_alone(house: House, halting: Path) -> None:
    found = house.start("a", halting)
    directory = Path(found["directory"])
    assert directory.stat().st_mode & 0o077 == 0
    for file in directory.rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_systemd_unit(house: House, halting: Path) -> None:
    found = house.start("a", halting)
    said = house("systemd", "a")
    assert f"ExecStart={INN} start a\n" in said
    (pid_file,) = (line for line in said.splitlines() if line.startswith("PIDFile="))
    path = Path(pid_file.removeprefix("PIDFile="))
    assert path.read_text() == f"{found['supervisor']}\n"
    # As systemd ends it.
    os.kill(found["supervisor"], signal.SIGTERM)
    os.kill(found["supervisor"], signal.SIGTERM)
    house.wait_for_state("a", "exited")
    assert not path.exists()
    if Path("/usr/bin/systemd-analyze").exists():
        unit = house.home / "a.service"
        unit.write_text(said)
        subprocess.run(["systemd-analyze", "verify", unit], check=True, env=os.environ)


def test_autostart(house: House, halting: Path) -> None:
    house("create", "--name", "a", "--kernel", halting, "--autostart")
    house("create", "--name", "b", "--kernel", halting)
    assert house("start", "--autostart") == "a\n"
    assert house("start", "--autostart") == ""
    house.refuses("start", status=2)


def test_cycles_leave_no_leak(house: House, halting: Path, cycles: int) -> None:
    for _ in range(cycles):
        house.start("a", halting)
        house("stop", "-t", "0", "a")
        house("rm", "a")
        assert house.processes() == set()
    left = {each.name for each in (house.home / "guests").iterdir()}
    assert left == {".lock", ".events"}
