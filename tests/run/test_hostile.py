"""Guests that do their worst with every device that there is, beside one that goes on.

Each does what its seed says: --hostile-seed and --hostile-rounds are for a longer search.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests import tiny
from tests.run import hostile
from tests.run.hostile import Neighbour, Orders, errors, says, taken
from tests.run.house import House, wait

MIB = 1 << 20
MEMORY = 32 * MIB
# What a process may have beside its guest's memory, and what it may gain after the first round:
# decoded and translated code, a screen, queues. In bytes.
BESIDE = 160 * MIB
GAIN = 48 * MIB


@pytest.fixture
def orders(request: pytest.FixtureRequest) -> Orders:
    return Orders(
        seed=request.config.getoption("--hostile-seed"),
        rounds=request.config.getoption("--hostile-rounds"),
        memory=MEMORY,
    )


@pytest.fixture
def neighbour(house: House, tmp_path: Path) -> Iterator[Neighbour]:
    house.start("neighbour", tiny.kernel(tmp_path / "echo", tiny.ECHO), "--memory", "16M")
    with Neighbour(house, "neighbour") as found:
        yield found


def file(path: Path, size: int = 4 * MIB) -> Path:
    with path.open("wb") as made:
        made.truncate(size)
    return path


def options(directory: Path, screen: str = "virtio") -> list[str]:
    """What both boards have: a disk, a folder, a screen; and memory to ask for."""
    (directory / "folder").mkdir()
    (directory / "folder" / "file").write_text("content")
    return [
        *("--memory", "32M", "--max-memory", "256M"),
        *("--disk", str(file(directory / "disk"))),
        *("--volume", f"{directory / 'folder'}:/folder"),
        *("--display", f"{screen},640x400"),
    ]


def endure(house: House, neighbour: Neighbour) -> None:
    """Waits until the guest has done all that it does, and looks what it has taken of its host."""
    pid = house.inspect("hostile")["pid"]
    says(house, "hostile", "round 1")
    neighbour.answers_still()
    first = taken(pid)
    says(house, "hostile", "done")
    neighbour.answers_still()
    # Whoever has just looked at it is not gone for it at once.
    last = wait(lambda: taken(pid), lambda now: now.fits(first))
    assert errors(house, "hostile") == ""
    assert last.memory < MEMORY + BESIDE
    assert last.memory < first.memory + GAIN
    found = house.inspect("hostile")
    assert (found["state"], found["pid"]) == ("running", pid)
    house("stop", "-t", "0", "hostile")
    assert house.inspect("hostile")["status"] == 0
    house("rm", "hostile")
    neighbour.answers_still()


def test_a_console_and_a_shared_network(house: House, orders: Orders, tmp_path: Path) -> None:
    """Whoever attends to a guest sees it end as it said, and hears of nothing that went wrong."""
    words = ["--console", "virtio", "--device", "isa-debug-exit", "--memory", "32M"]
    kernel = hostile.kernel(tmp_path / "hostile", replace(orders, exits=True))
    house("network", "create", "lab")
    done = house.inn("run", "--kernel", kernel, "--name", "hostile", "--network", "lab", *words)
    assert (done.returncode, done.stderr) == (hostile.DONE, b"")
    house("network", "rm", "lab")


def test_virtio_devices(house: House, neighbour: Neighbour, orders: Orders, tmp_path: Path) -> None:
    kernel = hostile.kernel(tmp_path / "hostile", orders)
    sound = ("--sound", f"wav={tmp_path / 'wave'},model=virtio")
    house.start("hostile", kernel, *options(tmp_path), *sound)
    endure(house, neighbour)


@pytest.mark.parametrize(
    ("card", "screen", "sound"), [("e1000", "virtio", "ac97"), ("rtl8139", "vga", "sb16")]
)
def test_devices_of_the_old_world(
    house: House,
    neighbour: Neighbour,
    orders: Orders,
    tmp_path: Path,
    card: str,
    screen: str,
    sound: str,
) -> None:
    words = [
        *("--firmware", hostile.firmware(tmp_path / "hostile", orders)),
        *("--disk", f"{file(tmp_path / 'ide')},bus=ide"),
        *("--disk", f"{file(tmp_path / 'nvme')},bus=nvme"),
        *("--disk", f"{file(tmp_path / 'stick')},bus=usb", "--usb-controller", "uhci"),
        *("--cdrom", file(tmp_path / "disc"), "--floppy", file(tmp_path / "floppy", 1440 << 10)),
        *("--network", f"user,model={card}"),
        *("--sound", f"wav={tmp_path / 'wave'},model={sound}"),
        *("--parallel", f"{tmp_path / 'paper'},limit=1K"),
    ]
    house("run", "--detach", "--name", "hostile", *words, *options(tmp_path, screen))
    endure(house, neighbour)
    assert (tmp_path / "paper").stat().st_size <= 1 << 10


@pytest.mark.long_guest(reason="an interpreted guest takes long for it")
def test_interpreted(house: House, neighbour: Neighbour, orders: Orders, tmp_path: Path) -> None:
    kernel = hostile.kernel(tmp_path / "hostile", orders)
    house.start("hostile", kernel, "--engine", "interpreter", *options(tmp_path))
    endure(house, neighbour)
