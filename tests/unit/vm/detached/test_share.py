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


def test_without_its_group_a_process_sees_to_its_limit(tmp_path: Path) -> None:
    told = share.settle("", os.getpid(), 0.5, None, (), Group(str(tmp_path / "gone")))
    assert told["limits_cpu"] is False
