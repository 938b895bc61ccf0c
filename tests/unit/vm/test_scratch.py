"""What a guest's process writes for its own length: gone with it, or with the next."""

import os
from pathlib import Path

import pytest

from innkeeper.errors import HostFailure
from innkeeper.vm.scratch import place


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_a_directory_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with place() as own:
        assert own.parent == tmp_path
        (own / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_owner_left_goes_with_the_next_and_no_others(tmp_path: Path) -> None:
    if (pid := os.fork()) == 0:
        with place() as own:
            (own / "file").touch()
            os._exit(0)
    os.waitpid(pid, 0)
    (left,) = tmp_path.iterdir()
    (tmp_path / "innkeeper-scratch-file").touch()
    with place() as first, place() as second:
        assert not left.exists()
        assert first.exists()
        assert second.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["innkeeper-scratch-file"]


def test_where_nothing_can_be_written_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(HostFailure, match=r"cannot make a directory in .*/none"), place():
        pass
