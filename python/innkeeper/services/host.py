"""The host: what it can do for guests, and what is missing."""

import os
import platform
import shutil
from dataclasses import dataclass

from innkeeper.errors import InnkeeperError
from innkeeper.images import Store
from innkeeper.images.debian import TOOLS
from innkeeper.machine import format_size
from innkeeper.vm import measure, walls


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFinding:
    """`speed`: measured ring-0 instructions a second. `chosen`: what `--engine auto` takes."""

    name: str
    usable: bool
    chosen: bool
    reason: str
    speed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that Innkeeper needs or likes to have."""

    name: str
    good: bool
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    engines: tuple[EngineFinding, ...]
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        return any(engine.usable for engine in self.engines)


def diagnose() -> Diagnosis:
    """Measures the engines, which takes about a second, and looks at the rest of the host."""
    engines = tuple(
        EngineFinding(
            name=report.name,
            usable=report.usable,
            chosen=report.chosen,
            reason=report.reason,
            speed=_speed(report),
        )
        for report in measure.engines()
    )
    return Diagnosis(
        engines=engines, checks=(_system(), _processors(), _jail(), _tools(), _store())
    )


def _speed(report: measure.EngineReport) -> float | None:
    if report.speed is not None or not report.usable:
        return report.speed
    if report.name == "translator":
        # It translates 64-bit code, which the loop is not, and does not count instructions.
        return None
    try:
        return measure.speed(report.name)
    except InnkeeperError:
        return None


def _system() -> Check:
    good = platform.system() == "Linux" and platform.machine() == "x86_64"
    finding = f"{platform.system()} {platform.release()} on {platform.machine()}"
    return Check(name="system", good=good, finding=finding)


def _processors() -> Check:
    count = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    finding = f"{count} processors, {format_size(memory)} of memory"
    return Check(name="resources", good=True, finding=finding)


def _jail() -> Check:
    """Whether guests' processes are locked in as well as they could be."""
    try:
        missing = walls.possible().missing
    except InnkeeperError as error:
        return Check(name="jail", good=False, finding=str(error))
    return Check(name="jail", good=not missing, finding="; ".join(missing) or "all walls stand")


def _tools() -> Check:
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    finding = f"missing: {', '.join(missing)}" if missing else "all there"
    return Check(name="image building", good=not missing, finding=finding)


def _store() -> Check:
    store = Store()
    place = store.directory
    # Where we may not look, nothing is there for us.
    while not os.path.exists(place):  # noqa: PTH110 - pathlib's raises
        place = place.parent
    free = shutil.disk_usage(place).free
    finding = f"{store.directory}, {format_size(free)} free"
    good = place.is_dir() and os.access(place, os.W_OK)
    return Check(name="image store", good=good, finding=finding)
