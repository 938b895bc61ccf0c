"""All that a process inherits and a guest could notice, as a text: a guest's processes may be
forked from another process than its user's command only where that would make no difference.

What is not in here, whoever asks for a guest hands over: directory, environment, umask, streams.
"""

import os
import sys
import zlib
from collections.abc import Iterator

from innkeeper.vm.detached import home

# What the C library or Python look at once, when a program starts.
_EARLY = ("LD_", "GLIBC_", "MALLOC_", "PYTHON", "LC_", "LANG", "TZ")
_STATUS = (
    *("Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Cpus_allowed_list"),
    *("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Mems_allowed_list"),
)
_FILES = ("limits", "cgroup", "oom_score_adj", "loginuid", "attr/current")


def circumstances() -> str:
    """Of this process."""
    return "\n".join(_lines())


def short(text: str) -> str:
    """A name for it; that two are the same, only the text tells."""
    return f"{zlib.crc32(text.encode()):08x}"


def _lines() -> Iterator[str]:
    yield os.path.dirname(os.path.abspath(home.__file__))
    yield repr((sys.version, sys.executable, [place for place in sys.path if place]))
    yield repr(sorted(item for item in os.environ.items() if item[0].startswith(_EARLY)))
    yield repr((os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)))
    root = os.stat("/")
    yield repr((root.st_dev, root.st_ino))
    for name in sorted(os.listdir("/proc/self/ns")):
        yield os.readlink(f"/proc/self/ns/{name}")
    for line in _read("status").splitlines():
        if line.partition(":")[0] in _STATUS:
            yield line
    for name in _FILES:
        yield _read(name)


def _read(name: str) -> str:
    try:
        with open(f"/proc/self/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        # Some are of kernels that were built so.
        return ""
