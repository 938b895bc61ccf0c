"""Files by descriptors of their directories."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.vm import inside


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_what_is_written_is_read(directory: int, tmp_path: Path) -> None:
    inside.write(directory, "a", b"words", lasting=True)
    assert inside.read(directory, "a", 5) == b"words"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        inside.write(directory, "a", b"others")
    with pytest.raises(inside.NoFile):
        inside.read(directory, "a", 4)


def test_links_pipes_and_directories_are_no_files(directory: int, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("link", "pipe", "directory"):
        with pytest.raises(OSError, match=name):
            inside.read(directory, name, 100)
    with pytest.raises(NotADirectoryError):
        inside.open_directory(directory, "link")


def test_names_are_exchanged(directory: int, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").write_text("words")
    inside.exchange(directory, "one", "other")
    assert (tmp_path / "one").read_text() == "words"
    assert (tmp_path / "other").is_dir()
    with pytest.raises(FileNotFoundError):
        inside.exchange(directory, "one", "none")
