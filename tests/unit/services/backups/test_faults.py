"""Whatever fails while a repository is written to: what was there stays, and the next goes on."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.services.backups import shelf
from tests.unit.services.backups.shelf import FATES, PASSPHRASE, Killed

from innkeeper.errors import HostFailure
from innkeeper.services import backups
from innkeeper.services.backups import Rules, packs
from innkeeper.services.backups.writing import UNFINISHED

# Beyond any count of calls that touch the disk in what is done here.
ENOUGH = 2000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.cheap(monkeypatch)
    # Several packs in each backup.
    monkeypatch.setattr(packs, "_FULL", 200_000)


def disk(seed: int) -> bytes:
    numbers = random.Random(seed)
    return numbers.randbytes(150_000) + bytes(400_000) + numbers.randbytes(300_000)


OLD, SHARED = disk(1), disk(1)[:300_000] + disk(2)[300_000:]


def new_backup(path: Path) -> None:
    shelf.back_up(path, SHARED, created=3.0)


def pruned(path: Path) -> None:
    backups.prune(path, PASSPHRASE, Rules(last=1))


def new_passphrase(path: Path) -> None:
    # And back, so that whoever looks afterwards needs only one.
    backups.change_passphrase(path, PASSPHRASE, PASSPHRASE)


def unfinished(path: Path) -> list[Path]:
    return list(path.rglob(f"{UNFINISHED}*"))


@pytest.mark.parametrize("number", FATES.values(), ids=FATES)
@pytest.mark.parametrize("work", [new_backup, pruned, new_passphrase])
def test_the_old_or_the_new(
    work: Callable[[Path], None],
    number: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = shelf.make(tmp_path / "before")
    shelf.back_up(before, OLD, created=1.0)
    shelf.back_up(before, disk(3), created=1.5)
    shelf.back_up(before, SHARED[:500_000], created=2.0)
    contents = {"web-1": OLD, "web-1.5": disk(3), "web-2": SHARED[:500_000], "web-3": SHARED}
    for at in range(1, ENOUGH):
        path = tmp_path / "repository"
        shutil.copytree(before, path)
        with shelf.fate(monkeypatch, at, number) as fate:
            try:
                work(path)
            except (HostFailure, Killed):
                assert fate.count >= at
            done = fate.count < at
        found, damaged = backups.listed(path, PASSPHRASE)
        names = {backup.name for backup in found}
        assert damaged == []
        # Prune takes all but the newest; nothing else takes any.
        assert names >= ({"web-2"} if work is pruned else {"web-1", "web-1.5", "web-2"})
        assert backups.verify(path, PASSPHRASE).is_whole
        assert all(shelf.content_of(path, name) == contents[name] for name in names)
        assert unfinished(path) == []
        # The next one finds nothing in its way.
        if "web-3" not in names:
            new_backup(path)
        pruned(path)
        assert backups.verify(path, PASSPHRASE).is_whole
        assert shelf.content_of(path, "web-3") == SHARED
        shutil.rmtree(path)
        if done:
            assert at > 5
            return
    pytest.fail("there was no end of it")


@pytest.mark.parametrize("number", FATES.values(), ids=FATES)
def test_a_repair_loses_nothing_that_is_whole(
    number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shelf.make(tmp_path / "before")
    shelf.back_up(before, OLD, created=1.0)
    first = min((before / "packs").iterdir(), key=lambda pack: pack.stat().st_mtime_ns)
    content = bytearray(first.read_bytes())
    content[30] ^= 1
    first.write_bytes(content)
    for at in range(1, ENOUGH):
        path = tmp_path / "repository"
        shutil.copytree(before, path)
        with shelf.fate(monkeypatch, at, number) as fate:
            try:
                backups.repair(path, PASSPHRASE)
            except (HostFailure, Killed):
                assert fate.count >= at
            done = fate.count < at
        backups.repair(path, PASSPHRASE)
        # All but the piece that was damaged is there: this writes that one alone.
        shelf.back_up(path, OLD, created=2.0)
        assert backups.verify(path, PASSPHRASE).is_whole
        assert shelf.content_of(path, "web-1") == OLD
        assert backups.listed(path, PASSPHRASE)[0][1].written < 200_000
        shutil.rmtree(path)
        if done:
            assert at > 5
            return
    pytest.fail("there was no end of it")


@pytest.mark.parametrize("number", FATES.values(), ids=FATES)
def test_a_repository_that_was_begun_can_be_begun_again(
    number: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(1, ENOUGH):
        path = tmp_path / f"repository-{at}"
        with shelf.fate(monkeypatch, at, number) as fate:
            try:
                shelf.make(path)
            except (HostFailure, Killed):
                pass
            else:
                if fate.count < at:
                    return
        if not (path / "key").exists():
            shelf.make(path)
        shelf.back_up(path, OLD)
        assert backups.verify(path, PASSPHRASE).is_whole
    pytest.fail("there was no end of it")


def test_what_was_written_before_the_end_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shelf.make(tmp_path / "repository")
    data = random.Random(7).randbytes(2_000_000)
    with shelf.fate(monkeypatch, 60, None), pytest.raises(Killed):
        shelf.back_up(path, data)
    assert backups.listed(path, PASSPHRASE) == ([], [])
    there = len(list((path / "packs").glob("[0-9a-f]*")))
    assert there > 0
    shelf.back_up(path, data)
    found, _ = backups.listed(path, PASSPHRASE)
    assert found[0].written < 2_000_000 - 190_000 * there
    assert shelf.content_of(path, "web-1") == data
