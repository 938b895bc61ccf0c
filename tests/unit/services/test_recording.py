"""What is collected of a guest that was saved."""

import os
from pathlib import Path

import pytest

from innkeeper.services import recording
from innkeeper.vm import inside
from innkeeper.vm.detached import savings


@pytest.fixture
def places(tmp_path: Path) -> tuple[int, int]:
    """Where a guest's process writes, and where what it wrote is kept."""
    for name in ("own", "kept"):
        (tmp_path / name).mkdir()
    own, kept = (os.open(tmp_path / name, inside.DIRECTORY) for name in ("own", "kept"))
    return own, kept


def test_code_is_kept_where_its_maker_cannot_change_it(
    places: tuple[int, int], tmp_path: Path
) -> None:
    own, kept = places
    theirs = tmp_path / "own" / "recording.code"
    with theirs.open("w+b") as file:
        file.write(b"code" * 5000)
        file.flush()
        recording._keep_code(own, "recording.code", kept)
        file.truncate(1)
    assert (tmp_path / "kept" / savings.CODE).read_bytes() == b"code" * 5000
    assert not theirs.exists()


@pytest.mark.parametrize("kind", ["long", "link", "full"])
def test_without_it_there_is_none(
    kind: str, places: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, kept = places
    theirs = tmp_path / "own" / "recording.code"
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
    recording._keep_code(own, "recording.code", kept)
    assert list((tmp_path / "kept").iterdir()) == []
    assert not theirs.is_symlink()
    assert not theirs.exists()
