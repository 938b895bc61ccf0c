"""Which snapshots a guest has, and what was made from what: of a guest that was never started."""

import json
import os
from pathlib import Path

import pytest
from tests.run.house import House

from innkeeper.services import snapshot_files


@pytest.fixture
def box(house: House, halting: Path) -> House:
    """With a guest `box` and its disk."""
    data = house.home.parent / "data.raw"
    data.touch()
    os.truncate(data, 1 << 20)
    house("create", "--name", "box", "--kernel", halting, "--disk", data)
    return house


def directory(box: House, name: str) -> Path:
    return box.home / "guests" / "box" / "snapshots" / name


def as_version_1(box: House, name: str) -> None:
    """The snapshot, as it was written before parents had an id."""
    path = directory(box, name) / "snapshot.json"
    snapshot = json.loads(path.read_text())["snapshot"]
    del snapshot["parent_id"]
    document = {"version": 1, "sum": snapshot_files._sum_of(snapshot), "snapshot": snapshot}
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("version", [1, 2])
def test_a_name_that_is_given_again_is_nobodys_parent(box: House, version: int) -> None:
    box("snapshot", "create", "box", "a")
    box("snapshot", "create", "box", "b")
    box("snapshot", "rm", "box", "a")
    box("snapshot", "create", "box", "c")
    box("snapshot", "create", "box", "a")
    if version == 1:
        for name in "abc":
            as_version_1(box, name)
    assert box("snapshot", "tree", "box") == "box\n└─ b\n   └─ c\n      └─ a\n"
    rows = [line.split() for line in box("snapshot", "ls", "box").splitlines()[1:]]
    assert [(row[0], row[-1]) for row in rows] == [("b", "-"), ("c", "b"), ("a", "c")]
    assert box("snapshot", "verify", "box", "a") == "a is what it was\n"


def test_what_is_made_after_its_parent_was_removed_hangs_on_nothing(box: House) -> None:
    box("snapshot", "create", "box", "a")
    box("snapshot", "rm", "box", "a")
    box("snapshot", "create", "box", "b")
    box("snapshot", "create", "box", "a")
    assert box("snapshot", "tree", "box") == "box\n└─ b\n   └─ a\n"
    assert json.loads(box("snapshot", "show", "box", "b"))["parent_id"] is None


def test_damage_is_named_and_the_others_are_listed(box: House) -> None:
    for name in ("a", "b", "c"):
        box("snapshot", "create", "box", name)
    (directory(box, "a") / "snapshot.json").write_text("{}")
    (directory(box, "b") / "snapshot.json").unlink()
    for words in (("ls", "box"), ("ls", "box", "--json"), ("tree", "box")):
        done = box.inn("snapshot", *words)
        assert done.returncode == 1
        assert b"c" in done.stdout
        assert done.stderr.decode().splitlines() == [
            "inn: the snapshot 'a' is damaged: its snapshot.json was altered",
            "inn: the snapshot 'b' is damaged: it has no snapshot.json",
        ]


def test_a_size_is_what_one_takes_beside_the_older_ones(box: House) -> None:
    for name in ("a", "b"):
        box("snapshot", "create", "box", name)
        if name == "a":
            box("snapshot", "restore", "box", "a")
    one, two = (
        {each.stat().st_ino: 512 * each.stat().st_blocks for each in directory(box, name).iterdir()}
        for name in "ab"
    )
    assert set(one) & set(two)
    blocks = [sum(one.values()), sum(two[inode] for inode in set(two) - set(one))]
    found = json.loads(box("snapshot", "ls", "box", "--json"))
    assert [it["size"] for it in found] == blocks
    # The disk is one hole.
    assert sum(file["size"] for file in found[0]["files"]) >= 1 << 20 > blocks[0]
    assert json.loads(box("snapshot", "show", "box", "b"))["size"] == blocks[1]
