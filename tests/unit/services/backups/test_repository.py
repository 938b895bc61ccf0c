"""What a repository keeps, what it gives away, and what it finds to be wrong."""

import os
import random
from pathlib import Path

import pytest
from tests.unit.services.backups import shelf
from tests.unit.services.backups.shelf import PASSPHRASE

from innkeeper.errors import InvalidInput
from innkeeper.services import backups
from innkeeper.services.backups import BackupDamaged, BackupNotFound, Rules, repository
from innkeeper.services.backups.packs import CHUNK


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.cheap(monkeypatch)


@pytest.fixture
def shelf_path(tmp_path: Path) -> Path:
    return shelf.make(tmp_path / "repository")


def size(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


DATA = random.Random(1).randbytes(3 * CHUNK + 17)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        bytes(CHUNK),
        bytes(5 * CHUNK) + b"end",
        DATA,
        b"begin" + bytes(9 * CHUNK) + DATA + bytes(2 * CHUNK),
    ],
    ids=len,
)
def test_files_come_back_as_they_were(shelf_path: Path, data: bytes) -> None:
    name = shelf.back_up(shelf_path, data)
    assert shelf.content_of(shelf_path, name) == data


def test_what_is_there_is_not_written_again(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA)
    before = size(shelf_path)
    # Another guest's, with a piece that is new.
    shelf.back_up(shelf_path, DATA + b"more", guest="db", created=2.0)
    assert size(shelf_path) - before < CHUNK
    shelf.back_up(shelf_path, DATA, guest="mail", created=3.0)
    found, _ = backups.listed(shelf_path, PASSPHRASE)
    assert found[-1].written == 0


def test_zeros_and_repetition_cost_nothing(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, (b"abc" * CHUNK + bytes(CHUNK)) * 20)
    assert size(shelf_path) < 20_000


def test_neither_content_nor_names_can_be_read(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, b"the secret of the guest" * 100, guest="secretguest")
    for file in shelf_path.rglob("*"):
        if file.is_file():
            assert b"secret of" not in file.read_bytes()
            assert b"secretguest" not in file.read_bytes()
            assert "secretguest" not in file.name


def test_chunks_are_called_differently_elsewhere(tmp_path: Path) -> None:
    names = []
    for place in ("one", "two"):
        shelf.back_up(shelf.make(tmp_path / place), DATA)
        with shelf.opened(tmp_path / place) as found:
            names.append(set(found.places))
    assert names[0].isdisjoint(names[1])


def test_only_the_passphrase_opens_it(shelf_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not the passphrase"):
        backups.listed(shelf_path, "another")
    backups.change_passphrase(shelf_path, PASSPHRASE, "another")
    assert backups.listed(shelf_path, "another") == ([], [])
    with pytest.raises(InvalidInput, match="not the passphrase"):
        backups.listed(shelf_path, PASSPHRASE)


def test_one_key_file_is_enough(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA)
    key = shelf_path / "key"
    content = key.read_bytes()
    for bad in (b"", content[:50], content.replace(b"1", b"2", 1), b"[]", b'{"key": 1, "sum": 2}'):
        key.write_bytes(bad)
        assert shelf.content_of(shelf_path, "web-1") == DATA
    (shelf_path / "key.copy").write_bytes(b"")
    with pytest.raises(BackupDamaged, match="key and its copy are damaged"):
        backups.listed(shelf_path, PASSPHRASE)


def test_a_directory_with_something_in_it_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InvalidInput, match="is not empty"):
        shelf.make(tmp_path)
    with pytest.raises(InvalidInput, match="there are no backups in"):
        backups.listed(tmp_path, PASSPHRASE)
    shelf.make(tmp_path / "one")
    with pytest.raises(InvalidInput, match=r"a repository of backups in .* already"):
        shelf.make(tmp_path / "one")
    with pytest.raises(InvalidInput, match="passphrase of a repository is not empty"):
        repository.initialise(tmp_path / "two", "")


@pytest.mark.parametrize("kind", ["packs", "backups"])
def test_each_altered_byte_is_found_and_its_file_named(shelf_path: Path, kind: str) -> None:
    shelf.back_up(shelf_path, b"text " * 1000 + os.urandom(100))
    (file,) = (each for each in (shelf_path / kind).iterdir() if len(each.name) == 32)
    content = file.read_bytes()
    for at in range(0, len(content), 1 if len(content) < 1000 else 7):
        file.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        found = backups.verify(shelf_path, PASSPHRASE)
        assert not found.is_whole, at
        assert any(file.name in sentence for sentence in found.damages), at
        if kind == "packs":
            assert [name for name, _ in found.broken] == ["web-1"]
    for length in (0, 5, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        assert any(
            file.name in sentence for sentence in backups.verify(shelf_path, PASSPHRASE).damages
        )
    file.write_bytes(content)
    assert backups.verify(shelf_path, PASSPHRASE).is_whole


def test_a_pack_that_is_gone_is_missed_by_those_that_need_it(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA)
    shelf.back_up(shelf_path, b"other" * 1000, guest="db", created=2.0)
    oldest = min((shelf_path / "packs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    oldest.unlink()
    found = backups.verify(shelf_path, PASSPHRASE)
    assert found.broken == (("web-1", ("disk0.0.raw",)),)
    with pytest.raises(BackupDamaged, match="is missing"):
        shelf.content_of(shelf_path, "web-1")
    assert shelf.content_of(shelf_path, "db-2") == b"other" * 1000
    # What is missing is written again by the next that has it.
    shelf.back_up(shelf_path, DATA, created=3.0)
    assert backups.verify(shelf_path, PASSPHRASE).is_whole


def test_files_do_not_stand_for_each_other(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, b"one")
    shelf.back_up(shelf_path, b"two", created=2.0)
    for kind in ("packs", "backups"):
        first, second = (path for path in (shelf_path / kind).iterdir() if len(path.name) == 32)
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        found = backups.verify(shelf_path, PASSPHRASE)
        assert any(first.name in sentence for sentence in found.damages)
        first.write_bytes(content)


def test_prune_frees_what_nobody_needs(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA)
    empty = size(shelf_path)
    shelf.back_up(shelf_path, DATA[:CHUNK] + os.urandom(10 * CHUNK), created=2.0)
    shelf.back_up(shelf_path, DATA[:CHUNK], created=3.0)
    tried = backups.prune(shelf_path, PASSPHRASE, Rules(last=1), try_only=True)
    assert (tried.removed, tried.kept, tried.freed) == (("web-1", "web-2"), ("web-3",), 0)
    assert len(backups.listed(shelf_path, PASSPHRASE)[0]) == 3
    done = backups.prune(shelf_path, PASSPHRASE, Rules(last=1))
    assert done.removed == ("web-1", "web-2")
    assert size(shelf_path) < empty / 2
    assert shelf.content_of(shelf_path, "web-3") == DATA[:CHUNK]
    backups.remove(shelf_path, PASSPHRASE, ["web-3"])
    assert list((shelf_path / "packs").iterdir()) == []


def test_nothing_is_freed_while_something_cannot_be_read(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA)
    (damaged,) = (path for path in (shelf_path / "backups").iterdir())
    shelf.back_up(shelf_path, b"new", created=2.0)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    with pytest.raises(BackupDamaged, match=damaged.name):
        backups.prune(shelf_path, PASSPHRASE, Rules(last=1))
    damaged.write_bytes(content)
    assert backups.verify(shelf_path, PASSPHRASE).is_whole
    damaged.write_bytes(content[:-1])
    backups.remove(shelf_path, PASSPHRASE, [damaged.name])
    assert backups.verify(shelf_path, PASSPHRASE).is_whole
    with pytest.raises(BackupNotFound, match="no backup 'web'"):
        backups.remove(shelf_path, PASSPHRASE, ["web"])


def test_who_removes_waits_for_who_reads(shelf_path: Path) -> None:
    told: list[str] = []

    class Stop(Exception):
        pass

    def waiting() -> None:
        told.append("waits")
        raise Stop

    with shelf.opened(shelf_path):
        # Others may read and add meanwhile.
        shelf.back_up(shelf_path, DATA)
        with pytest.raises(Stop):
            backups.prune(shelf_path, PASSPHRASE, Rules(last=1), waiting=waiting)
    assert told == ["waits"]
    with shelf.opened(shelf_path, alone=True), pytest.raises(Stop):
        backups.listed(shelf_path, PASSPHRASE, waiting=waiting)


def test_what_is_repaired_is_whole_again_once_a_guest_has_it(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA + b"good" * 1000)
    (pack,) = (shelf_path / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[100] ^= 1
    pack.write_bytes(content)
    # What is damaged is not written again by itself: it seems to be there.
    shelf.back_up(shelf_path, DATA, created=2.0)
    assert [name for name, _ in backups.verify(shelf_path, PASSPHRASE).broken] == ["web-1", "web-2"]
    done = backups.repair(shelf_path, PASSPHRASE)
    assert done.set_aside == (pack.with_name(f"damaged-{pack.name}"),)
    assert [name for name, _ in done.broken] == ["web-1", "web-2"]
    shelf.back_up(shelf_path, DATA[:CHUNK], created=3.0)
    assert backups.verify(shelf_path, PASSPHRASE).is_whole
    assert shelf.content_of(shelf_path, "web-1") == DATA + b"good" * 1000
    assert backups.repair(shelf_path, PASSPHRASE).set_aside == ()


def test_a_backup_that_cannot_be_read_is_set_aside(shelf_path: Path) -> None:
    shelf.back_up(shelf_path, DATA)
    shelf.back_up(shelf_path, b"new", created=2.0)
    with shelf.opened(shelf_path) as found:
        damaged = shelf_path / "backups" / found.find_exactly("web-1").id
    damaged.write_bytes(b"")
    done = backups.repair(shelf_path, PASSPHRASE)
    assert [path.name for path in done.set_aside] == [f"damaged-{damaged.name}"]
    assert backups.verify(shelf_path, PASSPHRASE).is_whole
    backups.prune(shelf_path, PASSPHRASE, Rules(last=1))
