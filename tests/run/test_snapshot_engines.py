"""Guests that go on with another engine than they were saved with, and check their memory."""

from pathlib import Path

import pytest
from tests import tiny
from tests.run.house import House
from tests.run.test_migration import checking, rounds

from innkeeper import _core

ENGINES = ("translator", "interpreter", "kvm")


def test_a_guest_goes_from_engine_to_engine(house: House, tmp_path: Path) -> None:
    usable = [each.name for each in _core.engines() if each.usable]
    missing = [f"{each.name}: {each.reason}" for each in _core.engines() if not each.usable]
    kernel = tiny.kernel(tmp_path / "checking", checking())
    first, *others = [name for name in ENGINES if name in usable]
    house.start("box", kernel, "--memory", "32M", "--network", "none", "--engine", first)
    for number, engine in enumerate((*reversed(others), first)):
        rounds(house, 2)
        house("snapshot", "create", "box", f"s{number}")
        house("snapshot", "restore", "box", f"s{number}", "--engine", engine)
        assert house.inspect("box")["engine"] == engine
    rounds(house, 2)
    if missing:
        pytest.skip(f"only {', '.join(usable)} were tested; {'; '.join(missing)}")


def test_lockstep_goes_on_with_nobody(house: House, halting: Path) -> None:
    house.start("box", halting, "--network", "none")
    house("snapshot", "create", "box", "one")
    refused = house.refuses("snapshot", "restore", "box", "one", "--engine", "lockstep", status=2)
    assert "restores none" in refused
    assert house.inspect("box")["state"] == "running"
