"""Control groups: how a guest's processes are kept to their share of the host's processors.

A guest has one group of its own, below `innkeeper` beside or below the one that we are in: of
version 2 where the host gives that the processors, else of version 1. Where neither may be used
there is none, and the guest's process sees to its limits itself. Whoever makes a group removes
those beside it that nobody is in any more, so nothing stays when both of a guest's processes were
killed.

Loads next to nothing: a guest's supervisor does this.
Spec: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1 of the Linux kernel, cgroups(7).
"""

import contextlib
import os
from collections.abc import Iterator

_OURS = "innkeeper"
# What a group without wishes weighs among its neighbours, in shares as version 1 counts them.
DEFAULT_SHARES = 1024
_DEFAULT_WEIGHT = 100  # the same in version 2
_PERIOD = 100_000  # microseconds in which a limit holds, the kernel's own choice
_TRIES = 3


class Group:
    """One control group, by its directory."""

    def __init__(self, directory: str, origin: str | None = None) -> None:
        self.directory = directory
        # Where we were when we made it.
        self._origin = origin

    @property
    def version(self) -> int:
        return 2 if os.path.exists(os.path.join(self.directory, "cgroup.controllers")) else 1

    def add(self, pid: int) -> None:
        """
        Raises:
            OSError: when the kernel refuses.
        """
        self._write("cgroup.procs", str(pid))

    def limit_cpu(self, share: float | None) -> None:
        """`share` in processors.

        Raises:
            OSError: as `add`.
        """
        quota = None if share is None else max(1000, round(share * _PERIOD))
        if self.version == 2:
            self._write("cpu.max", f"{'max' if quota is None else quota} {_PERIOD}")
        else:
            self._write("cpu.cfs_quota_us", str(-1 if quota is None else quota))

    def weigh(self, shares: int | None) -> None:
        """Its part among others, when all want the processors.

        Raises:
            OSError: as `add`.
        """
        shares = DEFAULT_SHARES if shares is None else shares
        if self.version == 2:
            weight = round(shares * _DEFAULT_WEIGHT / DEFAULT_SHARES)
            self._write("cpu.weight", str(min(max(weight, 1), 10_000)))
        else:
            self._write("cpu.shares", str(shares))

    def promise_memory(self, size: int) -> None:
        """So much of what it has in memory stays there, whatever others want. The groups around it
        promise what is promised within them, as far as that is ours to say. Version 1 has no such
        promise.

        Raises:
            OSError: as `add`.
        """
        self._write("memory.min", str(size))
        ours = os.path.dirname(self.directory)
        total = 0
        for name in os.listdir(ours):
            # It may be no group, or going just now.
            with contextlib.suppress(OSError, ValueError):
                total += int(_read(os.path.join(ours, name, "memory.min")))
        Group(ours)._write("memory.min", str(total))

    def throttled(self) -> float | None:
        """Seconds for which its processes had to wait for their limit's sake."""
        with contextlib.suppress(OSError, ValueError):
            for line in _read(os.path.join(self.directory, "cpu.stat")).splitlines():
                name, _, value = line.partition(" ")
                if name == "throttled_usec":
                    return int(value) / 1e6
                if name == "throttled_time":
                    return int(value) / 1e9
        return None

    def remove(self) -> None:
        """Harmless while somebody is in it, and when it has gone."""
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)

    def leave(self) -> None:
        """This process goes back to where it was, and the group is removed."""
        if self._origin is not None:
            with contextlib.suppress(OSError):
                Group(self._origin).add(os.getpid())
        self.remove()

    def _write(self, name: str, text: str) -> None:
        # Not created where it is missing: a directory that is no group has no such files.
        file = os.open(os.path.join(self.directory, name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)


def create(name: str, pid: int, proc: str = "/proc/self") -> Group | None:
    """A group of this name with the process `pid` in it; None where the host lets us have none."""
    for parent, origin in _places(proc):
        for _ in range(_TRIES):
            with contextlib.suppress(OSError):
                return _make(parent, origin, name, pid)
    return None


def _make(parent: str, origin: str, name: str, pid: int) -> Group:
    """
    Raises:
        OSError: when this is no place for it, or somebody has swept it away meanwhile.
    """
    ours = os.path.join(parent, _OURS)
    # Beside a hierarchy's mount point lie directories of other people's.
    os.stat(os.path.join(parent, "cgroup.procs"))
    with contextlib.suppress(FileExistsError):
        os.mkdir(ours)
    group = Group(os.path.join(ours, name), origin)
    try:
        if Group(parent).version == 2:
            for directory in (parent, ours):
                Group(directory)._write("cgroup.subtree_control", "+cpu")
                # Not everybody who is given processors is given memory.
                with contextlib.suppress(OSError):
                    Group(directory)._write("cgroup.subtree_control", "+memory")
        sweep(ours)
        with contextlib.suppress(FileExistsError):
            os.mkdir(group.directory)
        # Refuses where there is no such file.
        group.limit_cpu(None)
        group.add(pid)
    except OSError:
        group.remove()
        Group(ours).remove()
        raise
    return group


def sweep(directory: str) -> None:
    """Removes the groups in there that nobody is in."""
    for name in os.listdir(directory):
        if os.path.isdir(os.path.join(directory, name)):
            Group(os.path.join(directory, name)).remove()


def _places(proc: str) -> Iterator[tuple[str, str]]:
    """Groups that ours may be made in, the best first, each with the one that we are in."""
    try:
        mounts = [line.split(" ") for line in _read(f"{proc}/mountinfo").splitlines()]
        paths = [line.split(":", 2) for line in _read(f"{proc}/cgroup").splitlines()]
    except OSError:
        return
    own = {controller: path for _, names, path in paths for controller in names.split(",")}
    for root, mount, kind, options in map(_mounted, mounts):
        if kind == "cgroup2" and "" in own:
            # A group with processes in it has no groups with controllers below, but for the root.
            origin = _below(mount, root, own[""])
            yield mount, origin
            yield os.path.dirname(origin), origin
        elif kind == "cgroup" and "cpu" in options and "cpu" in own:
            origin = _below(mount, root, own["cpu"])
            yield origin, origin


def _mounted(fields: list[str]) -> tuple[str, str, str, list[str]]:
    """Root, mount point, file system and its options of a line of mountinfo. Spec: proc(5)."""
    behind = fields[fields.index("-") + 1 :]
    return fields[3], fields[4], behind[0], behind[2].split(",")


def _below(mount: str, root: str, path: str) -> str:
    """Where the group `path` is seen, of a hierarchy whose `root` is mounted at `mount`."""
    inner = os.path.relpath(path, root)
    return mount if inner == "." or inner.startswith("..") else os.path.join(mount, inner)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
