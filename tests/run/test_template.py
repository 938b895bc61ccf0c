"""The template that guests' processes are forked from, which nobody needs."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Inn
from tests.run.house import House, wait


def template_of(house: House, name: str) -> int:
    """The process that a guest's supervisor was forked from."""
    return parent(house.inspect(name)["supervisor"])


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def sockets(house: House) -> list[Path]:
    return sorted((house.home / "templates").iterdir())


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_guests_are_forked_from_one_process(house: House, halting: Path) -> None:
    house.start("a", halting, "--memory", "16M")
    house.start("b", halting, "--memory", "16M")
    template = template_of(house, "a")
    assert (template, comm(template)) == (template_of(house, "b"), "inn template")
    # It holds neither's lock, and no descriptor but its own.
    house("rm", "--force", "a")
    assert house.states() == {"b": "running"}
    held = [str(entry.readlink()) for entry in Path(f"/proc/{template}/fd").iterdir()]
    assert not [each for each in held if "/home/guests" in each], held


def replaced(house: House, halting: Path, damage: Callable[[int], None]) -> None:
    house.start("a", halting, "--memory", "16M")
    first = template_of(house, "a")
    damage(first)
    house.start("b", halting, "--memory", "16M")
    second = template_of(house, "b")
    assert (second != first, comm(second)) == (True, "inn template")
    assert len(sockets(house)) == 1
    assert house.states() == {"a": "running", "b": "running"}


def test_one_that_was_killed_is_replaced(house: House, halting: Path) -> None:
    replaced(house, halting, lambda pid: os.kill(pid, signal.SIGKILL))


def test_one_that_hangs_is_replaced(house: House, halting: Path) -> None:
    stopped: list[int] = []

    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)

    replaced(house, halting, stop)
    # It sees that another has its name by now.
    os.kill(stopped[0], signal.SIGCONT)
    wait(lambda: Path(f"/proc/{stopped[0]}").exists(), lambda there: not there)
    assert len(sockets(house)) == 1


def test_it_ends_with_its_socket(house: House, halting: Path) -> None:
    house.start("a", halting, "--memory", "16M")
    template = template_of(house, "a")
    for each in sockets(house):
        each.unlink()
    wait(lambda: Path(f"/proc/{template}").exists(), lambda there: not there)
    assert house.states() == {"a": "running"}


def test_other_circumstances_have_another(house: House, halting: Path) -> None:
    house.start("a", halting, "--memory", "16M")
    other = House(house.home)
    other.inn = Inn({**house.inn.environment, "LC_ALL": "C"})
    other.start("b", halting, "--memory", "16M")
    assert template_of(house, "a") != template_of(house, "b")
    assert len(sockets(house)) == 2


def test_it_can_be_done_without(house: House, halting: Path) -> None:
    without = House(house.home)
    without.inn = Inn({**house.inn.environment, "INNKEEPER_TEMPLATE": "0"})
    without.start("a", halting, "--memory", "16M")
    assert not (house.home / "templates").exists()


def test_a_fork_has_nothing_of_its_siblings(house: House, halting: Path) -> None:
    house.start("a", halting, "--memory", "16M")
    found = house.start("b", halting, "--memory", "16M")
    held = [str(entry.readlink()) for entry in Path(f"/proc/{found['supervisor']}/fd").iterdir()]
    assert [each for each in held if each.endswith("/b/errors.log")], held
    strange = ("/guests/a", "templates")
    assert not [each for each in held if any(word in each for word in strange)], held
    # By which its guest asks it for connections of its vsock; no other's.
    assert len([each for each in held if each.startswith("socket:")]) == 1, held
