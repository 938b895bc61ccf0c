"""`inn run debian`: one guest a test, for what concerns the process around it."""

import contextlib
import os
import pty
import signal
import subprocess
import termios
from pathlib import Path

import pytest
from tests import tiny
from tests.boot.homes import furnish
from tests.conftest import INN, PATIENCE, Inn, wait_for
from tests.run.house import wait

from innkeeper.images import Image


def processes_of(group: int) -> set[int]:
    """Living processes whose process group is `group`."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, process_group = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:3]
            except OSError:
                continue
            if int(process_group) == group and state != "Z":
                found.add(int(entry.name))
    return found


def test_the_commands_status_is_ours_and_streams_are_unmixed(inn: Inn, debian: Image) -> None:
    result = inn("run", "debian", "--", "sh", "-c", "cat; echo oops >&2; exit 7", stdin=b"hello")
    assert (result.returncode, result.stdout, result.stderr) == (7, b"hello", b"oops\n")


def test_options_are_taken_before_and_after_the_image(inn: Inn, debian: Image) -> None:
    result = inn("run", "--memory", "256M", "debian", "--cpus", "2", "--", "nproc", "--all")
    assert (result.returncode, result.stdout) == (0, b"2\n")


def test_a_program_that_the_guest_lacks_is_127(inn: Inn, debian: Image) -> None:
    result = inn("run", "debian", "--", "no-such-program")
    assert result.returncode == 127
    assert b"cannot run 'no-such-program' in the guest" in result.stderr


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("poweroff; sleep 1000", 0, b""),
        ("echo c > /proc/sysrq-trigger; sleep 1000", 120, b"inn: the guest's kernel panicked:\n"),
        ("echo b > /proc/sysrq-trigger; sleep 1000", 122, b"inn: the guest reset itself"),
    ],
)
def test_how_a_guest_ends_is_told(
    inn: Inn, debian: Image, script: str, status: int, words: bytes
) -> None:
    result = inn("run", "debian", "--", "sh", "-c", script)
    assert (result.returncode, result.stderr[: len(words)]) == (status, words)
    assert bool(result.stderr) == bool(words)


def test_the_console_of_a_guest_that_panicked_is_quoted(inn: Inn, debian: Image) -> None:
    result = inn("run", "debian", "--", "sh", "-c", "echo c > /proc/sysrq-trigger; sleep 1000")
    sentence, *quoted = result.stderr.decode().splitlines()
    assert sentence == "inn: the guest's kernel panicked:"
    assert 1 <= len(quoted) <= 20
    assert all(line.startswith("  | ") for line in quoted)
    assert "Kernel panic - not syncing: sysrq triggered crash" in "\n".join(quoted)


def test_it_is_as_for_exec(inn: Inn, debian: Image) -> None:
    done = inn("run", "-it", "debian", "--", "cat", stdin=b"through\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"through\n", b"")


def test_time_is_up_is_124(inn: Inn, debian: Image) -> None:
    result = inn("run", "debian", "--timeout", "1", "--", "sleep", "1000")
    assert result.returncode == 124
    assert result.stderr.startswith(b"inn: the guest did not end within 1 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_nothing_behind(
    inn: Inn, debian: Image, number: signal.Signals, tmp_path: Path
) -> None:
    environment = {**inn.environment, "TMPDIR": str(tmp_path)}
    command = ("run", "debian", "--", "sh", "-c", "echo up; sleep 1000")
    with Inn(environment).start(*command, start_new_session=True) as process:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"up")
        process.send_signal(number)
        status = process.wait(timeout=PATIENCE)
    expected = -number if number is signal.SIGKILL else 128 + number
    assert status == expected
    if number is signal.SIGKILL:
        # Its guest's process sees that, in its own time; its directory goes with the next guest's.
        wait(lambda: processes_of(process.pid), lambda left: not left)
        Inn(environment)("run", "--kernel", tiny.kernel(tmp_path / "halt", tiny.TRIPLE_FAULT))
        (tmp_path / "halt").unlink()
    assert processes_of(process.pid) == set()
    assert list(tmp_path.iterdir()) == []


def test_a_signal_to_all_of_its_processes_is_no_traceback(inn: Inn, debian: Image) -> None:
    # As timeout(1) does it, and systemd.
    command = ("run", "debian", "--", "sh", "-c", "echo up; sleep 1000")
    with inn.start(*command, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        wait_for(process.stdout.fileno(), b"up")
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stderr.read() == b""
        assert process.wait(timeout=PATIENCE) == 128 + signal.SIGTERM


@pytest.mark.parametrize("script", ["echo last", "yes"])
def test_output_that_cannot_be_written_is_a_failure(inn: Inn, debian: Image, script: str) -> None:
    command = [INN, "run", "debian", "--", "sh", "-c", script]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=inn.environment, check=False
        )
    expected = b"inn: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_output_that_nobody_reads_ends_the_command(inn: Inn, debian: Image) -> None:
    with inn.start("run", "debian", "--", "yes") as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == 128 + signal.SIGPIPE


def test_a_terminal_is_the_guests_console(inn: Inn, debian: Image) -> None:
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (37, 101))
    process = subprocess.Popen(
        [str(INN), "run", "debian"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    try:
        wait_for(controller, b"# ")
        # Split, so that the echo of what is typed is not what is waited for.
        os.write(controller, b"echo uid=$(id -u) shell=$0\r")
        wait_for(controller, b"uid=0 shell=-bash")
        os.write(controller, b"stty size\r")
        wait_for(controller, b"37 101")
        termios.tcsetwinsize(terminal, (20, 55))
        process.send_signal(signal.SIGWINCH)
        os.write(controller, b'until [ "$(stty size)" = "20 55" ]; do :; done; echo re""sized\r')
        wait_for(controller, b"resized")
        os.write(controller, b"\x1d")
        assert process.wait(timeout=PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
        os.close(controller)


def test_a_poweroff_that_is_typed_is_not_reported_as_killed(debian: Image) -> None:
    pid, controller = pty.fork()
    if pid == 0:
        os.execv(INN, [str(INN), "run", "debian"])
    wait_for(controller, b"# ")
    os.write(controller, b"poweroff\r")
    said = b""
    # EIO: nobody has the terminal any more.
    with contextlib.suppress(OSError):
        while data := os.read(controller, 1 << 12):
            said += data
    os.close(controller)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"Terminated" not in said


def test_a_terminal_that_goes_away_ends_the_guest(inn: Inn, debian: Image) -> None:
    pid, controller = pty.fork()
    if pid == 0:
        os.execv(INN, [str(INN), "run", "debian"])
    wait_for(controller, b"# ")
    os.close(controller)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert processes_of(pid) == set()


def test_a_script_may_drive_the_shell(inn: Inn, debian: Image) -> None:
    result = inn("run", "debian", stdin=b"echo sum=$((40+2))\nexit 3\n")
    assert (result.returncode, result.stdout) == (3, b"sum=42\n")


def test_a_kept_guest_goes_on_where_it_ended(inn: Inn, debian: Image, tmp_path: Path) -> None:
    store = tmp_path / "home"
    furnish(store, debian)
    keeper = Inn({**inn.environment, "INNKEEPER_HOME": str(store)})
    kept = ("run", "debian", "--keep", "--name", "box", "--")
    assert keeper(*kept, "sh", "-c", "echo here > /root/note").returncode == 0
    assert keeper(*kept, "cat", "/root/note").stdout == b"here\n"
    assert keeper("run", "debian", "--name", "box", "--", "cat", "/root/note").returncode == 1
