"""A guest that writes more than its host has room for stands still until there is room."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient
from tests.boot import packages
from tests.boot.initrd import LOAD, busybox, modules
from tests.run.house import House

from innkeeper.images import kernel

MIB = 1 << 20
# What comes back from the disk is read from the host: the guest's own copy is dropped.
WRITE = """
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox dd if=/dev/urandom of=/noise bs=64k count=256 status=none
busybox dd if=/noise of=/dev/vda bs=64k conv=fsync status=none && echo "it was flushed"
echo 3 > /proc/sys/vm/drop_caches
busybox dd if=/dev/vda of=/found bs=64k count=256 status=none
busybox cmp /noise /found && echo "it is whole"
busybox poweroff -f
"""


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Path]:
    """A directory with room for 6 MiB."""
    place = tmp_path / "storage"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={6 * MIB}", "tmpfs", place]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def give_room(storage: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", storage], check=True)


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_write_waits_for_room(house: House, storage: Path, tmp_path: Path, kind: str) -> None:
    disk = storage / f"disk.{kind}"
    house("disk", "create", disk, "32M")
    start(house, disk, tmp_path)

    why = f"the host has no room for {disk}: make some, then inn resume box"
    assert house.wait_for_state("box", "paused")["sentence"] == why
    (listed,) = json.loads(house("ps", "--json"))
    assert listed["sentence"] == why
    assert why in house("ps")
    status, (block, *_) = asyncio.run(asked(house, "query-status", "query-block"))
    assert status == {"running": False, "status": "io-error"}
    assert block["io-status"] == "nospace"
    assert "it was flushed" not in house("logs", "box")

    # Still none, or not enough: paused again.
    for size in (6 * MIB, 9 * MIB):
        give_room(storage, size)
        house("resume", "box")
        house.wait_for_state("box", "paused")
    # The house is one for all tests here.
    full = [each for each in told(house) if each.get("file") == str(disk)]
    assert [(each["event"], each["disk"]) for each in full] == [("full", "virtio0")] * 3

    give_room(storage, 64 * MIB)
    house("resume", "box")
    house.wait_for_state("box", "exited")
    said = house("logs", "box")
    assert "it was flushed" in said
    assert "it is whole" in said
    assert "I/O error" not in said
    house("disk", "check", disk)
    house("rm", "box")


def test_who_waits_for_room_can_be_killed_and_what_cannot_be_saved_is_refused(
    house: House, storage: Path, tmp_path: Path
) -> None:
    disk = storage / "disk.qcow2"
    house("disk", "create", disk, "32M")
    start(house, disk, tmp_path)
    house.wait_for_state("box", "paused")
    assert house.refuses("snapshot", "create", "box").endswith(": No space left on device\n")
    assert house.inspect("box")["state"] == "paused"
    give_room(storage, 64 * MIB)
    house("snapshot", "create", "box", "waiting")
    house("fork", "box", "other")
    house("kill", "box")
    # The write is made by who goes on from the snapshot.
    house("snapshot", "restore", "box", "waiting")
    house("resume", "box")
    # As does a fork, which nobody has paused.
    for name in ("box", "other"):
        house.wait_for_state(name, "exited")
        said = house("logs", name)
        assert "it is whole" in said
        assert "I/O error" not in said
    house("rm", "box", "other")


async def asked(house: House, *commands: str) -> list[Any]:
    client = QMPClient("test")
    await client.connect(str(house.inspect("box")["control_socket"]))
    try:
        return [await client.execute(command) for command in commands]
    finally:
        await client.disconnect()


def told(house: House) -> list[dict[str, object]]:
    return [json.loads(line) for line in house("events", "--no-follow", "--json").splitlines()]


def start(house: House, disk: Path, tmp_path: Path) -> None:
    package = "linux-image-cloud-amd64"
    image = tmp_path / "vmlinux"
    image.write_bytes(kernel.bootable(packages.file(package, "boot/vmlinuz-*").read_bytes()))
    wanted = ("kernel/drivers/virtio/virtio_pci.ko", "kernel/drivers/block/virtio_blk.ko")
    drivers = modules(package, "kernel/drivers/*virtio*", *wanted)
    places = {"dev/.keep": b"", "proc/.keep": b"", **drivers}
    initrd = busybox(tmp_path / "initrd", LOAD + WRITE, files=places)
    append = "console=ttyS0 panic=-1 quiet cryptomgr.notests"
    options = ("--initrd", str(initrd), "--disk", str(disk), "--append", append)
    house.start("box", image, "--memory", "256M", *options)
