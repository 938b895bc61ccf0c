"""Stands for ssh to another host, in tests of migrations: a process of this host with another home,
and a connection that breaks where somebody wants it to.

The environment says HOME_THERE; SLOW, the bytes a second that get to the other host, if they are
counted; and BREAK, which is once: a number is so many bytes that get to the other host; `go`, the
word by which the guest is handed over, is lost; so is `running`, by which the other host says that
it has it; with `late`, some bytes more get there after that word. `dead` hosts do not answer at
all; `dead-later` and `dead-late` ones do not once the line broke, as with `running` and `late`.
"""

import os
import select
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
    ready = False
    inward, outward = process.stdin.fileno(), process.stdout.fileno()
    while True:
        found, _, _ = select.select([0, outward], [], [])
        if 0 in found:
            data = os.read(0, 1 << 16)
            if (ready and how == "go") or not data or left <= 0:
                break
            data, left = data[:left], left - len(data)
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


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
