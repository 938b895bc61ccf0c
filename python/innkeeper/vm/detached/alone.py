"""A guest's process sees no other processes: it is the first in a namespace of its own.

A process cannot get that for itself, only for those that it forks. So the one that the supervisor
forks does that, forks the guest's, and ends; its child is the supervisor's then. What that takes of
the core, a supervisor that comes of a template has loaded.

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
        return f"no pid namespace: {error}"
    return None


def become_first(order: "dict[str, object]", told: int, refused: "str | None") -> None:
    """In the process that the supervisor has forked. Returns in the guest's, whose number outside
    is written to `told`. `refused` is what `adopt` said.

    Raises:
        OSError: when the host has no process left.
    """
    global missing
    if order.get("jail") is True:
        missing = refused or _separate(order)
        if missing is None:
            if (pid := os.fork()) > 0:
                os.write(told, b"%d\n" % pid)
                os._exit(0)
            signal.signal(signal.SIGTERM, _end)
            os.close(told)
            return
    os.write(told, b"%d\n" % os.getpid())
    os.close(told)


def number() -> int:
    """Of this process, outside. /proc is the host's, or what the jail has left of that."""
    return int(os.path.basename(os.readlink("/proc/self")))


def _separate(order: "dict[str, object]") -> "str | None":
    from innkeeper._core import separate_children

    spec = order.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    if spec.get("perf_map"):
        return "no pid namespace: perf finds a process by its number"
    network = spec.get("network")
    kind = network.get("kind") if isinstance(network, dict) else None
    has_bridge = isinstance(network, dict) and network.get("bridge") is not None
    reason = separate_children(kind not in (None, *_TAPS), kind in _TAPS or has_bridge)
    return None if reason is None else f"no pid namespace: {reason}"


def _end(number: int, _frame: object) -> None:
    """As if nothing had been said about it."""
    sys.stderr.flush()
    os._exit(128 + number)
