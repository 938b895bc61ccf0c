"""What a second processor is worth: two threads in a guest of two, beside one thread in it."""

import re
import resource
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benches.console import GuestConsole

SECONDS: Final = 1.0
TARGET: Final = 1.8
VCPUS: Final = 2
_LINE: Final = re.compile(r"^parallel\.\d+ ([\d.]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """How many times as much two threads do as one: by the clock, and by processor time.

    By the clock it says what the machine gave. By processor time, twice the work of a second with
    two over that with one, it says what the guest itself loses, whatever else the machine does.
    """

    clock: float
    processor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What threads got done in so many seconds of the clock and of processors."""

    rounds: float
    seconds: float
    processor: float


def measure(
    program: Path,
    commands: Mapping[str, Sequence[str]],
    rounds: int,
    tell: Callable[[str], None],
) -> dict[str, Scaling]:
    """By guest, and for the host itself under `host`."""
    guests = {name: GuestConsole(command) for name, command in commands.items()}
    found: dict[str, list[Scaling]] = {}
    for turn in range(1, rounds + 1):
        works = {"host": [_on_host(program, threads) for threads in (1, VCPUS)]}
        for name, guest in guests.items():
            works[name] = [_in_guest(guest, threads) for threads in (1, VCPUS)]
        for name, (one, two) in works.items():
            found.setdefault(name, []).append(scaling(one, two))
            tell(f"round {turn} of {rounds}: {name}: two threads x {found[name][-1].clock:.2f}")
    for guest in guests.values():
        guest.close()
    return {name: _median(scalings) for name, scalings in found.items()}


def scaling(one: Work, two: Work) -> Scaling:
    return Scaling(
        clock=(two.rounds / two.seconds) / (one.rounds / one.seconds),
        processor=VCPUS * (two.rounds / two.processor) / (one.rounds / one.processor),
    )


def _median(scalings: Sequence[Scaling]) -> Scaling:
    return Scaling(
        clock=statistics.median(each.clock for each in scalings),
        processor=statistics.median(each.processor for each in scalings),
    )


def _in_guest(guest: GuestConsole, threads: int) -> Work:
    run = guest.run(f"--parallel {threads} {SECONDS}")
    return Work(rounds=_rate(run.output) * SECONDS, seconds=SECONDS, processor=run.processor)


def _on_host(program: Path, threads: int) -> Work:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.check_output([program, "--parallel", str(threads), str(SECONDS)], text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Work(rounds=_rate(output) * SECONDS, seconds=SECONDS, processor=processor)


def _rate(output: str) -> float:
    found = _LINE.search(output.replace("\r", ""))
    if found is None:
        raise SystemExit(f"the parallel work did not run: {output}")
    return float(found[1])
