"""Who wants to log into a guest that has no way in is told so."""

from pathlib import Path

from tests import tiny
from tests.run.house import House


def test_who_has_no_way_in_is_told(tmp_path: Path) -> None:
    house = House(tmp_path / "home")
    halting = tiny.kernel(tmp_path / "halt", tiny.HALT)
    try:
        house("run", "-d", "--name", "a", "--kernel", halting)
        assert "port 22" in house.refuses("ssh", "a", status=2)
        house("run", "-d", "--name", "b", "--kernel", halting, "--hostname", "b")
        assert "no SSH server" in house.refuses("ssh", "--timeout", "1s", "b")
        house("kill", "b")
        assert "not running" in house.refuses("ssh", "b")
        assert "no guest 'c'" in house.refuses("ssh", "c")
    finally:
        house("rm", "-f", "a", "b")
