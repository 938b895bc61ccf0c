"""`make bench-memory`: how soon memory that a guest frees is the host's again.

    python -m benches.memory

A guest of 2 GiB fills 512 MiB and frees them; what its process has of the host's memory is looked
at meanwhile (resident, and proportional, which is the same where nobody shares it). Writes
docs/reference/memory.md.
"""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benches.homes import INN, a_home

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "memory.md"
_FILLED: Final = 512
# What may stay when the rest has come back, in MiB: small pieces, and what was used besides.
_LEFT: Final = 32
_PATIENCE: Final = 60.0
_FILL: Final = f"dd if=/dev/zero of=/dev/shm/fill bs=1M count={_FILLED} 2>&1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the guest's process has of the host's memory, in MiB."""

    resident: float
    proportional: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    what: str
    held: Held
    seconds: float | None = None


class Box:
    """A guest."""

    def __init__(self) -> None:
        self.inn("run", "--detach", "--name", "box", "--memory", "2G", "debian")
        self.exec("modprobe virtio_balloon")
        self._pid = int(json.loads(self.inn("inspect", "box", "--json"))["pid"])

    def inn(self, *words: str) -> str:
        return subprocess.run([INN, *words], capture_output=True, text=True, check=True).stdout

    def exec(self, command: str) -> str:
        return self.inn("exec", "box", "sh", "-c", command)

    def held(self) -> Held:
        lines = Path(f"/proc/{self._pid}/smaps_rollup").read_text().splitlines()[1:]
        found = {name: int(rest.split()[0]) / 1024 for name, _, rest in map(_parted, lines)}
        return Held(resident=found["Rss"], proportional=found["Pss"])

    def until(self, most: float) -> tuple[Held, float]:
        """What it has once no more is resident, and after how many seconds."""
        began = time.monotonic()
        while (held := self.held()).resident > most:
            if time.monotonic() - began > _PATIENCE:
                raise SystemExit(f"nothing happened in {_PATIENCE} seconds: {held}")
            time.sleep(0.05)
        return held, time.monotonic() - began


def _parted(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def measure() -> list[Row]:
    box = Box()
    rows = [Row(what="booted", held=box.held())]
    for round_ in ("first", "second"):
        box.exec(_FILL)
        filled = box.held()
        rows.append(Row(what=f"{_FILLED} MiB filled, the {round_} time", held=filled))
        box.exec("rm /dev/shm/fill")
        floor = filled.resident - _FILLED + _LEFT
        held, seconds = box.until(floor)
        rows.append(Row(what="freed", held=held, seconds=seconds))
    return rows


def page(rows: list[Row]) -> str:
    lines = [
        "# How soon freed memory is the host's again",
        "",
        "Made by `make bench-memory`: a guest of 2 GiB fills 512 MiB and frees them. What is shown",
        "is its process (`/proc/PID/smaps_rollup`), the translator's own memory included.",
        "[How memory returns](../guides/memory-of-a-guest.md).",
        "",
        "| guest | resident, MiB | proportional, MiB | seconds after it was freed |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        held = row.held
        lines.append(f"| {row.what} | {held.resident:.0f} | {held.proportional:.0f} | {seconds} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with a_home():
        rows = measure()
    text = page(rows)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
