"""`make bench-snapshots`: how soon guests begin, stand still and go on, and what forks
take.

    python -m benches.snapshots

Debian guests under the engine that `auto` takes. Writes docs/reference/snapshots-measured.md.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Final

from benches.homes import INN, a_home
from innkeeper import Guest
from innkeeper.services import attach, control, forks, snapshots
from innkeeper.services.attach import ExecRequest

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "snapshots-measured.md"
_FILLED: Final = 768
_FORKS: Final = 100
_ROUNDS: Final = 5
# Seconds.
_PATIENCE: Final = 60.0
# Mappings of a guest's memory, its own and those of what it began as.
_RAM: Final = ("guest-ram", "/pages.")


def inn(*words: str) -> str:
    return subprocess.run([INN, *words], capture_output=True, text=True, check=True).stdout


def start(name: str, memory: str) -> None:
    inn("run", "--detach", "--name", name, "--memory", memory, "debian")
    inn("wait", "--ready", name)


def milliseconds(began: float) -> float:
    return 1000 * (time.monotonic() - began)


def measure_starts() -> list[tuple[str, str]]:
    """Of `inn run debian -- true`, and what it takes of processors."""
    run = ("run", "debian", "--", "true")
    inn(*run)
    kinds = (("boots (`--cold`)", ("run", "--cold", *run[1:])), ("begins warm", run))
    rows = []
    for what, words in kinds:
        wall, worked = [], []
        for _ in range(_ROUNDS):
            before, began = os.times(), time.monotonic()
            inn(*words)
            wall.append(milliseconds(began))
            after = os.times()
            worked.append(
                1000 * (after.children_user + after.children_system)
                - 1000 * (before.children_user + before.children_system)
            )
        rows.append((f"{what}, until inn has ended", f"{statistics.median(wall):.0f} ms"))
        rows.append((f"{what}, processor time", f"{statistics.median(worked):.0f} ms"))
    return rows


def measure_snapshots() -> list[tuple[str, str]]:
    """Of a guest of 1 GiB that has touched most of it."""
    start("large", "1G")
    inn("exec", "large", "mount", "-o", "remount,size=90%", "/dev/shm")
    inn("exec", "large", "sh", "-c", f"head -c {_FILLED}M /dev/urandom > /dev/shm/fill")
    began = time.monotonic()
    first = snapshots.create("large", "first")
    whole = milliseconds(began)
    inn("exec", "large", "sh", "-c", "echo more > /root/note")
    began = time.monotonic()
    second = snapshots.create("large", "second")
    again = milliseconds(began)
    # Saved by a process of the template that is used below, as a guest is that who restores it has
    # started: it goes on with the code that it has translated.
    control.kill("large")
    snapshots.restore("large", "second")
    attach.execute("large", ExecRequest(argv=("true",)))
    snapshots.create("large", "third")
    restored: list[float] = []
    answered: list[float] = []
    called: list[float] = []
    for _ in range(_ROUNDS):
        for answer, took in ((_asked, answered), (_called, called)):
            control.kill("large")
            began = time.monotonic()
            snapshots.restore("large", "third")
            restored.append(milliseconds(began))
            # Each waits for the agent by itself.
            answer()
            took.append(milliseconds(began))
    return [
        ("stands still for a snapshot", f"{1000 * first.pause:.0f} ms"),
        ("stands still for the next", f"{1000 * second.pause:.0f} ms"),
        ("until the snapshot is on the disk", f"{whole:.0f} ms"),
        ("until the next is", f"{again:.0f} ms"),
        ("from restore to its processors running", f"{statistics.median(restored):.0f} ms"),
        (
            "from restore to the end of `exec true`, asked for by this process",
            f"{statistics.median(answered):.0f} ms",
        ),
        (
            "from restore to the end of `inn exec large true`",
            f"{statistics.median(called):.0f} ms",
        ),
    ]


def _asked() -> None:
    attach.execute("large", ExecRequest(argv=("true",)))


def _called() -> None:
    inn("exec", "large", "true")


def measure_forks() -> list[tuple[str, str]]:
    start("base", "256M")
    names = forks.names_for("base", _FORKS)
    began = time.monotonic()
    # By the command, as its parent: processes that were started otherwise share less.
    inn("fork", "base", "-n", str(_FORKS))
    made = milliseconds(began) / 1000
    for name in names:
        attach.wait_ready(name, _PATIENCE)
    ready = milliseconds(began) / 1000
    answers = [inn("exec", name, "hostname").strip() for name in names]
    if answers != names:
        raise SystemExit(f"they answer {answers}")
    listed = json.loads(inn("ps", "--json"))
    pids = [guest["pid"] for guest in listed if guest["name"] in names]
    ram = statistics.median(private(pid, ram=True) for pid in pids)
    own = statistics.median(private(pid, ram=False) for pid in pids)
    return [
        (f"until {_FORKS} forks run", f"{made:.1f} s"),
        ("until all have their own identity", f"{ready:.1f} s"),
        ("private memory of each: of pages that were saved", f"{ram:.1f} MiB"),
        ("private memory of each: all else, its process's for the most part", f"{own:.1f} MiB"),
    ]


def measure_forks_in_python() -> list[tuple[str, str]]:
    with Guest("debian", memory="256M") as guest:
        guest.run(["true"])
        began = time.monotonic()
        with guest.fork(_FORKS) as copies:
            made = milliseconds(began) / 1000
            first, *_ = copies
            began = time.monotonic()
            first.run(["true"], check=True)
            ran = milliseconds(began)
    return [
        (f"until `Guest.fork({_FORKS})` returns, all with their own identity", f"{made:.1f} s"),
        ("until the first of them has run `true`, from then on", f"{ran:.0f} ms"),
    ]


def private(pid: int, *, ram: bool) -> float:
    """MiB that no other process has, of the guest's memory or of all else."""
    total, counts = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(":")
        if " " in name:
            counts = any(word in line for word in _RAM) == ram
        elif counts and name in ("Private_Clean", "Private_Dirty"):
            total += int(rest.split()[0])
    return total / 1024


def page(
    begun: list[tuple[str, str]],
    rows: list[tuple[str, str]],
    forked: list[tuple[str, str]],
    load: float,
) -> str:
    def table(head: str, rows: list[tuple[str, str]]) -> list[str]:
        lines = [f"| {head} | |", "| --- | ---: |"]
        return [*lines, *(f"| {what} | {value} |" for what, value in rows), ""]

    return "\n".join(
        [
            "# What warm starts, snapshots and forks take",
            "",
            "Made by `make bench-snapshots`, medians where it was done more than once. "
            f"{load:.1f} processes wanted one of the host's {os.cpu_count()} processors before.",
            "[What warm starts are](../guides/warm-starts.md), "
            "[snapshots and forks](../guides/snapshots.md).",
            "",
            *table("`inn run debian -- true`, 512 MiB", begun),
            *table(f"a guest of 1 GiB with {_FILLED} MiB of random numbers in memory", rows),
            *table("a booted Debian of 256 MiB", forked),
        ]
    )


def main() -> None:
    with a_home():
        load = os.getloadavg()[0]
        begun = measure_starts()
        rows = measure_snapshots()
        inn("rm", "--force", "large")
        forked = measure_forks()
        inn("rm", "--force", *inn("ps", "-aq").split())
        forked += measure_forks_in_python()
    PAGE.write_text(page(begun, rows, forked, load))
    print(PAGE.read_text())


if __name__ == "__main__":
    main()
