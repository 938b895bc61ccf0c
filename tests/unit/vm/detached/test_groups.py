"""Control groups, in directories that look like a host's."""

import os
from pathlib import Path

import pytest

from innkeeper.vm.detached import groups
from innkeeper.vm.detached.groups import Group


class Host:
    """`proc` and a tree of control groups. What the kernel would do with a directory is played."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc = directory / "proc"
        self.proc.mkdir()
        self.root = directory / "cgroup"
        self.root.mkdir()
        self._patch = monkeypatch

    def mounted(self, kind: str, options: str, own: str) -> None:
        mount = f"31 23 0:28 / {self.root} rw,relatime shared:9 - {kind} {kind} {options}\n"
        (self.proc / "mountinfo").write_text("22 1 0:5 / / rw - ext4 /dev/vda rw\n" + mount)
        (self.proc / "cgroup").write_text(own)

    def populates(self, *files: str) -> None:
        """Each new group has these files; and goes with them, when it is removed."""
        mkdir, rmdir = os.mkdir, os.rmdir

        def make(path: str, mode: int = 0o777) -> None:
            mkdir(path, mode)
            for name in files:
                Path(path, name).touch()

        def remove(path: str) -> None:
            if Path(path, "cgroup.procs").read_text():
                raise OSError("busy")
            for name in files:
                Path(path, name).unlink()
            rmdir(path)

        self._patch.setattr(os, "mkdir", make)
        self._patch.setattr(os, "rmdir", remove)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def read(group: Group, name: str) -> str:
    return Path(group.directory, name).read_text()


def test_version_2(host: Host) -> None:
    host.mounted("cgroup2", "rw,nsdelegate", "0::/user.slice/session-1.scope\n")
    host.populates("cgroup.procs", "cgroup.controllers", "cpu.max", "cpu.weight", "memory.min")
    for name in ("cgroup.controllers", "cgroup.subtree_control"):
        (host.root / name).touch()
    (host.root / "innkeeper").mkdir()
    (host.root / "innkeeper" / "cgroup.controllers").touch()
    (host.root / "innkeeper" / "cgroup.subtree_control").touch()
    (host.root / "innkeeper" / "cgroup.procs").touch()
    (host.root / "innkeeper" / "memory.min").touch()
    (host.root / "cgroup.procs").touch()
    group = groups.create("a", 77, str(host.proc))
    assert group is not None
    assert group.directory == f"{host.root}/innkeeper/a"
    assert (group.version, read(group, "cgroup.procs")) == (2, "77")
    for place in (host.root, host.root / "innkeeper"):
        # What was there is written over, where the kernel adds.
        assert (place / "cgroup.subtree_control").read_text() == "+memory"
    group.limit_cpu(1.5)
    group.weigh(3072)
    assert (read(group, "cpu.max"), read(group, "cpu.weight")) == ("150000 100000", "300")
    group.limit_cpu(None)
    group.weigh(None)
    assert read(group, "cpu.max").startswith("max 100000")
    assert read(group, "cpu.weight").startswith("100")
    group.promise_memory(512 << 20)
    other = groups.create("b", 78, str(host.proc))
    assert other is not None
    other.promise_memory(1 << 30)
    assert (read(group, "memory.min"), read(other, "memory.min")) == (
        str(512 << 20),
        str(1 << 30),
    )
    # Without that, the group around both would promise nothing.
    assert (host.root / "innkeeper" / "memory.min").read_text() == str((512 << 20) + (1 << 30))


def test_version_1(host: Host) -> None:
    host.mounted("cgroup", "rw,cpu,cpuacct", "1:cpu,cpuacct:/box\n0::/\n")
    (host.root / "box").mkdir()
    (host.root / "box" / "cgroup.procs").touch()
    host.populates("cgroup.procs", "cpu.cfs_quota_us", "cpu.shares")
    group = groups.create("a", 77, str(host.proc))
    assert group is not None
    assert group.directory == f"{host.root}/box/innkeeper/a"
    assert (group.version, read(group, "cgroup.procs")) == (1, "77")
    group.limit_cpu(0.5)
    group.weigh(512)
    assert (read(group, "cpu.cfs_quota_us"), read(group, "cpu.shares")) == ("50000", "512")
    # Nobody is in it any more: whoever makes the next one takes it away.
    Path(group.directory, "cgroup.procs").write_text("")
    assert groups.create("b", 78, str(host.proc)) is not None
    assert not Path(group.directory).exists()
    # There, somebody is.
    assert groups.create("c", 79, str(host.proc)) is not None
    assert (host.root / "box" / "innkeeper" / "b").exists()


def test_a_host_that_lets_us_have_none_is_left_as_it_was(host: Host) -> None:
    host.mounted("cgroup", "rw,cpu", "1:cpu:/\n")
    assert groups.create("a", 77, str(host.proc)) is None
    assert list(host.root.iterdir()) == []
    host.mounted("cgroup", "rw,memory", "1:memory:/\n")
    assert groups.create("a", 77, str(host.proc)) is None
    (host.proc / "mountinfo").unlink()
    assert groups.create("a", 77, str(host.proc)) is None


def test_directories_that_are_no_groups_are_left_alone(host: Host) -> None:
    host.mounted("cgroup2", "rw", "0::/\n")
    (host.root.parent / "innkeeper" / "empty").mkdir(parents=True)
    assert groups.create("a", 77, str(host.proc)) is None
    assert (host.root.parent / "innkeeper" / "empty").is_dir()


def test_how_long_it_was_held_back(tmp_path: Path) -> None:
    group = Group(str(tmp_path))
    assert group.throttled() is None
    (tmp_path / "cpu.stat").write_text("nr_periods 3\nthrottled_time 2500000000\n")
    assert group.throttled() == 2.5
    (tmp_path / "cpu.stat").write_text("usage_usec 9\nthrottled_usec 1500000\n")
    assert group.throttled() == 1.5
