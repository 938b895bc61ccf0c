"""A guest's process sees no other processes: it is the first in a namespace of its own.

A process cannot get that for itself, only for those that it forks. So one between the supervisor
and the guest's does that, forks the guest's, and ends; its child is the supervisor's then. What
that takes of the core, a supervisor that comes of a template has loaded.

To itself the guest's process is number 1. The kernel spares such a one signals that it has said
nothing about, so it does. Spec: pid_namespaces(7); PR_SET_CHILD_SUBREAPER in prctl(2).
"""

import os
import signal
import sys

_TAPS = ("tap",)
# Why this process is not the first of its own, where it was to be.
missing: "str | None" = None


def adopt() -> "str | None":
    """Lets the supervisor have its children's children; else why it can not."""
    try:
        from innkeeper._core import adopt as become_parent

        become_parent()
    except (ImportError, OSError) as error:
        return _without(error)
    return None


def fork(order: "dict[str, object]", refused: "str | None") -> int:
    """Forks the guest's process: its number outside, and zero in it. `refused` is what `adopt`
    said.

    Raises:
        OSError: when the host has no process left.
    """
    global missing
    missing = None
    if order.get("jail") is not True:
        return os.fork()
    spec = order.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    missing = refused
    if spec.get("perf_map"):
        missing = _without("perf finds a process by its number")
    if missing is not None:
        return os.fork()
    from innkeeper._core import fork_first

    pid, reason = fork_first(*_network(spec))
    if pid == 0:
        if reason is None:
            signal.signal(signal.SIGTERM, _end)
        else:
            missing = _without(reason)
    return pid


def number() -> int:
    """Of this process, outside. /proc is the host's, or what the jail has left of that."""
    return int(os.path.basename(os.readlink("/proc/self")))


def _network(spec: "dict[str, object]") -> "tuple[bool, bool]":
    """Whether the guest has connections of the Internet, and a tap."""
    network = spec.get("network")
    kind = network.get("kind") if isinstance(network, dict) else None
    has_bridge = isinstance(network, dict) and network.get("bridge") is not None
    return kind not in (None, *_TAPS), kind in _TAPS or has_bridge


def _without(reason: object) -> str:
    return f"no pid namespace: {reason}"


def _end(number: int, _frame: object) -> None:
    """As if nothing had been said about it."""
    sys.stderr.flush()
    os._exit(128 + number)
