"""What is asked of a guest that does not let go of its disc, as its process tells it."""

import time
from typing import TYPE_CHECKING, cast

import pytest

from innkeeper.errors import HostFailure
from innkeeper.services import media

if TYPE_CHECKING:
    from innkeeper.vm.detached.home import Home
    from innkeeper.vm.qmp.client import Client


class Guest:
    """Closes its tray as soon as it is opened."""

    name = "box"

    def __init__(self, *, locked: bool) -> None:
        self._locked = locked
        self.asked = 0

    def execute(self, command: str, **arguments: object) -> object:
        if command == "x-query-media":
            return [{"id": "cd0", "open": False, "locked": self._locked}]
        assert command == "blockdev-open-tray"
        self.asked += 1
        return {}


@pytest.mark.parametrize("locked", [True, False])
def test_a_tray_that_never_stays_open_is_given_up(locked: bool) -> None:
    guest = Guest(locked=locked)
    home, client = cast("Home", guest), cast("Client", guest)
    begun = time.monotonic()
    with pytest.raises(HostFailure, match=r"after 0\.3 s"):
        media._open(home, client, "cd0", force=False, patience=0.3)
    assert time.monotonic() - begun < 30
    # In its own time, and not as often as a processor can.
    assert guest.asked <= 1 + 0.3 / media._LOOK + 1
