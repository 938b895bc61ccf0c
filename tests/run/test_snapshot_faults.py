"""Snapshots when the host's disk fails, at each call that could: the old or the new, never
neither.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny
from tests.run.faults import Faults, left

from innkeeper.errors import InnkeeperError
from innkeeper.machine import DiskSpec
from innkeeper.services import beginnings, lifecycle, snapshots
from innkeeper.services.request import GuestRequest
from innkeeper.vm.detached.registry import registry


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a guest `box` that was never started, with a snapshot `old`."""
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path / "home"))
    path = tmp_path / "data.raw"
    path.write_bytes(b"old" + bytes(65536))
    request = GuestRequest(
        kernel=tiny.kernel(tmp_path / "halt", tiny.HALT),
        disks=(DiskSpec(path=path),),
        network=None,
        name="box",
    )
    lifecycle.create(request, lambda *_: None)
    snapshots.create("box", "old")
    yield path
    lifecycle.remove("box")


def content() -> bytes:
    """What the guest's disk begins with, as its next run would have it."""
    with registry().open("box") as home:
        begun = beginnings.begun(home)
        if begun is None:
            return b""
        ((_, (name,)),) = begun.disks
        return (Path(home.path) / "saved" / name).read_bytes()[:3]


def whole() -> list[str]:
    """The snapshots, each of which is what it was."""
    found = [snapshot.name for snapshot in snapshots.listed("box")]
    for name in found:
        snapshots.verify("box", name)
    return found


def unfinished() -> list[str]:
    with registry().open("box") as home:
        return left(Path(home.path) / "snapshots", ".")


def test_a_snapshot_is_there_whole_or_not_at_all(disk: Path, faults: Faults) -> None:
    # Whatever else it raises fails the test.
    for _ in faults.at_every_call(10, lambda: snapshots.create("box", "new"), InnkeeperError):
        found = whole()
        assert found in (["old"], ["old", "new"])
        if "new" in found:
            snapshots.remove("box", "new")
            assert unfinished() == []


def test_a_guest_is_what_it_was_or_what_it_is_to_be(disk: Path, faults: Faults) -> None:
    disk.write_bytes(b"new" + bytes(65536))
    snapshots.create("box", "new")
    snapshots.restore("box", "old")
    for _ in faults.at_every_call(10, lambda: snapshots.restore("box", "new"), InnkeeperError):
        assert content() in (b"old", b"new")
        now = content()
        snapshots.restore("box", "old")
        assert content() == b"old"
    assert now == b"new"


def test_a_snapshot_is_gone_or_whole(disk: Path, faults: Faults) -> None:
    snapshots.create("box", "new")
    for _ in faults.at_every_call(3, lambda: snapshots.remove("box", "new"), InnkeeperError):
        found = whole()
        assert found in (["old"], ["old", "new"])
        if "new" not in found:
            snapshots.create("box", "new")
            assert unfinished() == []
