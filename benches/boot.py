"""Boot time and speed of the software engines, beside QEMU's TCG where it is installed.

All boot the Debian image's own kernel with one small initrd whose init prints a line and powers
off. Runs are interleaved, and processor seconds are counted rather than the clock, since machines
are shared; quote the ratio.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benches.program import BUILT, BUSYBOX, ROOT
from innkeeper.images.cpio import archive

RUNS: Final = 3
MEMORY_MIB: Final = 512
TARGET: Final = 0.9
APPEND: Final = "console=ttyS0 panic=-1"
_LINE: Final = b"INIT-RUNNING"
_INIT: Final = b"#!/bin/busybox sh\n/bin/busybox echo INIT-RUNNING\n/bin/busybox poweroff -f\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One boot, from the command's start to the end of its process. Seconds and bytes."""

    to_init: float
    processor: float
    peak_memory: int


def boot(command: Sequence[str]) -> Boot:
    """Runs `command`, whose standard output is the guest's console, until it ends."""
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    seen, to_init = b"", None
    while chunk := os.read(process.stdout.fileno(), 65536):
        seen += chunk
        if to_init is None and _LINE in seen:
            to_init = time.monotonic() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if to_init is None:
        last = seen[-400:].decode(errors="replace")
        raise SystemExit(f"{command[0]} did not reach init; its last words: {last}")
    return Boot(
        to_init=to_init,
        processor=usage.ru_utime + usage.ru_stime,
        peak_memory=usage.ru_maxrss * 1024,
    )


def initrd() -> Path:
    path = BUILT / "boot-initrd"
    path.write_bytes(archive({"init": _INIT, "bin/busybox": BUSYBOX.read_bytes()}))
    return path


def measure(
    commands: Mapping[str, Sequence[str]], tell: Callable[[str], None]
) -> dict[str, list[Boot]]:
    """`RUNS` boots of each, in turn."""
    results: dict[str, list[Boot]] = {name: [] for name in commands}
    for run in range(1, RUNS + 1):
        for name, command in commands.items():
            took = boot(command)
            results[name].append(took)
            tell(f"boot {run} of {RUNS}: {name}: {took.processor:.2f} processor seconds")
    return results


def median(boots: Sequence[Boot]) -> Boot:
    return Boot(
        to_init=statistics.median(boot.to_init for boot in boots),
        processor=statistics.median(boot.processor for boot in boots),
        peak_memory=int(statistics.median(boot.peak_memory for boot in boots)),
    )


def speed(engine: str) -> int:
    """Millions of guest instructions a second on an integer loop with memory traffic."""
    cargo = ["cargo", "run", "--quiet", "--locked", "--profile", "guest", "-p", "engine-soft"]
    ran = subprocess.run(
        [*cargo, "--example", "mips", engine], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return int(ran.stdout.split()[-1])
