"""What tests of guests that stay may ask for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny
from tests.run.faults import FATES, Faults
from tests.run.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path / "home")
    yield found
    names = found("ps", "-aq").split()
    if names:
        found("rm", "--force", *names)
    # Nothing leaks: no process, no directory, no socket.
    assert found.processes() == set()
    guests = found.home / "guests"
    left = [each.name for each in guests.iterdir()] if guests.exists() else []
    assert [name for name in left if not name.startswith(".")] == []
    assert [name for name in left if name.startswith((".new", ".gone"))] == []
    # No template waits for guests of this home.
    shutil.rmtree(found.home / "templates", ignore_errors=True)


@pytest.fixture
def halting(tmp_path: Path) -> Path:
    return tiny.kernel(tmp_path / "halt", tiny.HALT)


@pytest.fixture(params=FATES.values(), ids=FATES)
def faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Faults:
    """None until `at_every_call`."""
    return Faults(request.param, monkeypatch)
