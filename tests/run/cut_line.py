"""Stands for ssh to another host, in tests of migrations: a process of this host with another home,
and a connection that breaks where somebody wants it to.

The environment says HOME_THERE; SLOW, the bytes a second that get to the other host, if they are
counted; and BREAK, which is once: a number is so many bytes that get to the other host; `go`, the
word by which the guest is handed over, is lost; so is `running`, by which the other host says that
it has it; with `late`, some bytes more get there after that word. With `kill-` before a number, or
before `go`, the guest's processes there are killed at that time, and the connection lasts. With
`version` the guest is offered by a protocol that nobody has. `dead` hosts do not answer at
all; `dead-later` and `dead-late` ones do not once the line broke, as with `running` and `late`.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

READY = bytes((16, 0, 0, 0, 0, 0, 0, 0))
RUNNING = bytes((17, 0, 0, 0, 0, 0, 0, 0))
# What gets there of memory that comes late.
LATE = 1_000_000


def main() -> None:
    there = Path(os.environ["HOME_THERE"])
    how = os.environ.get("BREAK", "")
    broken = there / "broken"
    if how.startswith("dead") and (how == "dead" or broken.exists()):
        sys.exit(255)
    how = {"dead-later": "running", "dead-late": "late"}.get(how, how)
    if broken.exists():
        how = ""
    there.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "INNKEEPER_HOME": str(there)}
    process = subprocess.Popen(
        ["sh", "-c", sys.argv[-1]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    if how:
        _relay(process, how, broken)
    else:
        _relay(process, "", None)
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _relay(process: "subprocess.Popen[bytes]", how: str, broken: Path | None) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    slow = int(os.environ.get("SLOW", "0"))
    left = int(how) if how.isdecimal() else 1 << 62
    mischief = Mischief(how)
    ready = False
    inward, outward = process.stdin.fileno(), process.stdout.fileno()
    while True:
        found, _, _ = select.select([0, outward], [], [])
        if 0 in found:
            data = os.read(0, 1 << 16)
            if (ready and how == "go") or not data or left <= 0:
                break
            data = mischief.done_to(data, ready=ready)
            data, left = data[:left], left - len(data)
            # What the other host says last comes here also when it hears nothing more.
            with contextlib.suppress(BrokenPipeError):
                _write(inward, data)
            if slow:
                time.sleep(len(data) / slow)
            if left <= 0:
                break
        if outward in found:
            data = os.read(outward, 1 << 16)
            if not data or (ready and how == "running"):
                break
            ready = ready or READY in data
            if how == "late" and RUNNING in data:
                left = min(left, LATE)
            _write(1, data)
    if how and broken is not None:
        broken.touch()


class Mischief:
    """What else than a cut line comes over the other host, once."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._left = int(number) if (number := how.removeprefix("kill-")).isdecimal() else 1 << 62

    def done_to(self, data: bytes, *, ready: bool) -> bytes:
        """What gets there in place of `data`."""
        self._left -= len(data)
        if self._how.startswith("kill-") and (self._left <= 0 or (ready and self._how[5:] == "go")):
            self._how = ""
            _kill_all()
        if self._how == "version":
            return data.replace(b'"protocol": 1', b'"protocol": 9')
        return data


def _kill_all() -> None:
    """Who works in the home there: all but the program that receives."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(os.environ["HOME_THERE"]):
                os.kill(int(entry.name), signal.SIGKILL)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
