"""`inn fork` of guests that need no system, and what their processes share."""

from pathlib import Path

import pytest
from tests import tiny
from tests.run.house import House, wait

SAVED_CODE = "/saved/code"


def executes_saved_code(house: House, name: str) -> bool:
    """Whether there is code in a guest's process that another one made."""
    maps = Path(f"/proc/{house.inspect(name)['pid']}/maps").read_text().splitlines()
    return any(line.split()[1] == "r-xp" and SAVED_CODE in line for line in maps)


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    return tiny.kernel(tmp_path / "loop", tiny.LOOP)


def test_several_forks_run_what_their_parent_had_translated(house: House, loop: Path) -> None:
    house.start("base", loop, "--engine", "translator", "--memory", "16M")
    house("fork", "base", "-n", "3")
    forks = ["base-1", "base-2", "base-3"]
    for name in forks:
        assert wait(lambda name=name: house.inspect(name), lambda it: it["state"] == "running")
        assert executes_saved_code(house, name)
    assert not executes_saved_code(house, "base")
    # What it does itself may change, and it is not what its forks have.
    house("kill", "base")
    # So do those of a fork.
    house("fork", "base-1", "-n", "3")
    house("kill", "base-1", "base-2", "base-3")
    for name in forks:
        again = name.replace("base", "base-1")
        assert executes_saved_code(house, again)
        before = house.inspect(again)
        assert before["state"] == "running"
        # It is not there at another start.
        house("kill", again)
        house("start", again)
        assert not executes_saved_code(house, again)


def test_who_goes_back_runs_what_was_translated_then(house: House, loop: Path) -> None:
    house.start("base", loop, "--engine", "translator", "--memory", "16M")
    house("snapshot", "create", "base", "kept")
    assert not executes_saved_code(house, "base")
    for _ in range(2):
        house("snapshot", "restore", "base", "kept")
        assert house.inspect("base")["state"] == "running"
        assert executes_saved_code(house, "base")
    house("snapshot", "create", "base", "again")
    house("snapshot", "restore", "base", "again")
    assert executes_saved_code(house, "base")


def test_code_with_a_seal_needs_no_template(loop: Path, tmp_path: Path) -> None:
    alone = House(tmp_path / "home", INNKEEPER_TEMPLATE="0")
    forks = ["base-1", "base-2", "base-3"]
    try:
        alone.start("base", loop, "--engine", "translator", "--memory", "16M")
        alone("fork", "base", "-n", "3")
        for name in forks:
            assert alone.inspect(name)["state"] == "running"
            assert executes_saved_code(alone, name)
        # One that began so leaves it to others.
        alone("snapshot", "create", "base-1", "kept")
        alone("snapshot", "restore", "base-1", "kept")
        assert executes_saved_code(alone, "base-1")
        # What somebody else sealed is nobody's.
        (alone.home / "code.key").write_bytes(bytes(32))
        alone("snapshot", "restore", "base-1", "kept")
        assert alone.inspect("base-1")["state"] == "running"
        assert not executes_saved_code(alone, "base-1")
    finally:
        alone("rm", "--force", "base", *forks)


def test_who_makes_no_code_leaves_none(house: House, loop: Path) -> None:
    house.start("base", loop, "--engine", "interpreter", "--memory", "16M")
    house("fork", "base", "-n", "3")
    assert not executes_saved_code(house, "base-1")
    assert house.inspect("base-3")["state"] == "running"


def test_forks_take_the_names_that_are_free(house: House, loop: Path) -> None:
    house.start("base", loop, "--memory", "16M")
    house.start("base-2", loop, "--memory", "16M")
    assert house("fork", "base", "-n", "2") == "base-1\nbase-3\n"
    assert house("fork", "base") == "base-4\n"
