"""How fast a guest reads a disk whose bytes are in the host's page cache."""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benches.console import GuestConsole

SECONDS: Final = 1.0
ROWS: Final = {
    "disk.sequential_1m": ("sequential, 1 MiB a read, MB/s", None),
    "disk.random_4k": ("random, 4 KiB, reads a second", 40_000),
    "disk.random_4k_by_8": ("random, 4 KiB, eight readers, reads a second", None),
}
_LINE: Final = re.compile(r"^(disk\.\S+) ([\d.]+)", re.MULTILINE)


def measure(
    commands: Mapping[str, Sequence[str]], rounds: int, tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """By row and guest: the median rate over `rounds`, by the clock.

    Nothing is corrected: a guest that waits for its disk does not use its processor.
    """
    guests = {name: GuestConsole(command) for name, command in commands.items()}
    rates: dict[str, dict[str, list[float]]] = {row: {} for row in ROWS}
    for turn in range(1, rounds + 1):
        for name, guest in guests.items():
            run = guest.run(f"--disk /dev/vda {SECONDS}")
            for row, rate in _LINE.findall(run.output.replace("\r", "")):
                tell(f"round {turn} of {rounds}: {name}: {row} {rate}")
                rates[row].setdefault(name, []).append(float(rate))
    for guest in guests.values():
        guest.close()
    return {
        row: {name: statistics.median(found) for name, found in by_guest.items()}
        for row, by_guest in rates.items()
    }
