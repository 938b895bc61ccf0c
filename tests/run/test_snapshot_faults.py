"""Snapshots when the host's disk fails, at each call that could: the old or the new, never
neither.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import tiny

from innkeeper.errors import InnkeeperError
from innkeeper.machine import DiskSpec
from innkeeper.services import beginnings, lifecycle, snapshots
from innkeeper.services.request import GuestRequest
from innkeeper.vm import inside
from innkeeper.vm.detached.registry import registry

# What a full or broken disk makes fail.
CALLS = ("open", "mkdir", "fsync", "link", "rename", "unlink", "pwrite", "ftruncate", "pread")


@dataclass
class Faults:
    """The `at`-th of the calls fails, and with `for_good` all that come then."""

    at: int = 0
    for_good: bool = False
    seen: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(getattr(os, name)))
        monkeypatch.setattr(inside, "exchange", self._failing(inside.exchange))

    def begin(self, at: int, *, for_good: bool) -> None:
        self.at, self.for_good, self.seen = at, for_good, 0

    def end(self) -> bool:
        """Whether one has failed."""
        failed = self.at and self.seen >= self.at
        self.at = 0
        return bool(failed)

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it is
            if self.at:
                self.seen += 1
                if self.seen == self.at or (self.for_good and self.seen > self.at):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **named)

        return call


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


@pytest.mark.parametrize("for_good", [False, True])
def test_a_snapshot_is_there_whole_or_not_at_all(
    disk: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    faults = Faults()
    faults.install(monkeypatch)
    at, failed = 1, True
    while failed:
        faults.begin(at, for_good=for_good)
        # Whatever else it raises fails the test.
        with contextlib.suppress(InnkeeperError):
            snapshots.create("box", "new")
        failed = faults.end()
        found = [snapshot.name for snapshot in snapshots.listed("box")]
        assert found in (["old"], ["old", "new"])
        for name in found:
            snapshots.verify("box", name)
        if "new" in found:
            snapshots.remove("box", "new")
        at += 1
    assert at > 10


@pytest.mark.parametrize("for_good", [False, True])
def test_a_guest_is_what_it_was_or_what_it_is_to_be(
    disk: Path, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    disk.write_bytes(b"new" + bytes(65536))
    snapshots.create("box", "new")
    faults = Faults()
    faults.install(monkeypatch)
    at, failed = 1, True
    while failed:
        snapshots.restore("box", "old")
        assert content() == b"old"
        faults.begin(at, for_good=for_good)
        with contextlib.suppress(InnkeeperError):
            snapshots.restore("box", "new")
        failed = faults.end()
        assert content() in (b"old", b"new")
        at += 1
    assert content() == b"new"
    assert at > 10
