"""Keeps a guest's process to its share of the host's processors, before its threads begin and while
they run: by a control group where the host lets us have one.

Where it does not, `cpu` of the machine's limits is the machine's own affair, and what a guest
weighs is told by its threads' nice values, which only privileged processes may lower.
Loads next to nothing, as `groups`.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator

from innkeeper.vm.detached import groups
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.groups import DEFAULT_SHARES, Group
from innkeeper.vm.detached.home import Home

VERSION = 1
# One step of a nice value is this much of the processors, more or less. Spec: sched(7).
_STEP = 1.25
_NICEST = 19
# Of the thousand points of an OOM score. Spec: proc_pid_oom_score_adj(5).
_MOST_SPARED = 500


def settle(
    name: str,
    pid: int,
    cpu_limit: float | None,
    cpu_shares: int | None,
    cpuset: Iterable[int] = (),
    group: Group | None = None,
) -> dict[str, object]:
    """What `share.json` has to say. `name` is for a group that is made where `group` is none;
    without a name, none is.

    Raises:
        OSError: when the host has none of these processors.
    """
    wanted = set(cpuset)
    if wanted:
        _on_threads(pid, lambda thread: os.sched_setaffinity(thread, wanted))
    if group is None and name and (cpu_limit is not None or cpu_shares is not None):
        group = groups.create(name, pid)
    limited, weighed = _by(group, cpu_limit, cpu_shares)
    if cpu_shares is not None and not weighed:
        nice = _nice(cpu_shares)
        _on_threads(pid, lambda thread: os.setpriority(os.PRIO_PROCESS, thread, nice))
        # Sessions are weighed against each other before their threads are.
        with contextlib.suppress(OSError), open(f"/proc/{pid}/autogroup", "w") as file:
            file.write(str(nice))
    # A group of no use is the guest's all the same: somebody has to remove it.
    directory = None if group is None else group.directory
    return {"version": VERSION, "group": directory, "limits_cpu": limited}


def promise(
    document: dict[str, object], name: str, pid: int, promised: int, memory: int
) -> dict[str, object]:
    """What `settle` has said, and whether the host's kernel knows what was `promised` of a guest's
    `memory`: by a group of version 2. Where we may, its process is also among the last that the
    kernel ends when it has no memory left.
    """
    directory = document["group"]
    group = Group(directory) if isinstance(directory, str) else None
    if group is None and promised and name:
        group = groups.create(name, pid)
        document["group"] = None if group is None else group.directory
    kept = group is not None and _takes(lambda: group.promise_memory(promised))
    spared = round(_MOST_SPARED * min(promised / memory, 1)) if memory else 0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/oom_score_adj") as file:
        if int(file.read()) != -spared:
            with open(f"/proc/{pid}/oom_score_adj", "w") as changed:
                changed.write(str(-spared))
    return {**document, "promises_memory": kept and promised > 0}


def _by(group: Group | None, cpu_limit: float | None, cpu_shares: int | None) -> tuple[bool, bool]:
    """Whether the group keeps the limit, and the weight."""
    if group is None:
        return False, False
    limited = _takes(lambda: group.limit_cpu(cpu_limit))
    if not limited:
        # Version 1 refuses more than a group around it has. Its limit before must not stay.
        _takes(lambda: group.limit_cpu(None))
    return limited, _takes(lambda: group.weigh(cpu_shares))


def _takes(change: Callable[[], None]) -> bool:
    try:
        change()
    except OSError:
        return False
    return True


def settle_ordered(order: dict[str, object], pid: int) -> dict[str, object]:
    """As `settle`, of a guest whose order says what it wants.

    Raises:
        OSError: as `settle`.
    """
    limits = _member(_member(order, "spec"), "limits")
    shares = _member(order, "shares")
    cpu, weight, cpuset = limits.get("cpu"), shares.get("cpu"), shares.get("cpuset")
    name = str(order.get("id", pid))
    document = settle(
        name,
        pid,
        float(cpu) if isinstance(cpu, int | float) else None,
        weight if isinstance(weight, int) else None,
        [cpu for cpu in cpuset if isinstance(cpu, int)] if isinstance(cpuset, list) else (),
    )
    memory = _member(order, "spec").get("memory")
    size = memory if isinstance(memory, int) else 0
    return promise(document, name, pid, promised(order), size)


def promised(order: dict[str, object]) -> int:
    """Bytes of memory that the guest of this order was promised."""
    found = _member(order, "shares").get("memory")
    return found if isinstance(found, int) else 0


def _member(document: dict[str, object], name: str) -> dict[str, object]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def held(cpu_limit: float | None, cpu_shares: int | None, cpuset: Iterable[int]) -> Iterator[bool]:
    """This process keeps to its share in the block. Whether a limit is seen to by a group.

    Raises:
        OSError: as `settle`.
    """
    pid, group = os.getpid(), None
    if cpu_limit is not None or cpu_shares is not None:
        group = groups.create(f"run-{pid}", pid)
    try:
        document = settle("", pid, cpu_limit, cpu_shares, cpuset, group)
        yield document["limits_cpu"] is True
    finally:
        if group is not None:
            group.leave()


def group_of(home: Home) -> Group | None:
    """The guest's, whether it runs or has just ended."""
    directory = (home.read(files.SHARE) or {}).get("group")
    return Group(directory) if isinstance(directory, str) else None


def forget(home: Home) -> None:
    """Nobody runs the guest any more."""
    group = group_of(home)
    if group is not None:
        group.remove()
    home.remove(files.SHARE)


def _nice(shares: int) -> int:
    steps = 0
    while shares < DEFAULT_SHARES and steps < _NICEST:
        shares, steps = round(shares * _STEP), steps + 1
    while shares > DEFAULT_SHARES and steps > -_NICEST:
        shares, steps = round(shares / _STEP), steps - 1
    return steps


def _on_threads(pid: int, act: Callable[[int], None]) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        # It may end meanwhile; and what takes privileges that we lack is left as it is.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            act(int(thread))
