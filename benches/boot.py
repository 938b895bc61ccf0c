"""Boot time and speed of the software engines, beside QEMU's TCG where it is installed.

Both boot the Debian image's own kernel with one small initrd whose init prints a line and powers
off. Runs are interleaved, and processor seconds are counted rather than the clock, since machines
are shared; quote the ratio. `make bench` writes docs/reference/benchmarks.md.
"""

import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from innkeeper.images import Store, ensure
from innkeeper.images.cpio import archive

ROOT: Final = Path(__file__).resolve().parent.parent
TABLE: Final = ROOT / "docs" / "reference" / "benchmarks.md"
LINE: Final = b"INIT-RUNNING"
INIT: Final = b"#!/bin/busybox sh\n/bin/busybox echo INIT-RUNNING\n/bin/busybox poweroff -f\n"
APPEND: Final = "console=ttyS0 panic=-1"
MEMORY_MIB: Final = 512
RUNS: Final = 3
PEER: Final = "qemu-system-x86_64"
TCG: Final = "QEMU, TCG"
ENGINES: Final = ("translator", "interpreter")


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
        if to_init is None and LINE in seen:
            to_init = time.monotonic() - start
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if to_init is None:
        last = seen[-400:].decode(errors="replace")
        sys.exit(f"{command[0]} did not reach init; its last words: {last}")
    return Boot(
        to_init=to_init,
        processor=usage.ru_utime + usage.ru_stime,
        peak_memory=usage.ru_maxrss * 1024,
    )


def commands(kernel: Path, initrd: Path) -> dict[str, list[str]]:
    """What is compared, by the name that the table gives it."""
    inn = [str(Path(sys.executable).parent / "inn"), "run"]
    inn += ["--kernel", str(kernel), "--initrd", str(initrd)]
    inn += ["--append", APPEND, "--memory", f"{MEMORY_MIB}M", "--engine"]
    chosen = {f"Innkeeper, {engine}": [*inn, engine] for engine in ENGINES}
    if shutil.which(PEER):
        peer = [PEER, "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY_MIB), "-nographic"]
        peer += ["-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd), "-append", APPEND]
        chosen[TCG] = peer
    return chosen


def speed(engine: str) -> int:
    """Millions of guest instructions a second on an integer loop with memory traffic."""
    cargo = ["cargo", "run", "--quiet", "--locked", "--profile", "guest", "-p", "engine-soft"]
    ran = subprocess.run(
        [*cargo, "--example", "mips", engine], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return int(ran.stdout.split()[-1])


def table(results: dict[str, list[Boot]], mips: dict[str, int]) -> str:
    """The page, as Markdown."""

    def median(boots: list[Boot], field: str) -> float:
        return float(statistics.median(getattr(boot, field) for boot in boots))

    rows = [
        f"| {name} | {median(boots, 'processor'):.1f} | {median(boots, 'to_init'):.1f} "
        f"| {median(boots, 'peak_memory') / 2**20:.0f} |"
        for name, boots in results.items()
    ]
    day = datetime.now(UTC).date().isoformat()
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {day}, on {platform.machine()} with {os.cpu_count()} processors.",
        "Medians; the machine may have been busy, so read processor seconds and ratios.",
        "",
        "## Debian's kernel from start to its init and power-off",
        "",
        f"One vCPU, {MEMORY_MIB} MiB, the image's own kernel, {RUNS} interleaved runs of each.",
        "",
        "| | processor seconds, all | seconds to init | peak memory, MiB |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]
    if peer := results.get(TCG):
        of_peer = median(peer, "processor")
        ratios = [
            f"{name.split()[-1]} {median(boots, 'processor') / of_peer:.1f}"
            for name, boots in results.items()
            if name != TCG
        ]
        lines += [f"Processor time as a multiple of TCG's: {', '.join(ratios)}.", ""]
    else:
        lines += [f"{PEER} is not installed here, so there is no peer in the table.", ""]
    lines += [
        "## Speed",
        "",
        "An integer loop with memory traffic in 64-bit mode, best of five runs, in millions of",
        f"guest instructions a second: {', '.join(f'{name} {n}' for name, n in mips.items())}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    kernel = ensure(Store(), "debian", lambda *_: None).kernel
    busybox = Path("/bin/busybox").read_bytes()
    results: dict[str, list[Boot]] = {}
    with tempfile.TemporaryDirectory() as directory:
        initrd = Path(directory) / "initrd"
        initrd.write_bytes(archive({"init": INIT, "bin/busybox": busybox}))
        chosen = commands(kernel, initrd)
        for run in range(1, RUNS + 1):
            for name, command in chosen.items():
                took = boot(command)
                results.setdefault(name, []).append(took)
                print(f"{name}, run {run}: {took.processor:.1f} processor seconds", flush=True)
    page = table(results, {engine: speed(engine) for engine in ENGINES})
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
