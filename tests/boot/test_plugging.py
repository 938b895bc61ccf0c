"""Disks and network cards that come to a Debian guest while it runs, and go from it."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError, QMPClient
from tests.conftest import PATIENCE
from tests.run.house import House, wait

from innkeeper import AsyncGuest, Firewall, Guest
from innkeeper.errors import GuestNotRunning, InvalidInput
from innkeeper.images import Image

_MIB = 1 << 20


@pytest.fixture(scope="module")
def box(house: House) -> str:
    """A guest that all tests share, each of which takes out what it has plugged in."""
    house("run", "--detach", "--name", "box", "--memory", "256M", "debian")
    return "box"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "data.raw"
    with path.open("wb") as file:
        file.truncate(16 * _MIB)
    return path


def _disks(house: House, guest: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(house("disk", "ls", guest, "--json"))
    return found


def _block_devices(house: House, guest: str) -> list[str]:
    return house("exec", guest, "ls", "/sys/block").split()


def _appears(house: House, guest: str, device: str) -> None:
    wait(lambda: _block_devices(house, guest), lambda devices: device in devices)


def test_a_disk_comes_is_written_and_goes(house: House, box: str, image: Path) -> None:
    assert house("disk", "attach", box, str(image), "--id", "data") == "data\n"
    _appears(house, box, "vdb")
    assert house("exec", box, "cat", "/sys/block/vdb/serial") == "data"
    assert house("exec", box, "cat", "/sys/block/vdb/size") == f"{16 * _MIB // 512}\n"
    told = _disks(house, box)
    assert [(one["id"], one["slot"], one["leaving"]) for one in told] == [
        ("virtio0", told[0]["slot"], False),
        ("data", 31, False),
    ]
    house("exec", box, "sh", "-c", "mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt")
    house("exec", box, "sh", "-c", "echo kept > /mnt/file && umount /mnt")
    # The guest has it alone, and once.
    assert "two disks" in house.inn("disk", "attach", box, str(image)).stderr.decode()
    assert "in use" in house.inn("disk", "resize", str(image), "32M").stderr.decode()
    house("disk", "detach", box, "data")
    assert "vdb" not in _block_devices(house, box)
    assert house.inspect(box)["request"]["disks"] == []
    # What it wrote is there, and nobody has the file any more.
    house("disk", "attach", box, str(image), "--id", "again", "--read-only")
    _appears(house, box, "vdb")
    house("exec", box, "mount", "-o", "ro", "/dev/vdb", "/mnt")
    assert house("exec", box, "cat", "/mnt/file") == "kept\n"
    house("exec", box, "umount", "/mnt")
    house("disk", "detach", box, "again")


def test_a_disk_of_several_files_reaches_a_guest_that_is_locked_in(
    house: House, box: str, image: Path
) -> None:
    image.write_bytes(b"below" + bytes(16 * _MIB - 5))
    top = image.with_name("top.qcow2")
    house("disk", "create", str(top), "--backing", image.name, "--backing-format", "raw")
    house("disk", "attach", box, str(top), "--id", "top", "--temporary")
    _appears(house, box, "vdb")
    assert house("exec", box, "head", "-c", "5", "/dev/vdb") == "below"
    house("exec", box, "sh", "-c", "echo above | dd of=/dev/vdb conv=fsync,notrunc")
    house("disk", "detach", box, "top")
    assert image.read_bytes()[:5] == b"below"


def test_what_cannot_be_is_refused_in_a_sentence(house: House, box: str, image: Path) -> None:
    for words, sentence in (
        (("attach", box, str(image.with_name("none"))), "No such file"),
        (("attach", box, str(image), "--id", "virtio0"), "has a disk 'virtio0' already"),
        (("attach", box, str(image), "--id", "1/2"), "is no id"),
        (("detach", box, "data"), "has no disk 'data'"),
        (("detach", box, "net0"), "has no disk 'net0'"),
        (("detach", box, "virtio0"), "boots from"),
    ):
        done = house.inn("disk", *words)
        assert done.returncode != 0
        assert sentence in done.stderr.decode()
    assert [one["id"] for one in _disks(house, box)] == ["virtio0"]


def test_a_network_card_comes_gets_an_address_and_goes(house: House, box: str) -> None:
    assert house("network", "attach", box) == "net1\n"
    wait(
        lambda: house("exec", box, "ls", "/sys/class/net").split(),
        lambda cards: "eth1" in cards,
    )
    house("exec", box, "ip", "link", "set", "eth1", "up")
    # Its network tells the guest's kernel which.
    wait(
        lambda: house("exec", box, "ip", "-6", "address", "show", "eth1"),
        lambda shown: "fd69:6e6e::" in shown,
    )
    house("network", "detach", box, "net1")
    assert "eth1" not in house("exec", box, "ls", "/sys/class/net").split()


def test_snapshots_and_forks_have_what_was_plugged_in(house: House, box: str, image: Path) -> None:
    house("disk", "attach", box, str(image), "--id", "data")
    _appears(house, box, "vdb")
    house("exec", box, "sh", "-c", "mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt")
    house("exec", box, "sh", "-c", "echo one > /mnt/file && sync")
    house("snapshot", "create", box, "with")
    house("exec", box, "sh", "-c", "echo two > /mnt/file && sync")
    house("fork", box, "twin")
    house("exec", "twin", "sh", "-c", "echo twins >> /mnt/file && umount /mnt")
    house("disk", "detach", "twin", "data")
    assert "vdb" not in _block_devices(house, "twin")
    house("rm", "-f", "twin")
    assert house("exec", box, "cat", "/mnt/file") == "two\n"
    house("snapshot", "restore", box, "with")
    assert house("exec", box, "cat", "/mnt/file") == "one\n"
    house("exec", box, "umount", "/mnt")
    house("disk", "detach", box, "data")
    # A machine that is saved without it goes on without it.
    house("snapshot", "create", box, "without")
    house("snapshot", "restore", box, "without")
    assert "vdb" not in _block_devices(house, box)
    house("disk", "attach", box, str(image), "--id", "next")
    _appears(house, box, "vdb")
    house("disk", "detach", box, "next")


def test_it_is_there_again_when_the_guest_is_started_anew(
    house: House, box: str, image: Path
) -> None:
    house("disk", "attach", box, str(image), "--id", "data")
    house("restart", box)
    _appears(house, box, "vdb")
    assert house("exec", box, "cat", "/sys/block/vdb/serial") == "data"
    house("disk", "detach", box, "data")
    house("stop", box)
    # Of one that does not run as well.
    house("disk", "attach", box, str(image), "--id", "later")
    assert [one["slot"] for one in _disks(house, box)] == [None, None]
    house("disk", "detach", box, "later")
    assert [one["id"] for one in _disks(house, box)] == ["virtio0"]
    house("start", box)
    house("exec", box, "true")


def test_by_a_program(house: House, box: str, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(house.home))
    with Guest.attach(box) as guest:
        came = guest.attach_disk(image, device="data", read_only=True)
        assert (came.id, came.slot, came.read_only) == ("data", 31, True)
        with pytest.raises(InvalidInput, match="has a disk 'data' already"):
            guest.attach_disk(image, device="data")
        assert [one.id for one in guest.disks()] == ["virtio0", "data"]
        assert [one["id"] for one in _disks(house, box)] == ["virtio0", "data"]
        _appears(house, box, "vdb")
        guest.detach_disk("data")
        assert [one.id for one in guest.disks()] == ["virtio0"]
        with pytest.raises(InvalidInput, match="boots from"):
            guest.detach_disk("virtio0")
        assert guest.attach_network("user,isolated").id == "net1"
        assert [one.id for one in guest.network_cards()] == ["net0", "net1"]
        guest.detach_network("net1")
        assert [one.id for one in guest.network_cards()] == ["net0"]
        guest.add_rule("out reject tcp port 25")
        guest.add_rule("in accept icmp", at=1)
        guest.set_firewall(into="drop")
        rules = ("in accept icmp", "out reject tcp port 25")
        assert guest.firewall() == Firewall(into="drop", out="accept", rules=rules)
        guest.remove_rule(1)
        told = json.loads(house("network", "rule", "ls", box, "--json"))
        assert told["rules"] == [rules[1]]
        guest.clear_rules()
        guest.set_firewall(into="accept")
        with pytest.raises(InvalidInput):
            guest.add_rule("out")
        with pytest.raises(InvalidInput):
            guest.set_firewall(out="perhaps")


def test_to_a_guest_of_a_program(debian: Image, image: Path) -> None:
    async def use() -> None:
        async with AsyncGuest(debian.name, memory="256M", network="none") as guest:
            for _ in range(2):
                assert (await guest.attach_disk(image, device="data")).slot == 31
                script = "until [ -b /dev/vdb ]; do sleep 0.1; done; cat /sys/block/vdb/serial"
                assert (await guest.run(["sh", "-c", script])).stdout == "data"
                assert [one.id for one in await guest.disks()] == ["virtio0", "data"]
                with pytest.raises(InvalidInput, match="data came to guest"):
                    async with guest.fork():
                        raise AssertionError("its disk would be another's as well")
                await guest.detach_disk("data")
                assert [one.id for one in await guest.disks()] == ["virtio0"]
            with pytest.raises(InvalidInput, match="has no disk 'data'"):
                await guest.detach_disk("data")
            # Its jail has no network.
            with pytest.raises(InvalidInput, match="without a network"):
                await guest.attach_network()
            with pytest.raises(InvalidInput, match="has no network"):
                await guest.add_rule("in drop")
            assert await guest.network_cards() == []
            async with guest.fork() as forks:
                assert [one.id for one in await forks[0].disks()] == ["virtio0"]
        with pytest.raises(GuestNotRunning):
            await guest.disks()

    asyncio.run(use())


def test_by_the_control_socket(house: House, box: str, image: Path) -> None:
    async def talk(fd: int) -> None:
        qmp = QMPClient("test")
        await qmp.connect(str(house.inspect(box)["control_socket"]))
        try:
            with pytest.raises(ExecuteError, match="SCM_RIGHTS"):
                await qmp.execute("add-fd")
            qmp.send_fd_scm(fd)
            told = await qmp.execute("add-fd", {"fdset-id": 7})
            assert told["fdset-id"] == 7
            node = {"driver": "file", "filename": "/dev/fdset/7"}
            wanted = {"node-name": "n", "driver": "raw", "file": node}
            await qmp.execute("blockdev-add", wanted)
            device = {"driver": "virtio-blk-pci", "id": "q", "drive": "n", "addr": "0x1e"}
            await qmp.execute("device_add", device)
            with pytest.raises(ExecuteError, match="in use"):
                await qmp.execute("blockdev-del", {"node-name": "n"})
            with pytest.raises(ExecuteError, match="already"):
                await qmp.execute("device_add", device)
            blocks = await qmp.execute("query-block")
            assert blocks[-1]["device"] == "q"
            await asyncio.to_thread(_appears, house, box, "vdb")
            # Nobody outside could make it again.
            refused = await asyncio.to_thread(house.inn, "snapshot", "create", box, "odd")
            assert "came by device_add" in refused.stderr.decode()
            with qmp.listener(("DEVICE_DELETED",)) as events:
                await qmp.execute("device_del", {"id": "q"})
                event = await asyncio.wait_for(events.get(), PATIENCE)
            assert event["data"] == {"device": "q", "path": "/machine/peripheral/q"}
            await qmp.execute("blockdev-del", {"node-name": "n"})
            assert await qmp.execute("query-fdsets") == []
        finally:
            await qmp.disconnect()

    fd = os.open(image, os.O_RDWR)
    try:
        asyncio.run(talk(fd))
    finally:
        os.close(fd)
    assert "vdb" not in _block_devices(house, box)
