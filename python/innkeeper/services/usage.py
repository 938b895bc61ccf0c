"""What running guests take of the host, as the kernel counts it for their processes.

Spec: proc_pid_stat(5), proc_pid_io(5).
"""

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
class Usage:
    """`cpu` is the share of one host processor since the sample before, or since its start.
    `memory` is what the process has of the host's; of that `granted` at most is the guest's.
    `memory_merged` is what of it the host has merged with equal pages.
    `disk_read` and `disk_written` have reached a disk. `guest_memory` is as `x-query-memory` of the
    control socket tells it, None where nobody answered. All in bytes and seconds.
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


def _guest_memory(name: str) -> dict[str, Any] | None:
    # What the guest says is as old as the look before: it answers when it comes to it.
    try:
        with registry().open(name) as home, Client(home, _HASTE) as client:
            told = client.execute("x-query-memory")
    except InnkeeperError:
        return None
    return told if isinstance(told, dict) else None


def engine(name: str) -> dict[str, Any] | None:
    """What the guest's engine did, as `GuestStatistics.as_dict`; None when it has just ended."""
    try:
        with registry().open(name) as home, Client(home) as client:
            told = client.execute("x-query-statistics")
    except InnkeeperError:
        return None
    return told if isinstance(told, dict) else None


def _of(document: listing.Document) -> Usage | None:
    pid = document["pid"]
    if not isinstance(pid, int):
        return None
    try:
        fields = _read(pid, "stat").rpartition(b") ")[2].split()
        counters = dict(line.split(b": ") for line in _read(pid, "io").splitlines())
    except OSError:
        return None
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
        guest_memory=_guest_memory(str(document["name"])),
        memory_merged=merging.of_process(pid),
    )


def _since(usage: Usage, before: Usage | None) -> Usage:
    if before is None or before.pid != usage.pid:
        return usage
    share = (usage.cpu_seconds - before.cpu_seconds) / (usage.taken - before.taken)
    return replace(usage, cpu=share)


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:  # noqa: PTH123 - pathlib is not loaded here
        return file.read()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
