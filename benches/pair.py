"""Host and guests measured in turn, so that what else the machine does hits all alike.

Each figure is corrected by the share of a processor that was really had: on the host by the
processor time that the program counts, in a guest by that of the guest's process.
"""

import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benches.console import GuestConsole, GuestLost

SECONDS: Final = 0.25
# It is the clock that this one measures.
_NOT_CORRECTED: Final = "sys.nanosleep50us"
_LINE: Final = re.compile(r"^(\S+) ns/op ([\d.]+) cpu ([\d.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure: nanoseconds of the host by round, and of each guest beside the host's."""

    host: list[float] = field(default_factory=list)
    guests: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def host_ns(self) -> float | None:
        return statistics.median(self.host) if self.host else None

    def ns(self, guest: str) -> float | None:
        readings = self.guests.get(guest)
        return statistics.median(ours for ours, _ in readings) if readings else None

    def ratio(self, guest: str) -> float | None:
        """How many times slower than the host: the median over rounds, each its own pair."""
        readings = self.guests.get(guest)
        return statistics.median(ours / host for ours, host in readings) if readings else None


class Subject:
    """A guest that is measured in the first `rounds` rounds, and started again when it is lost."""

    def __init__(self, command: Sequence[str], rounds: int) -> None:
        self._command = command
        self._console: GuestConsole | None = None
        self.rounds = rounds

    def measure(self, name: str) -> float | None:
        if self._console is None:
            self._console = GuestConsole(self._command)
        try:
            run = self._console.run(f"-t {SECONDS} {name}")
        except GuestLost:
            self.close()
            return None
        found = _reading(run.output, name)
        if found is None or name == _NOT_CORRECTED:
            return found and found[0]
        return found[0] * run.share

    def close(self) -> None:
        if self._console is not None:
            self._console.close()
            self._console = None


def measure(
    program: Path,
    names: Sequence[str],
    subjects: Mapping[str, Subject],
    tell: Callable[[str], None],
) -> dict[str, Measured]:
    """All rounds of all `names`; `tell` hears of each as it is done."""
    results = {name: Measured() for name in names}
    rounds = max(subject.rounds for subject in subjects.values())
    for turn in range(1, rounds + 1):
        for name in names:
            told = _one(program, name, results[name], _taking_part(subjects, turn))
            tell(f"round {turn} of {rounds}: {name:24}{told}")
    return results


def _taking_part(subjects: Mapping[str, Subject], turn: int) -> dict[str, Subject]:
    return {name: subject for name, subject in subjects.items() if turn <= subject.rounds}


def _one(program: Path, name: str, result: Measured, subjects: Mapping[str, Subject]) -> str:
    host = _on_host(program, name)
    if host is None:
        return "not possible on this host"
    result.host.append(host)
    told = f"{host:14.2f} ns"
    for guest, subject in subjects.items():
        reading = subject.measure(name)
        if reading is not None:
            result.guests.setdefault(guest, []).append((reading, host))
        told += f"   {guest} " + ("-" if reading is None else f"x {reading / host:.2f}")
    return told


def _on_host(program: Path, name: str) -> float | None:
    command = [str(program), "-t", str(SECONDS), name]
    found = _reading(subprocess.check_output(command, text=True), name)
    if found is None:
        return None
    return found[0] if name == _NOT_CORRECTED else found[1]


def _reading(output: str, name: str) -> tuple[float, float] | None:
    """Nanoseconds of the clock and of the processor."""
    for found, clock, processor in _LINE.findall(output.replace("\r", "")):
        if found == name:
            return float(clock), float(processor)
    return None
