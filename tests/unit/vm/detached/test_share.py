"""A guest's share, kept by groups that may refuse it."""

import os
from pathlib import Path

import pytest

from innkeeper.vm.detached import share
from innkeeper.vm.detached.groups import Group


class Refusing(Group):
    """As one of version 1 inside of a group that has less."""

    def limit_cpu(self, share: float | None) -> None:
        if share is not None and share > 1:
            raise OSError("more than there is around it")
        super().limit_cpu(share)


def test_a_limit_that_a_group_refuses_is_not_its_last_and_the_group_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cpu.cfs_quota_us", "cpu.shares"):
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "setpriority", lambda *_: pytest.fail("the group weighs it"))
    group = Refusing(str(tmp_path))
    told = share.settle("", os.getpid(), 0.5, 512, (), group)
    assert (told["group"], told["limits_cpu"]) == (str(tmp_path), True)
    told = share.settle("", os.getpid(), 3.0, 512, (), group)
    assert (told["group"], told["limits_cpu"]) == (str(tmp_path), False)
    assert (tmp_path / "cpu.cfs_quota_us").read_text().startswith("-1")


def may_be_spared() -> bool:
    """Has this process CAP_SYS_RESOURCE? Spec: capabilities(7)."""
    status = Path("/proc/self/status").read_text()
    (effective,) = (line for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) & 1 << 24)


def test_what_is_promised_is_told_to_the_kernel_where_it_listens(tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    document: dict[str, object] = {"group": str(tmp_path / "guest")}
    told = share.promise(document, "", os.getpid(), 1 << 20, 2 << 20)
    assert told["promises_memory"] is False
    if may_be_spared():
        assert Path("/proc/self/oom_score_adj").read_text() == "-250\n"
    for place in (tmp_path, tmp_path / "guest"):
        (place / "memory.min").touch()
    told = share.promise(document, "", os.getpid(), 1 << 20, 2 << 20)
    assert told["promises_memory"] is True
    assert (tmp_path / "guest" / "memory.min").read_text() == str(1 << 20)
    assert share.promise(document, "", os.getpid(), 0, 2 << 20)["promises_memory"] is False
    assert Path("/proc/self/oom_score_adj").read_text() == "0\n"


def test_without_its_group_a_process_sees_to_its_limit(tmp_path: Path) -> None:
    told = share.settle("", os.getpid(), 0.5, None, (), Group(str(tmp_path / "gone")))
    assert told["limits_cpu"] is False
