"""Copies of files with holes."""

import os
from pathlib import Path

from innkeeper.vm import sparse


def copied(tmp_path: Path, source: Path) -> Path:
    target = tmp_path / "target"
    with source.open("rb") as ours, target.open("w+b") as theirs:
        sparse.copy(ours.fileno(), theirs.fileno())
    return target


def test_content_and_size_are_the_same_and_holes_stay_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(8 << 20)
        file.write(b"middle")
        file.truncate(64 << 20)
    target = copied(tmp_path, source)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 1 << 20


def test_empty_files_and_those_that_are_one_hole(tmp_path: Path) -> None:
    for size in (0, 1 << 20):
        source = tmp_path / "source"
        with source.open("wb") as file:
            os.truncate(file.fileno(), size)
        target = copied(tmp_path, source)
        assert target.stat().st_size == size
        assert target.stat().st_blocks == 0
