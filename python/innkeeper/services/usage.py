"""What running guests take of the host, as the kernel counts it for their processes.

Spec: proc_pid_stat(5), proc_pid_io(5).
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from innkeeper.errors import GuestNotRunning, InnkeeperError
from innkeeper.services import listing, merging
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.qmp.client import Client

# Seconds that a guest's process gets to answer: others wait to be shown.
_HASTE: Final = 2.0
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# Counted behind the name, which may hold anything.
_USER_TICKS: Final = 11
_RESIDENT: Final = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a guest's disks and network cards carry in a second, all of them together."""

    read: float
    written: float
    requests: float
    received: float
    sent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`cpu` is the share of one host processor since the sample before, or since its start.
    `memory` is what the process has of the host's; of that `granted` at most is the guest's.
    `memory_merged` is what of it the host has merged with equal pages.
    `disk_read` and `disk_written` have reached a disk. `guest_memory` is as `x-query-memory` of the
    control socket tells it, and `traffic` as `x-query-traffic` does, None where nobody answered.
    `rates` are of that traffic since the sample before. All in bytes and seconds.
    """

    name: str
    pid: int
    cpus: int
    cpu: float
    cpu_seconds: float
    memory: int
    granted: int
    disk_read: int
    disk_written: int
    taken: float
    guest_memory: Mapping[str, Any] | None = field(default=None)
    memory_merged: int | None = None
    traffic: Mapping[str, Any] | None = field(default=None)
    rates: Rates | None = None

    @property
    def used(self) -> int | None:
        """What the guest says that its programs and its kernel use; None until it has."""
        told = (self.guest_memory or {}).get("guest", {})
        total, available = told.get("total"), told.get("available")
        return None if total is None or available is None else max(total - available, 0)

    @property
    def returned(self) -> int | None:
        """What it has ever given back."""
        return (self.guest_memory or {}).get("returned")


def sample(names: Sequence[str], before: Mapping[str, Usage]) -> list[Usage]:
    """Of the guests named, or of all that run.

    Raises:
        GuestNotFound; GuestNotRunning: for one that was named.
    """
    if names:
        documents = [listing.inspect(name) for name in names]
    else:
        documents = listing.listed(everything=False)
    found = []
    for document in documents:
        usage = _of(document)
        if usage is not None:
            found.append(_since(usage, before.get(usage.name)))
        elif names:
            raise GuestNotRunning(f"the guest {document['name']!r} is not running")
    return found


def _told(name: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Of its memory and its traffic. What the guest says of the first is as old as the look before:
    it answers when it comes to it.
    """
    told: list[dict[str, Any] | None] = [None, None]
    with (
        contextlib.suppress(InnkeeperError),
        registry().open(name) as home,
        Client(home, _HASTE) as client,
    ):
        for number, command in enumerate(("x-query-memory", "x-query-traffic")):
            found = client.execute(command)
            told[number] = found if isinstance(found, dict) else None
    memory, traffic = told
    return memory, traffic if traffic is not None and _makes_sense(traffic) else None


def _makes_sense(traffic: Mapping[str, Any]) -> bool:
    """Whoever has taken over a guest's process may say anything."""
    try:
        return all(isinstance(number, int) for number in _sums(traffic).values())
    except (KeyError, TypeError, IndexError):
        return False


def engine(name: str) -> dict[str, Any] | None:
    """What the guest's engine did, as `GuestStatistics.as_dict`; None when it has just ended."""
    try:
        with registry().open(name) as home, Client(home) as client:
            told = client.execute("x-query-statistics")
    except InnkeeperError:
        return None
    return told if isinstance(told, dict) else None


def cards(name: str) -> list[dict[str, Any]] | None:
    """Of each network card of a guest, whether the host's kernel moves its frames now (vhost-net),
    or why not. None where nobody answered.
    """
    _, traffic = _told(name)
    if traffic is None:
        return None
    # One that an older Innkeeper has started says nothing of it, and has none.
    return [
        {
            "id": card.get("id"),
            "vhost": card.get("vhost") is True,
            "why_not": card.get("why_not"),
        }
        for card in traffic["cards"]
    ]


def _of(document: listing.Document) -> Usage | None:
    pid = document["pid"]
    if not isinstance(pid, int):
        return None
    try:
        fields = _read(pid, "stat").rpartition(b") ")[2].split()
        counters = dict(line.split(b": ") for line in _read(pid, "io").splitlines())
    except OSError:
        return None
    memory, traffic = _told(str(document["name"]))
    return Usage(
        name=str(document["name"]),
        pid=pid,
        cpus=_number(document["cpus"]),
        cpu=0.0,
        cpu_seconds=(int(fields[_USER_TICKS]) + int(fields[_USER_TICKS + 1])) * _TICK,
        memory=int(fields[_RESIDENT]) * _PAGE,
        granted=_number(document["memory"]),
        disk_read=int(counters[b"read_bytes"]),
        disk_written=int(counters[b"write_bytes"]),
        taken=time.monotonic(),
        guest_memory=memory,
        memory_merged=merging.of_process(pid),
        traffic=traffic,
    )


def _since(usage: Usage, before: Usage | None) -> Usage:
    if before is None or before.pid != usage.pid:
        return usage
    elapsed = usage.taken - before.taken
    share = (usage.cpu_seconds - before.cpu_seconds) / elapsed
    rates = None
    if usage.traffic is not None and before.traffic is not None:
        now, then = _sums(usage.traffic), _sums(before.traffic)
        # What went meanwhile has taken with it what it had carried.
        rates = Rates(**{key: max(now[key] - then[key], 0) / elapsed for key in now})
    return replace(usage, cpu=share, rates=rates)


def _sums(traffic: Mapping[str, Any]) -> dict[str, int]:
    disks, cards = traffic["disks"], traffic["cards"]
    kinds = ("read", "written", "flushed", "unmapped")
    return {
        "read": sum(disk["read"]["bytes"] for disk in disks),
        "written": sum(disk["written"]["bytes"] for disk in disks),
        "requests": sum(disk[kind]["requests"] for disk in disks for kind in kinds),
        "received": sum(card["received"]["bytes"] for card in cards),
        "sent": sum(card["sent"]["bytes"] for card in cards),
    }


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - pathlib is not loaded here
        return file.read()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
