"""Laws that hold for every device: it follows the protocol, and its state makes the round trip."""

import json
import sys
from pathlib import Path

import pytest

from innkeeper.devices import BUILT_IN, MmioDevice, PortDevice, find, make
from innkeeper.errors import DeviceFailed, InnkeeperError, InvalidInput


class Board:
    """Stands for the machine and writes down what devices ask of it."""

    vcpus = 2
    memory = 64 << 20

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def exit(self, code: int) -> None:
        self.asked.append(("exit", code))

    def guest_panicked(self) -> None:
        self.asked.append(("panic",))

    def set_line(self, gsi: int, high: bool) -> None:
        self.asked.append(("line", gsi, high))


def made(name: str) -> list[PortDevice | MmioDevice]:
    return list(BUILT_IN[name](Board()))


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_device_follows_the_protocol(name: str) -> None:
    for device in made(name):
        assert isinstance(device, PortDevice) != isinstance(device, MmioDevice)
        assert device.kind
        assert device.version >= 1


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_device_is_saved_and_restored(name: str) -> None:
    for device, other in zip(made(name), made(name), strict=True):
        count = device.port_count if isinstance(device, PortDevice) else 64
        for offset in range(count):
            device.write(offset, 1, 0xA5 ^ offset)
        saved = json.loads(json.dumps(device.save()))
        other.restore(saved)
        assert other.save() == device.save()


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize("damaged", [{"no": "such"}, {"bytes": 5}, {"high": [99]}, {"bytes": "00"}])
def test_no_device_takes_a_damaged_state(name: str, damaged: dict[str, object]) -> None:
    for device in made(name):
        before = device.save()
        with pytest.raises(ValueError):  # noqa: PT011 - the words are each device's own
            device.restore(damaged)
        assert device.save() == before


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_device_can_be_reset(name: str) -> None:
    for device, fresh in zip(made(name), made(name), strict=True):
        device.write(0, 1, 1)
        device.reset()
        assert device.save() == fresh.save()


@pytest.mark.parametrize("name", ["nothing", "no.such.module:create", "json:nothing", ":x", "..:x"])
def test_unknown_devices_are_bad_input(name: str) -> None:
    with pytest.raises(InvalidInput):
        find(name)


def test_a_device_of_ones_own_is_found_by_module_and_factory() -> None:
    assert find("innkeeper.devices.pvpanic:create") is BUILT_IN["pvpanic"]


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("create = 5", InvalidInput, "is 5, and not a function"),
        ("def create(host): return None", DeviceFailed, "TypeError: 'NoneType'"),
        ("def create(host): raise RuntimeError('no wire')", DeviceFailed, "RuntimeError: no wire"),
        ("1 / 0", DeviceFailed, "ZeroDivisionError"),
        ("def create(", DeviceFailed, "SyntaxError"),
        ("import nosuchmodule", InvalidInput, "No module named 'nosuchmodule'"),
    ],
)
def test_a_device_that_cannot_be_made_is_told_with_its_reason(
    code: str,
    error: type[InnkeeperError],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "broken_device.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_device", raising=False)
    with pytest.raises(error, match=sentence) as told:
        make("broken_device:create", Board())
    if isinstance(told.value, DeviceFailed):
        assert told.value.details.startswith("Traceback")


def test_debug_exit_shifts_and_sets_the_lowest_bit() -> None:
    board = Board()
    (device,) = BUILT_IN["isa-debug-exit"](board)
    device.write(0, 4, 1)
    device.write(0, 4, 0xFFFF_FFFF)
    assert board.asked == [("exit", 3), ("exit", 0xFF)]


def test_a_panic_is_reported_unless_a_crash_kernel_takes_over() -> None:
    board = Board()
    (device,) = BUILT_IN["pvpanic"](board)
    device.write(0, 1, 0b11)
    assert board.asked == []
    device.write(0, 1, 0b01)
    assert board.asked == [("panic",)]


def test_testdev_loops_back_and_drives_lines() -> None:
    board = Board()
    loop, flush, lines, memory = BUILT_IN["pc-testdev"](board)
    loop.write(0, 4, 0x1234_5678)
    assert loop.read(1, 2) == 0x3456
    flush.write(0, 4, 0xDEAD_BEEF)
    memory.write(0xFFFC, 4, 0xCAFE_F00D)
    assert memory.read(0xFFFC, 4) == 0xCAFE_F00D
    lines.write(11, 1, 1)
    lines.write(11, 1, 0)
    assert board.asked == [("line", 11, True), ("line", 11, False)]
