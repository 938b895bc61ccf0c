"""What an engine made of a guest's code is run only as it was left."""

import os
import stat
from pathlib import Path

import pytest

from innkeeper.vm import inside, kept_code
from innkeeper.vm.detached import savings

CODE = b"code" * 5000


class Places:
    """Where a guest's process writes, where what it wrote is kept, and the user's directory."""

    def __init__(self, directory: Path) -> None:
        self.theirs, self.kept, self.home = (directory / it for it in ("own", "kept", "home"))
        for place in (self.theirs, self.kept, self.home):
            place.mkdir()
        self.own, self.into = (os.open(it, inside.DIRECTORY) for it in (self.theirs, self.kept))

    def keep(self, code: bytes = CODE) -> None:
        (self.theirs / "recording.code").write_bytes(code)
        kept_code.keep(self.own, "recording.code", self.into)

    def opened(self) -> bytes | None:
        code = kept_code.opened(self.into)
        if code is None:
            return None
        with os.fdopen(code, "rb") as file:
            return file.read()


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    found = Places(tmp_path)
    monkeypatch.setenv("INNKEEPER_HOME", os.fspath(found.home))
    return found


def test_code_is_kept_where_its_maker_cannot_change_it(places: Places) -> None:
    theirs = places.theirs / "recording.code"
    with theirs.open("w+b") as file:
        file.write(CODE)
        file.flush()
        kept_code.keep(places.own, "recording.code", places.into)
        file.truncate(1)
    assert places.opened() == CODE
    assert not theirs.exists()


def test_only_this_user_has_the_key(places: Places) -> None:
    places.keep()
    key = places.home / "code.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert list(places.home.iterdir()) == [key]
    # The next is sealed with the same.
    before = key.read_bytes()
    for name in (savings.CODE, savings.SEAL):
        (places.kept / name).unlink()
    places.keep(b"other")
    assert (key.read_bytes(), places.opened()) == (before, b"other")


@pytest.mark.parametrize("damage", ["code", "longer", "seal", "no seal", "key", "short key"])
def test_what_was_changed_is_nothing(damage: str, places: Places) -> None:
    places.keep()
    code, seal = places.kept / savings.CODE, places.kept / savings.SEAL
    key = places.home / "code.key"
    match damage:
        case "code":
            code.write_bytes(b"C" + CODE[1:])
        case "longer":
            code.write_bytes(CODE + b"\0")
        case "seal":
            seal.write_bytes(bytes(32))
        case "no seal":
            seal.unlink()
        case "key":
            key.write_bytes(bytes(32))
        case _:
            key.write_bytes(key.read_bytes()[:-1])
    assert places.opened() is None


@pytest.mark.parametrize("missing", [savings.CODE, savings.SEAL])
def test_what_is_not_opened_is_not_held_open(missing: str, places: Places) -> None:
    places.keep()
    (places.kept / missing).unlink()
    before = sorted(Path("/proc/self/fd").iterdir())
    assert places.opened() is None
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_nobody_brings_a_seal_of_his_own(places: Places) -> None:
    (places.kept / savings.SEAL).write_bytes(bytes(32))
    places.keep()
    assert places.opened() is None


@pytest.mark.parametrize("kind", ["long", "link", "full"])
def test_where_it_cannot_be_kept_there_is_none(
    kind: str, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = places.theirs / "recording.code"
    if kind == "link":
        theirs.symlink_to("/etc/passwd")
    else:
        theirs.write_bytes(b"code")
    if kind == "long":
        os.truncate(theirs, (1 << 30) + 1)
    if kind == "full":

        def refuse(*_: object) -> int:
            raise OSError(28, "no room")

        monkeypatch.setattr(os, "copy_file_range", refuse)
    kept_code.keep(places.own, "recording.code", places.into)
    assert list(places.kept.iterdir()) == []
    assert not theirs.is_symlink()
    assert not theirs.exists()
