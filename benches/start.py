"""`make bench-start`: what a guest's processes take of the host before its first instruction.

    python -m benches.start

As Firecracker counts it: processor time from the start of a guest's process to its first
instruction, and memory that is the process's alone, but for the guest's RAM. Supervisor and guest's
process are counted together, by the kernel: schedstat, and smaps' Private_Clean and Private_Dirty
but for mappings of the guest's memory. Writes docs/reference/start.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import tiny

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "start.md"
_INN: Final = Path(sys.executable).with_name("inn")
_ROUNDS: Final = 10
# The name of its mapping, where the host's kernel has such.
_RAM: Final = "guest-ram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One of them: milliseconds of processor, MiB, milliseconds until the command returned."""

    processor: float
    memory: float
    shown: float


def main() -> None:
    rows = []
    for engine in ("kvm", "translator"):
        for template in (True, False):
            starts = list(_starts(engine, template=template))
            if starts:
                rows.append(_row(engine, "forked" if template else "alone", starts))
    PAGE.write_text(_page(rows, [_command(*words) for words in _COMMANDS]))
    print(PAGE.read_text())


def _starts(engine: str, *, template: bool) -> Iterator[Start]:
    with tempfile.TemporaryDirectory() as directory:
        kernel = str(tiny.kernel(Path(directory) / "halt", tiny.HALT))
        environment = {
            **os.environ,
            "INNKEEPER_HOME": directory,
            "INNKEEPER_TEMPLATE": "1" if template else "0",
        }
        try:
            # The first makes the template.
            for number in range(_ROUNDS + 1):
                start = _start(f"g{number}", engine, kernel, environment)
                if start is None:
                    return
                if number:
                    yield start
        finally:
            names = [f"g{number}" for number in range(_ROUNDS + 1)]
            for name in names:
                _inn(environment, "rm", "--force", name)


def _start(name: str, engine: str, kernel: str, environment: dict[str, str]) -> Start | None:
    words = ("--name", name, "--memory", "128M", "--engine", engine, "--network", "none")
    began = time.monotonic()
    done = _inn(environment, "run", "--detach", *words, "--kernel", kernel)
    shown = 1000 * (time.monotonic() - began)
    if done.returncode:
        # Without KVM here.
        return None
    found = json.loads(_inn(environment, "inspect", name, "--json").stdout)
    pids = (found["pid"], found["supervisor"])
    return Start(
        processor=sum(_processor(pid) for pid in pids),
        memory=sum(_memory(pid) for pid in pids),
        shown=shown,
    )


def _inn(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_INN, *words], env=environment, capture_output=True, text=True, check=False
    )


def _processor(pid: int) -> float:
    """Milliseconds of all its threads."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e6


def _memory(pid: int) -> float:
    """MiB that nobody else has mapped, but for the guest's RAM."""
    total, counts = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if " " in name:
            counts = _RAM not in line
        elif counts and name in ("Private_Clean", "Private_Dirty"):
            total += int(rest.split()[0])
    return total / 1024


_COMMANDS: Final = (("version",), ("ps",), ("inspect", "g"), ("exec", "--help"))


def _command(*words: str) -> tuple[str, float]:
    """Milliseconds that a command takes, of which all is Python's and its modules' start."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "INNKEEPER_HOME": directory}
        took = []
        for _ in range(_ROUNDS):
            began = time.monotonic()
            _inn(environment, *words)
            took.append(1000 * (time.monotonic() - began))
    return " ".join(words), statistics.median(took)


def _row(engine: str, way: str, starts: list[Start]) -> str:
    processor = statistics.median(each.processor for each in starts)
    memory = statistics.median(each.memory for each in starts)
    shown = statistics.median(each.shown for each in starts)
    return f"| {engine} | {way} | {processor:.1f} ms | {memory:.1f} MiB | {shown:.0f} ms |"


def _page(rows: list[str], commands: list[tuple[str, float]]) -> str:
    table = "\n".join(rows)
    others = "\n".join(f"| inn {words} | {took:.0f} ms |" for words, took in commands)
    return f"""# What starting a guest takes

Made by `make bench-start`. A guest of 128 MiB and one processor, counted as Firecracker counts:
processor time from the start of its processes to its first instruction, and what memory is theirs
alone, but for the guest's RAM. That is the guest's process and the supervisor beside it together,
medians of {_ROUNDS}. A host whose kernel cannot name
mappings (`CONFIG_ANON_VMA_NAME`) has what of the RAM was touched in it as well. The last column
is how long `inn run --detach` took, which is its own start for the most part. *Forked* guests come
from the [template](../guides/guests-that-stay.md#the-template); those *alone* load all themselves.

| engine | processes | processor | memory | inn run --detach |
| --- | --- | ---: | ---: | ---: |
{table}

| command | takes |
| --- | ---: |
{others}
"""


if __name__ == "__main__":
    main()
