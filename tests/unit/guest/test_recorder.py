"""A guest that cannot be saved goes on, and nothing of the attempt is left."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from innkeeper.guest import recorder
from innkeeper.guest.recorder import Layers, Recorder
from innkeeper.machine.spec import DiskSpec
from innkeeper.vm.checkpoint import Checkpoint
from innkeeper.vm.qmp import records
from innkeeper.vm.qmp.session import CommandError

CHECKPOINT = {"disk": 0, "name": "backup"}


class FakeRecording:
    state = b"state"

    def __init__(self) -> None:
        self.finished = False

    def finish(self) -> None:
        self.finished = True


class FakeGuest:
    """With one disk, which says of itself what a test wants."""

    def __init__(self, directory: Path, told: Callable[[], bytes | None]) -> None:
        (directory / "run").mkdir()
        self.directory = directory
        self.fd = os.open(directory, os.O_RDONLY)
        self.home = SimpleNamespace(directory=self.fd, name="web", remove=self._remove)
        self.hub: object = None
        self.paused = False
        self.resumed = 0
        disk = DiskSpec(path=directory / "disk.raw")
        self.spec = SimpleNamespace(disks=(disk,))
        self.plugs = SimpleNamespace(unknown=set(), sources={})
        self.recording = FakeRecording()
        self._told = told

    def _remove(self, name: str) -> None:
        (self.directory / name).unlink(missing_ok=True)

    def require_here(self) -> None: ...

    def control(self) -> "FakeGuest":
        return self

    def save(self, *_: object, **__: object) -> FakeRecording:
        return self.recording

    def checkpoint(self, *_: object) -> bytes | None:
        return self._told()

    def resume(self) -> None:
        self.resumed += 1


def full() -> bytes:
    raise OSError("no space left")


def broken() -> bytes:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("told", "error"),
    [(lambda: b"short", CommandError), (full, CommandError), (broken, ZeroDivisionError)],
)
def test_nothing_is_left_of_what_failed(
    tmp_path: Path, told: Callable[[], bytes], error: type[Exception]
) -> None:
    guest = FakeGuest(tmp_path, told)
    made = Recorder(cast("Any", guest), Layers())
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(error):
        made.begin("s", "", keep=False, checkpoints=[Checkpoint(disk=0, name="backup")])
    assert guest.recording.finished
    assert guest.resumed == 1
    assert list((tmp_path / "run").iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    # It can be tried again.
    assert made.status() == {"status": "none"}
    os.close(guest.fd)


def test_a_paused_guest_that_takes_nothing_is_to_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_SETTLE", 0)
    guest = FakeGuest(tmp_path, lambda: None)
    guest.hub = SimpleNamespace(settle=lambda: 1)
    for paused, words in ((False, "does not take"), (True, "is paused.*: inn resume web")):
        guest.paused = paused
        with pytest.raises(CommandError, match=words):
            Recorder(cast("Any", guest), Layers()).begin("s", "", keep=False)
    os.close(guest.fd)


@pytest.mark.parametrize("unit", [0, -1, 1 << 31, "64k"])
def test_pieces_of_no_size_are_refused(unit: object) -> None:
    with pytest.raises(CommandError, match="makes no sense"):
        records._checkpoints([{**CHECKPOINT, "unit": unit}])
    assert records._checkpoints([{**CHECKPOINT, "unit": 4096}])[0].unit == 4096
