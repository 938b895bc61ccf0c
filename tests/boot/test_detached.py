"""Debian guests that stay: commands in them, their console, their disk, their end."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest
from tests.conftest import INN, PATIENCE, wait_for
from tests.run.house import House

from innkeeper import Guest
from innkeeper.errors import GuestNotFound, GuestNotRunning


@pytest.fixture(scope="module")
def box(house: House) -> str:
    """A guest that all tests share which leave it as it is."""
    run = ("run", "--cold", "--detach", "--name", "box", "--memory", "256M", "debian")
    assert house(*run) == "box\n"
    return "box"


def test_exec_is_the_commands_in_all_that_scripts_see(house: House, box: str) -> None:
    done = house.inn("exec", box, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    assert house("exec", box, "hostname") == "box\n"
    # What follows the name is the command's, options as well.
    assert "total" in house("exec", box, "ls", "-l", "/")
    assert house("exec", box, "--", "echo", "-n", "--") == "--"
    (listed,) = json.loads(house("ps", "--json"))
    assert (listed["name"], listed["image"], listed["ready"]) == ("box", "debian", True)


def test_exec_takes_standard_input_when_it_is_told_to(house: House, box: str) -> None:
    assert house("exec", "-i", box, "wc", "-c", stdin=bytes(300_000)) == "300000\n"
    assert house("exec", box, "wc", "-c", stdin=b"not for it") == "0\n"


def test_exec_as_somebody_somewhere_with_something(house: House, box: str) -> None:
    script = 'echo $(id -u) $(id -g) "$PWD" "$WHO"'
    said = house("exec", "-u", "33", "-w", "/usr", "-e", "WHO=a b", box, "sh", "-c", script)
    assert said == "33 33 /usr a b\n"


@pytest.mark.parametrize("options", [("--cold",), ()])
def test_a_guest_that_is_stopped_did_not_fail_to_run_its_command(
    house: House, options: tuple[str, ...]
) -> None:
    # One that has booted speaks by vsock, which its agent leaves first.
    house(
        "run", "-d", *options, "--name", "busy", "--memory", "192M", "debian", "--", "sleep", "1000"
    )
    house("wait", "--ready", "busy")
    command = (INN, "exec", "busy", "sh", "-c", "echo up; sleep 1000")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=house.inn.environment
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"up\n"
        house("stop", "busy")
        assert running.wait(PATIENCE) == 125
        assert b"ended before the command did" in running.stderr.read()
    found = house.inspect("busy")
    assert (found["status"], found["sentence"]) == (0, None)
    house("rm", "busy")


def test_exec_of_what_is_not_there(house: House, box: str) -> None:
    done = house.inn("exec", box, "no-such-program")
    assert done.returncode == 127
    assert b"cannot run 'no-such-program' in the guest" in done.stderr
    assert house.inn("exec", "nobody", "true").returncode == 1
    assert house.inn("exec", box).returncode == 2


def test_a_signal_reaches_the_command(house: House, box: str) -> None:
    with house.inn.start("exec", box, "sh", "-c", "echo up; exec sleep 1000") as process:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"up")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 128 + signal.SIGINT


def test_a_command_whose_client_was_killed_does_not_stay(house: House, box: str) -> None:
    with house.inn.start("exec", box, "sh", "-c", "echo up; exec sleep 4321") as process:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"up")
        process.kill()
    script = "while pgrep -f 'sleep 4321' | grep -qv $$; do sleep 0.05; done; echo gone"
    assert house("exec", box, "sh", "-c", script.replace("4321'", "432[1]'")) == "gone\n"


def test_an_output_that_nobody_reads_holds_up_nobody_else(house: House, box: str) -> None:
    with house.inn.start("exec", box, "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"y\ny\n"
        for _ in range(3):
            assert house("exec", box, "echo", "quick") == "quick\n"
        process.kill()


def test_megabytes_by_many_at_once(house: House, box: str) -> None:
    command = ("exec", box, "seq", "1", "100000")
    running = [house.inn.start(*command) for _ in range(3)]
    expected = "".join(f"{n}\n" for n in range(1, 100_001)).encode()
    for process in running:
        stdout, _ = process.communicate(timeout=PATIENCE)
        assert stdout == expected


def test_exec_with_a_terminal(house: House, box: str) -> None:
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (37, 101))
    process = subprocess.Popen(
        [str(INN), "exec", "-it", box, "bash"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=house.inn.environment,
    )
    try:
        wait_for(controller, b"# ")
        os.write(controller, b"stty size; exit 5\r")
        wait_for(controller, b"37 101")
        assert process.wait(timeout=PATIENCE) == 5
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(controller)


def test_the_console_has_a_shell_and_is_left_without_the_guests_end(house: House, box: str) -> None:
    def sit() -> tuple[int, int]:
        pid, controller = pty.fork()
        if pid == 0:
            os.execve(INN, [str(INN), "console", box], house.inn.environment)
        return pid, controller

    pid, controller = sit()
    wait_for(controller, b"# ")
    os.write(controller, b"cd /usr; echo here=$PWD\r")
    wait_for(controller, b"here=/usr")
    # Another one sees what is typed here.
    with house.inn.start("console", "--read-only", box) as reader:
        assert reader.stdout is not None
        wait_for(reader.stdout.fileno(), b"# ")
        os.write(controller, b"echo read=$PWD\r")
        wait_for(reader.stdout.fileno(), b"read=/usr")
        reader.kill()
    os.write(controller, b"\x1d")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(controller)
    # The shell is where it was, and its prompt is shown.
    pid, controller = sit()
    wait_for(controller, b"# ")
    os.write(controller, b"echo again=$PWD; exit\r")
    wait_for(controller, b"again=/usr")
    # The shell has ended; the guest has not.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(controller)
    assert house("exec", box, "echo", "alive") == "alive\n"


def test_top_and_stats_look_inside(house: House, box: str) -> None:
    assert "/init" in house("top", box)
    assert house("top", box, "-o", "pid=", "-p", "1").strip() == "1"
    (found,) = json.loads(house("stats", "--json", box))
    assert found["statistics"]["vcpus"][0]["exits"]


def test_the_sdk_attaches_and_lets_go(
    house: House, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(house.home))
    with Guest.attach(box) as one, Guest.attach(box) as two:
        assert one.run(["hostname"]).stdout == "box\n"
        assert two.run(["cat"], stdin="hi").stdout == "hi"
        assert (one.name, one.state) == (box, "running")
        assert one.stats().engine == house.inspect(box)["engine"]
        one.pause()
        assert two.state == "paused"
        one.resume()
    with pytest.raises(GuestNotRunning):
        one.run(["true"])
    assert house("exec", box, "echo", "on") == "on\n"
    with pytest.raises(GuestNotFound), Guest.attach("nobody"):
        pass


def test_pause_and_resume(house: House, box: str) -> None:
    house("pause", box)
    assert house.inspect(box)["state"] == "paused"
    assert "inn resume" in house.refuses("exec", box, "echo", "on")
    house("resume", box)
    assert house("exec", box, "echo", "on") == "on\n"


def test_a_guest_that_goes_on_has_the_time(house: House, box: str) -> None:
    house("exec", box, "date", "-s", "2001-02-03 04:05:06")
    house("pause", box)
    house("resume", box)
    assert abs(int(house("exec", box, "date", "+%s")) - time.time()) < 60


def test_its_agent_calls_by_vsock_where_it_has_that(house: House, box: str) -> None:
    assert house.inspect(box)["agent"] == "vsock"
    without = house("run", "--detach", "--vsock", "none", "--memory", "256M", "debian").strip()
    assert house("exec", without, "echo", "by its console") == "by its console\n"
    assert house.inspect(without)["agent"] == "console"
    house("rm", "-f", without)


def test_a_guest_that_reboots_stays(house: House, box: str) -> None:
    before = house.inspect(box)["pid"]
    house.inn("exec", box, "reboot")
    assert house("wait", "--ready", "--timeout", "5m", box) == ""
    script = "cut -d. -f1 /proc/uptime"
    assert int(house("exec", box, "sh", "-c", script)) < 60
    assert house.inspect(box)["pid"] == before


def test_a_disk_is_kept_over_stop_start_and_kill_and_a_stop_is_in_order(house: House) -> None:
    house("run", "-d", "--name", "disk", "debian")
    house("exec", "disk", "sh", "-c", "echo kept > /root/note; sync")
    os.kill(house.inspect("disk")["pid"], signal.SIGKILL)
    house("wait", "disk")
    house("start", "disk")
    assert house("exec", "disk", "cat", "/root/note") == "kept\n"
    # Not synced: it is the guest's power-off that writes it.
    house("exec", "disk", "sh", "-c", "echo more >> /root/note")
    house("stop", "disk")
    assert (house.inspect("disk")["state"], house.inspect("disk")["status"]) == ("exited", 0)
    house("start", "disk")
    assert house("exec", "disk", "cat", "/root/note") == "kept\nmore\n"
    house("rm", "--force", "disk")
    assert not (house.home / "guests" / "disk").exists()


def test_a_guest_that_stays_and_a_kept_one_do_not_share_a_name(house: House) -> None:
    house("create", "--name", "stays", "debian")
    done = house.inn("run", "--keep", "--name", "stays", "debian", "--", "true")
    assert (done.returncode, b"inn start stays" in done.stderr) == (1, True)
    assert "stays" in house("guest", "ls")
    house("guest", "rm", "stays")
    house("run", "--keep", "--name", "kept", "debian", "--", "true")
    done = house.inn("create", "--name", "kept", "debian")
    assert (done.returncode, b"inn guest rm kept" in done.stderr) == (1, True)
    house("guest", "rm", "kept")
    assert not {"stays", "kept"} & set(house("ps", "-aq").split())


def test_a_guest_that_still_boots_powers_off_once_it_can(house: House) -> None:
    house("run", "-d", "--cold", "--name", "young", "debian")
    house("stop", "--timeout", "5m", "young")
    assert house.inspect("young")["status"] == 0
    past = house("events", "--no-follow", "--json").splitlines()
    told = [event for event in map(json.loads, past) if event["guest"] == "young"]
    names = [event["event"] for event in told]
    assert names == ["create", "start", "stop", "powerdown", "ready", "exit"]
    house("rm", "young")


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [("echo hello; exit 3", 3, None), ("echo hello; echo c >/proc/sysrq-trigger", 120, "panicked")],
)
def test_a_guest_may_be_there_for_one_command(
    house: House, script: str, status: int, words: str | None
) -> None:
    house("run", "-d", "--name", "job", "debian", "--", "sh", "-c", script)
    assert house("wait", "job") == f"{status}\n"
    assert "hello" in house("logs", "job")
    found = house.inspect("job")
    assert words is None or words in found["sentence"]
    assert words is None or any("sysrq" in line for line in found["last_words"])
    house("rm", "job")


def test_a_command_that_fails_is_started_again(house: House) -> None:
    script = "test -e /root/been || { touch /root/been; sync; exit 1; }"
    words = ("--restart", "on-failure", "debian", "--", "sh", "-c", script)
    house("run", "-d", "--name", "again", *words)
    assert house("wait", "again") == "0\n"
    past = house("events", "--no-follow", "--json").splitlines()
    told = [event for event in map(json.loads, past) if event["guest"] == "again"]
    statuses = [event["status"] for event in told if event["event"] == "exit"]
    assert statuses == [1, 0]
    house("rm", "again")


def test_start_exec_stop_leaves_no_leak(house: House, cycles: int, tmp_path: Path) -> None:
    home = house.home
    keeper = House(home, TMPDIR=str(tmp_path))
    keeper("create", "--name", "cycle", "--memory", "256M", "debian")
    held: set[str] = set()
    for number in range(cycles):
        keeper("start", "cycle")
        assert keeper("exec", "cycle", "echo", "up") == "up\n"
        keeper("stop", "cycle")
        found = keeper.inspect("cycle")
        assert (found["state"], found["status"]) == ("exited", 0)
        files = {each.name for each in (home / "guests" / "cycle").rglob("*")}
        assert number == 0 or files == held
        held = files
        assert working_in(home / "guests" / "cycle") == set()
    keeper("rm", "cycle")
    assert not (home / "guests" / "cycle").exists()
    assert list(tmp_path.iterdir()) == []


def working_in(directory: Path) -> set[int]:
    """Processes whose current directory this is."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(directory):
                found.add(int(entry.name))
    return found
