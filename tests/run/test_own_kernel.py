"""`inn run --kernel`: a serial console for scripts, ends, time limits, Python devices."""

import json
import os
import pty
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest
from tests import tiny
from tests.conftest import INN, PATIENCE, Inn, wait_for

DEVICE = """
class Bell:
    kind = "bell"
    version = 1
    first_port = 0x700
    port_count = 4

    def __init__(self, host):
        self.host = host

    def read(self, offset, size):
        return 0x2A

    def write(self, offset, size, value):
        if value == 0xFF:
            raise RuntimeError("the bell is broken")
        self.host.exit(value)

    def reset(self): ...
    def save(self):
        return {}
    def restore(self, state): ...


def create(host):
    return [Bell(host)]
"""


def test_a_guest_says_hello_and_ends_itself(inn: Inn, tmp_path: Path) -> None:
    code = tiny.say("hello\n") + tiny.out_byte(0xF4, 1) + tiny.HALT
    kernel = tiny.kernel(tmp_path / "k", code)
    result = inn("run", "--kernel", kernel, "--device", "isa-debug-exit")
    assert (result.returncode, result.stdout, result.stderr) == (3, b"hello\n", b"")


def test_a_multiboot_kernel_can_end_itself_without_being_given_a_device(
    inn: Inn, tmp_path: Path
) -> None:
    # pc-testdev's loop-back register holds what is written; without the device it reads all-ones.
    loop_back = tiny.out_byte(0xE1, 0x15) + b"\x66\xba\xe1\x00\xec"
    code = loop_back + b"\x66\xba\xf4\x00\xee" + tiny.HALT
    result = inn("run", "--kernel", tiny.kernel(tmp_path / "k", code))
    assert (result.returncode, result.stdout, result.stderr) == (0x15 << 1 | 1, b"", b"")


@pytest.mark.parametrize("device", ["none", "pc-testdev"])
def test_naming_devices_leaves_out_those_of_multiboot_kernels(
    inn: Inn, tmp_path: Path, device: str
) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.out_byte(0xF4, 1) + tiny.TRIPLE_FAULT)
    assert inn("run", "--kernel", kernel, "--device", device).returncode == 121


def test_input_and_output_are_unbuffered(inn: Inn, tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.ECHO)
    with inn.start("run", "--kernel", kernel) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for byte in (b"a", b"\0", b"\xff", b"\x1d", b"\n"):
            os.write(process.stdin.fileno(), byte)
            assert wait_for(process.stdout.fileno(), byte) == byte
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == 128 + signal.SIGTERM


def test_a_guest_runs_on_when_its_input_ends(inn: Inn, tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.say("on") + tiny.LOOP)
    result = inn("run", "--kernel", kernel, "--timeout", "1")
    assert (result.returncode, result.stdout) == (124, b"on")


def test_a_triple_fault_has_a_status_and_a_sentence(inn: Inn, tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.TRIPLE_FAULT)
    result = inn("run", "--kernel", kernel)
    assert result.returncode == 121
    assert result.stderr == b"inn: the guest's processor shut down after a triple fault\n"


def test_a_panic_that_the_guest_reports_has_its_own(inn: Inn, tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.out_byte(0x505, 1) + tiny.HALT)
    result = inn("run", "--kernel", kernel)
    assert (result.returncode, result.stderr) == (120, b"inn: the guest's kernel panicked\n")


@pytest.mark.parametrize("code", [tiny.HALT, tiny.LOOP])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_end_sleeping_and_busy_guests(
    inn: Inn, tmp_path: Path, code: bytes, number: signal.Signals
) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.say("up") + code)
    with inn.start("run", "--kernel", kernel) as process:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"up")
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE) == 128 + number


def test_ctrl_bracket_leaves_and_the_terminal_is_as_before(tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.say("up") + tiny.ECHO)
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    command = [INN, "run", "--kernel", kernel]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    ) as process:
        wait_for(controller, b"up")
        os.write(controller, b"\x03")
        # Raw: Ctrl-C is the guest's, which sends it back.
        wait_for(controller, b"\x03")
        os.write(controller, b"\x1d")
        assert process.wait(timeout=PATIENCE) == 0
    assert termios.tcgetattr(terminal) == before
    os.close(controller)
    os.close(terminal)


def test_a_device_of_ones_own_is_attached_and_answers(inn: Inn, tmp_path: Path) -> None:
    (tmp_path / "bell.py").write_text(DEVICE)
    # in al, dx; out dx, al: the device's own 2Ah becomes the status.
    code = b"\x66\xba\x00\x07\xec\xee" + tiny.HALT
    kernel = tiny.kernel(tmp_path / "k", code)
    result = subprocess.run(
        [INN, "run", "--kernel", kernel, "--device", "bell:create"],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0x2A, b"")


def test_a_device_that_raises_ends_the_guest_with_its_traceback(inn: Inn, tmp_path: Path) -> None:
    (tmp_path / "bell.py").write_text(DEVICE)
    kernel = tiny.kernel(tmp_path / "k", tiny.out_byte(0x700, 0xFF) + tiny.LOOP)
    result = subprocess.run(
        [INN, "run", "--kernel", kernel, "--device", "bell:create"],
        cwd=tmp_path,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    lines = result.stderr.decode().splitlines()
    assert lines[-1] == "inn: the device bell failed: RuntimeError: the bell is broken"
    assert any("bell.py" in line for line in lines[:-1])


def test_a_stopped_guest_ends_soon(inn: Inn, tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "k", tiny.LOOP)
    began = time.monotonic()
    inn("run", "--kernel", kernel, "--cpus", "4", "--timeout", "0.5")
    assert time.monotonic() - began < PATIENCE / 10


def test_statistics_are_told_on_standard_error(inn: Inn, tmp_path: Path) -> None:
    code = tiny.say("hello\n") + tiny.out_byte(0xF4, 1) + tiny.HALT
    run = ("run", "--kernel", tiny.kernel(tmp_path / "k", code), "--device", "isa-debug-exit")
    told = inn(*run, "--engine", "translator", "--stats", "--json")
    assert (told.returncode, told.stdout) == (3, b"hello\n")
    statistics = json.loads(told.stderr)
    assert statistics["engine"] == "translator"
    (vcpu,) = statistics["vcpus"]
    assert vcpu["exits"]["port write"] == 7
    assert vcpu["counters"]["blocks decoded"] > 0
    assert sum(vcpu["seconds"].values()) > 0
    tables = inn(*run, "--engine", "interpreter", "--stats", "--cpus", "2")
    assert (tables.returncode, tables.stdout) == (3, b"hello\n")
    lines = tables.stderr.decode().splitlines()
    assert lines[0] == "inn: the guest ran on the engine interpreter: it was asked for"
    assert any(line.split() == ["port", "write", "7"] for line in lines)


def test_json_belongs_to_statistics(inn: Inn, tmp_path: Path) -> None:
    refused = inn("run", "--kernel", tiny.kernel(tmp_path / "k", tiny.HALT), "--json")
    assert (refused.returncode, refused.stderr) == (2, b"inn: --json is for --stats\n")


def test_perf_can_name_what_became_of_a_guests_code(tmp_path: Path) -> None:
    # mov ecx, 2000; loop: dec ecx; jnz loop
    loop = bytes.fromhex("b9d0070000 49 75fd")
    code = loop + tiny.out_byte(0xF4, 1) + tiny.HALT
    symbols = tmp_path / "System.map"
    symbols.write_text(f"{tiny.ENTRY:x} T the_start\n{tiny.ENTRY + 5:x} t the_loop\n")
    run = [INN, "run", "--kernel", str(tiny.kernel(tmp_path / "k", code))]
    run += ["--device", "isa-debug-exit", "--engine", "translator"]
    run += ["--perf-map", "--symbols", str(symbols)]
    before = set(Path("/tmp").glob("perf-*.map"))
    assert subprocess.run(run, timeout=PATIENCE, check=False).returncode == 3
    # Of the process that the machine was in.
    (perf_map,) = set(Path("/tmp").glob("perf-*.map")) - before
    lines = [line.split(" ", 2) for line in perf_map.read_text().splitlines()]
    perf_map.unlink()
    assert "guest:the_loop" in {name for _, _, name in lines}
    assert all(int(start, 16) > 0 and 0 < int(size, 16) < 1 << 20 for start, size, _ in lines)


def test_a_perf_map_needs_code_and_symbols_a_map(inn: Inn, tmp_path: Path) -> None:
    run = ("run", "--kernel", tiny.kernel(tmp_path / "k", tiny.HALT))
    refused = inn(*run, "--engine", "interpreter", "--perf-map")
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"inn: the engine interpreter makes no code")
    refused = inn(*run, "--symbols", tmp_path / "k")
    assert (refused.returncode, refused.stderr) == (2, b"inn: --symbols is for --perf-map\n")
    refused = inn(*run, "--engine", "translator", "--perf-map", "--symbols", tmp_path / "none")
    assert refused.returncode == 2
    assert b"cannot read symbols from" in refused.stderr
