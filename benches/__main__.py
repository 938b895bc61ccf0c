"""`make bench`: everything, into docs/reference/benchmarks.md; or a part, on the terminal.

    python -m benches [--only PREFIX,…] [--engines NAME,…] [--rounds N] [--peer-rounds N]

`--only` takes groups or measures (int, sys.fork), and `disk`, `parallel`, `boot`.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benches import boot, commands, disk, page, pair, parallel, program
from benches.boot import Boot
from benches.commands import Hardware
from benches.page import Results
from benches.pair import Measured, Subject
from benches.parallel import Scaling
from innkeeper.images import Store, ensure

# Both software engines boot, whichever of them is measured.
ENGINES: Final = ("translator", "interpreter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    only: tuple[str, ...]
    engines: tuple[str, ...]
    rounds: int
    peer_rounds: int

    def part(self, name: str) -> bool:
        return not self.only or name in self.only

    @property
    def peers(self) -> tuple[str, ...]:
        return commands.PEER_CPUS if self.peer_rounds and commands.peer_is_here() else ()


def main() -> None:
    wish = _wish()
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {line}", flush=True)

    image = ensure(Store(), "debian", lambda *_: None)
    built = program.build()
    hardware = Hardware(
        kernel=image.kernel, initrd=program.initrd(image, built), disk=program.disk()
    )
    results = Results(
        measures=_measures(built, hardware, wish, tell),
        engines=wish.engines,
        peers=wish.peers,
        rounds=(wish.rounds, wish.peer_rounds),
        disk=disk.measure(_commands(hardware, wish), wish.rounds, tell)
        if wish.part("disk")
        else {},
        scaling=_scaling(built, hardware, wish, tell) if wish.part("parallel") else {},
        boots=_boots(hardware, wish, tell) if wish.part("boot") else {},
        speeds={engine: boot.speed(engine) for engine in ENGINES} if wish.part("boot") else {},
    )
    text = page.page(results)
    if wish.only:
        print(text)
    else:
        page.PAGE.write_text(text)
        print(f"written: {page.PAGE}")


def _wish() -> Wish:
    parser = argparse.ArgumentParser(prog="benches", description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--engines", default="translator")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1)
    given = parser.parse_args()
    return Wish(
        only=tuple(word for word in given.only.split(",") if word),
        engines=tuple(given.engines.split(",")),
        rounds=given.rounds,
        peer_rounds=given.peer_rounds,
    )


def _measures(
    built: Path, hardware: Hardware, wish: Wish, tell: Callable[[str], None]
) -> dict[str, Measured]:
    every = program.names(built)
    names = [name for name in every if not wish.only or name.startswith(wish.only)]
    if not names:
        return {}
    subjects = {
        engine: Subject(commands.innkeeper(engine, hardware), wish.rounds)
        for engine in wish.engines
    }
    for cpu in wish.peers:
        subjects[cpu] = Subject(commands.qemu(cpu, hardware), wish.peer_rounds)
    # All on one processor: host and guests have the same neighbours, and the same caches.
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        return pair.measure(built, names, subjects, tell)
    finally:
        os.sched_setaffinity(0, allowed)
        for subject in subjects.values():
            subject.close()


def _disk(
    hardware: Hardware, wish: Wish, tell: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    return disk.measure(_commands(hardware, wish), wish.rounds, tell)


def _scaling(
    built: Path, hardware: Hardware, wish: Wish, tell: Callable[[str], None]
) -> dict[str, Scaling]:
    two = replace(hardware, vcpus=parallel.VCPUS, disk=None)
    return parallel.measure(built, _commands(two, wish), wish.rounds, tell)


def _boots(hardware: Hardware, wish: Wish, tell: Callable[[str], None]) -> dict[str, list[Boot]]:
    least = replace(
        hardware,
        initrd=boot.initrd(),
        append=boot.APPEND,
        memory=boot.MEMORY_MIB,
        disk=None,
    )
    return boot.measure(_commands(least, replace(wish, engines=ENGINES)), tell)


def _commands(hardware: Hardware, wish: Wish) -> dict[str, list[str]]:
    """One of each: the peer with the processor that has the most features."""
    ours = {engine: commands.innkeeper(engine, hardware) for engine in wish.engines}
    peer = {commands.TCG: commands.qemu(wish.peers[0], hardware)} if wish.peers else {}
    return {**ours, **peer}


if __name__ == "__main__":
    main()
