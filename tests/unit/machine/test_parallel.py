import os
from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine import ParallelSpec, parse_parallel, prepare_parallel, without_paper


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("none", None),
        ("a.txt", ParallelSpec(file=Path("a.txt"), limit=64 << 20)),
        ("a,,b.txt,limit=4K", ParallelSpec(file=Path("a,b.txt"), limit=4096)),
    ],
)
def test_ports_as_they_are_written(text: str, spec: ParallelSpec | None) -> None:
    assert parse_parallel(text) == spec


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no file"),
        (",limit=1M", "names no file"),
        ("a,b", "'b' is nothing of a parallel port"),
        ("a,limit=much", "'much' is not a size"),
    ],
)
def test_what_is_no_port_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        parse_parallel(text)


def test_the_file_is_made_and_kept_as_it_is(tmp_path: Path) -> None:
    spec = ParallelSpec(file=tmp_path / "a.txt")
    prepare_parallel(spec)
    assert spec.file is not None
    spec.file.write_bytes(b"printed")
    prepare_parallel(spec)
    assert spec.file.read_bytes() == b"printed"


def test_what_cannot_be_printed_to_is_named(tmp_path: Path) -> None:
    # Whoever opened it would wait for a reader.
    os.mkfifo(tmp_path / "pipe")
    for name, sentence in (("missing/a", "No such"), ("pipe", "not a file"), (".", "not a file")):
        with pytest.raises(
            InvalidInput, match=f"cannot write what the guest prints to.*{sentence}"
        ):
            prepare_parallel(ParallelSpec(file=tmp_path / name))


def test_a_copy_of_a_guest_has_no_paper() -> None:
    assert without_paper(None) is None
    spec = ParallelSpec(file=Path("a"), limit=5)
    assert without_paper(spec) == ParallelSpec(file=None, limit=5)
