"""What tests of Debian guests that stay may ask for."""

from collections.abc import Iterator

import pytest
from tests.boot.homes import furnish
from tests.run.house import House

from innkeeper.images import Image


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, debian: Image) -> Iterator[House]:
    """`inn` with a home of its own that has the Debian image in it."""
    home = tmp_path_factory.mktemp("house") / "home"
    furnish(home, debian)
    found = House(home)
    yield found
    if names := found("ps", "-aq").split():
        found("rm", "-f", *names)
