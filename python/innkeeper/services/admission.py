"""What the host has promised to its guests, and whether it can promise more."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from innkeeper.errors import GuestNotFound, HostFailure, InvalidInput
from innkeeper.machine import Shares, format_size
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import promises, standing
from innkeeper.vm.detached.registry import registry

_LOCK: Final = ".admission"
# What the host keeps for itself: a part of its memory, and so much at least.
_RESERVED_PART: Final = 16
_LEAST_RESERVED: Final = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a guest that runs was given: virtual processors, memory in bytes, and what of that was
    promised to it. `cpu_limit` is in processors.
    """

    name: str
    id: str
    cpus: int
    cpu_limit: float | None
    cpu_shares: int | None
    cpuset: tuple[int, ...]
    memory: int
    memory_min: int
    merges_memory: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostShares:
    """The host and who has a claim to it. `promisable` is what may be promised of its `memory`,
    `others` what guests that are not in this list were promised: other users'.
    """

    cpus: int
    memory: int
    available: int
    promisable: int
    others: int
    claims: tuple[Claim, ...]

    @property
    def promised(self) -> int:
        return sum(claim.memory_min for claim in self.claims)

    @property
    def granted(self) -> int:
        return sum(claim.memory for claim in self.claims)

    @property
    def vcpus(self) -> int:
        return sum(claim.cpus for claim in self.claims)


def look() -> HostShares:
    """
    Raises:
        HostFailure: when the host does not tell.
    """
    memory = _memory()
    total = memory["MemTotal"]
    reserved = max(total // _RESERVED_PART, _LEAST_RESERVED)
    claims = tuple(_claims())
    return HostShares(
        cpus=len(os.sched_getaffinity(0)),
        memory=total,
        available=memory["MemAvailable"],
        promisable=max(total - reserved, 0),
        others=promises.of_others({claim.id for claim in claims}, total),
        claims=claims,
    )


@contextlib.contextmanager
def admitted(name: str, shares: Shares) -> Iterator[None]:
    """The guest may begin to run in the block; nobody else is admitted meanwhile.

    Raises:
        InvalidInput: when the host has not got what the guest was promised.
        HostFailure: when it cannot be found out.
    """
    missing = sorted(set(shares.cpuset) - os.sched_getaffinity(0))
    if missing:
        who = f"the guest {name!r}" if name else "the guest"
        raise InvalidInput(f"{who} is to run on processor {missing[0]}, which is not here")
    if not shares.memory:
        yield
        return
    guests = registry()
    try:
        path = f"{guests.directory}/{_LOCK}"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostFailure(f"cannot use {guests.directory}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _check(name, shares.memory)
        yield
    finally:
        os.close(lock)


def _check(name: str, wanted: int) -> None:
    host = look()
    others = sum(claim.memory_min for claim in host.claims if claim.name != name) + host.others
    if others + wanted > host.promisable:
        raise InvalidInput(
            f"the guest {name!r} wants {format_size(wanted)} promised, and of the host's "
            f"{format_size(host.memory)} only {format_size(max(host.promisable - others, 0))} can "
            "be promised any more; see inn host"
        )


def _claims() -> Iterator[Claim]:
    guests = registry()
    for name in guests.names():
        with contextlib.suppress(GuestNotFound), guests.open(name) as home:
            stands = standing.look(home)
            # One without a process waits to be admitted itself.
            if stands.supervisor is not None or stands.pid is not None:
                yield _claim(name, home.read(files.DEFINITION) or {})


def _claim(name: str, document: dict[str, Any]) -> Claim:
    request = document.get("request") or {}
    shares, limits = request.get("shares") or {}, request.get("limits") or {}
    return Claim(
        name=name,
        id=str(document.get("id", "")),
        cpus=request.get("vcpus", 1),
        cpu_limit=limits.get("cpu"),
        cpu_shares=shares.get("cpu"),
        cpuset=tuple(shares.get("cpuset") or ()),
        memory=request.get("memory", 0),
        memory_min=shares.get("memory", 0),
        merges_memory=request.get("merges_memory", False) is True,
    )


def _memory() -> dict[str, int]:
    """/proc/meminfo in bytes. Spec: proc_meminfo(5)."""
    try:
        with open("/proc/meminfo") as file:  # noqa: PTH123 - pathlib is not loaded here
            lines = [line.split() for line in file]
        return {words[0].rstrip(":"): int(words[1]) << 10 for words in lines}
    except (OSError, ValueError, IndexError) as error:
        raise HostFailure(f"cannot read the host's memory: {error}") from error
