"""Files of which a part is what it was: what is read of them, and what comes back."""

import os
import random
import tempfile
from pathlib import Path

import pytest
from tests.unit.services.backups import shelf

from innkeeper.services.backups import content
from innkeeper.services.backups.content import Unchanged
from innkeeper.services.backups.packs import CHUNK
from innkeeper.vm.checkpoint import but, pack, parse, whole


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.cheap(monkeypatch)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_unchanged_is_not_read_and_comes_back(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    place = shelf.make(tmp_path / "repository")
    old = b"".join(
        chance.choice((bytes(CHUNK), chance.randbytes(CHUNK))) for _ in range(chance.randrange(30))
    ) + chance.randbytes(chance.randrange(CHUNK))
    new = bytearray(old + bytes(chance.randrange(3) * CHUNK))
    touched = {number for number in range(-(-len(new) // CHUNK)) if chance.random() < 0.3}
    # The last piece of the old one is cut where that ended.
    touched |= {len(old) // CHUNK, *range(len(old) // CHUNK, len(new) // CHUNK)}
    left_out = bytearray(new)
    for number in touched:
        piece = slice(number * CHUNK, min(len(new), (number + 1) * CHUNK))
        new[piece] = chance.randbytes(len(new[piece]))
    for number in range(-(-len(new) // CHUNK)):
        piece = slice(number * CHUNK, min(len(new), (number + 1) * CHUNK))
        left_out[piece] = new[piece] if number in touched else bytes(len(new[piece]))
    same = whole(
        list(but([(n * CHUNK, (n + 1) * CHUNK) for n in sorted(touched)], 0, len(new))), CHUNK
    )
    read: list[int] = []
    with shelf.opened(place) as found, tempfile.TemporaryFile() as file:
        os.write(file.fileno(), old)
        before = content.store(found, file.fileno(), "disk", lambda _: None)
        found.flush()
        os.pwrite(file.fileno(), left_out, 0)
        stored = content.store(found, file.fileno(), "disk", read.append, Unchanged(before, same))
        found.flush()
        os.ftruncate(file.fileno(), 0)
        content.load(found, stored, file.fileno(), lambda _: None)
        assert os.pread(file.fileno(), len(new) + 1, 0) == bytes(new)
    # The last piece, where it is cut, is none of the whole ones.
    assert sum(read) <= (len(touched) + 1) * CHUNK


def test_ranges_are_what_they_say() -> None:
    ranges = [(0, 10), (10, 25), (40, 95)]
    assert parse(pack(ranges)) == ranges
    assert whole(ranges, 10) == [(0, 10), (10, 20), (40, 90)]
    assert list(but(ranges, 5, 100)) == [(25, 40), (95, 100)]
    assert list(but(ranges, 0, 50)) == [(25, 40)]
    assert list(but([], 0, 50)) == [(0, 50)]
    assert list(but([(0, 50)], 0, 50)) == []


@pytest.mark.parametrize("ranges", [[(5, 5)], [(5, 9), (8, 12)], [(9, 5)]])
def test_ranges_that_make_no_sense_are_refused(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        parse(pack(ranges))
    with pytest.raises(ValueError, match="by halves"):
        parse(pack([(0, 5)])[:-1])
