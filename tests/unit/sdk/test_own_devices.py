"""Devices and rules of a guest of a block: many threads change them, its process is not trusted."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from innkeeper.errors import HostFailure
from innkeeper.machine import USER_NETWORK, MachineSpec, parse_rule
from innkeeper.machine.spec import DiskSpec
from innkeeper.sdk.guest import Guest
from innkeeper.sdk.own_devices import OwnDevices
from innkeeper.vm.changes import AskOut, Change, ListPlugged, PlugCard, PlugDisk, SetFirewall

if TYPE_CHECKING:
    from innkeeper.vm.process import GuestProcess

ROOT = {"id": "virtio0", "type": "disk", "slot": 3, "leaving": False}


class FakeProcess:
    """Does what it is told, in its own time."""

    def __init__(self) -> None:
        self.here: list[object] = [ROOT]
        self.slot: object = None

    def change(self, change: Change, files: tuple[int, ...]) -> object:
        time.sleep(0.001)
        match change:
            case ListPlugged():
                return list(self.here)
            case PlugDisk(disk):
                return self._plug(disk.id, "disk")
            case PlugCard(card):
                return self._plug(card.id, "network")
            case AskOut(device):
                self.here = [
                    one for one in self.here if cast("dict[str, str]", one)["id"] != device
                ]
            case SetFirewall():
                pass
        return None

    def _plug(self, name: str, kind: str) -> object:
        slot = len(self.here) + 3 if self.slot is None else self.slot
        self.here.append({"id": name, "type": kind, "slot": slot, "leaving": False})
        return slot


class FakeGuest(OwnDevices):
    name = "box"

    def __init__(self) -> None:
        super().__init__()
        self.process = FakeProcess()
        self._process = cast("GuestProcess", self.process)
        self.spec = MachineSpec(
            memory=1 << 26, disks=(DiskSpec(path=Path("/root")),), network=USER_NETWORK
        )

    def _is(self) -> MachineSpec:
        return self.spec

    def _becomes(self, spec: MachineSpec) -> None:
        time.sleep(0.001)
        self.spec = spec


def test_what_two_threads_change_is_changed_by_both(tmp_path: Path) -> None:
    guest = FakeGuest()
    images = [tmp_path / f"{number}.img" for number in range(6)]
    for image in images:
        image.write_bytes(bytes(1 << 20))
    work = [
        lambda: [guest.attach_disk(image) for image in images[:3]],
        lambda: [guest.attach_disk(image) for image in images[3:]],
        lambda: [guest.attach_network() for _ in range(6)],
        lambda: [guest.add_rule(f"in accept tcp port {port}") for port in range(1, 9)],
        lambda: [guest.add_rule(f"in accept udp port {port}") for port in range(1, 9)],
    ]
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(guest.disks()) == 7
    assert len(guest.network_cards()) == 6
    assert len({card.mac for card in guest.spec.cards}) == 6
    network = guest.spec.network
    assert network is not None
    expected = [f"in accept {kind} port {port}" for kind in ("tcp", "udp") for port in range(1, 9)]
    assert set(network.firewall.rules) == {parse_rule(rule) for rule in expected}


def test_what_has_gone_keeps_its_number(tmp_path: Path) -> None:
    guest = FakeGuest()
    image = tmp_path / "data.img"
    image.write_bytes(bytes(1 << 20))
    guest.attach_disk(image, device="data")
    guest.detach_disk("data")
    assert [disk.gone for disk in guest.spec.disks] == [False, True]
    assert [disk.id for disk in guest.disks()] == ["virtio0"]


@pytest.mark.parametrize("here", [None, 7, [7], [[]], ["virtio0"], [{**ROOT, "slot": "many"}]])
def test_nonsense_is_a_sentence(here: object) -> None:
    guest = FakeGuest()
    guest.process.here = cast("list[object]", here)
    if not isinstance(here, list):
        guest.process.change = lambda *_: here  # type: ignore[method-assign]
    with pytest.raises(HostFailure, match="nonsense"):
        guest.disks()


@pytest.mark.parametrize("slot", ["3", -1, 32, 1 << 70, []])
def test_a_slot_that_no_bus_has(slot: object, tmp_path: Path) -> None:
    guest = FakeGuest()
    guest.process.slot = slot
    image = tmp_path / "data.img"
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(HostFailure, match="nonsense"):
        guest.attach_disk(image)


def test_all_names_are_taken_by_none(tmp_path: Path) -> None:
    guest = FakeGuest()
    names = [f"{kind}{number}" for kind in ("virtio", "net") for number in range(1000)]
    guest.process.here = [{**ROOT, "id": name} for name in names]
    image = tmp_path / "data.img"
    image.write_bytes(bytes(1 << 20))
    with pytest.raises(HostFailure, match="nonsense"):
        guest.attach_disk(image)
    with pytest.raises(HostFailure, match="nonsense"):
        guest.attach_network()


def test_a_guest_of_a_block_has_them() -> None:
    # Its bases begin one after the other.
    assert Guest("debian")._changing.acquire(blocking=False)
