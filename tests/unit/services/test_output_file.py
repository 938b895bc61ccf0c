"""Files that somebody has named: replaced where they are files, or else written to."""

import os
import stat
import threading
from pathlib import Path

import pytest

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.services import output_file


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    output_file.write(path, b"one")
    assert path.read_bytes() == b"one"
    path.chmod(0o640)
    before = path.stat().st_ino
    output_file.write(path, b"two")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o640)
    assert path.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to("target")
    if there:
        target.write_bytes(b"old")
    output_file.write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert output_file.place_of(link) == target


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    output_file.write(pipe, b"through it")
    reader.join()
    assert heard == [b"through it"]
    assert pipe.is_fifo()
    with pytest.raises(InvalidInput, match="no file"):
        output_file.place_of(pipe)


def test_an_open_file_without_a_name_is_written_to(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("w+b") as file:
        (tmp_path / "gone").unlink()
        output_file.write(Path(f"/proc/self/fd/{file.fileno()}"), b"kept")
        assert file.read() == b"kept"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["/", ".", "", "nowhere/file"])
def test_what_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HostFailure, match=r"^cannot write "):
        output_file.write(Path(name), b"content")
