"""Discs and floppy disks that are changed while their guest runs."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError, QMPClient
from tests.boot import initrd, packages
from tests.boot.test_firmware import seabios
from tests.conftest import PATIENCE
from tests.run.house import House, wait

LINUX = "linux-image-amd64"
# Those of ATA, SCSI and of CD-ROM drives.
AMONG = "kernel/drivers/[acs][tdc]*"
DRIVERS = (
    "kernel/drivers/ata/ata_piix.ko*",
    "kernel/drivers/scsi/sr_mod.ko*",
)
# Tells of each disc that comes, and holds some for a while, as a program that reads them does.
WATCH = """\
busybox mount -t devtmpfs none /dev
busybox mount -t sysfs none /sys
echo 500 > /sys/module/block/parameters/events_dfl_poll_msecs
before=
while true; do
    disc=$(busybox head -c 4 /dev/sr0 2>/dev/null)
    if [ "$disc" != "$before" ]; then
        echo "now ${disc:-nothing}"
        before=$disc
        if [ "$disc" = hold ]; then
            exec 9</dev/sr0
            echo held
            busybox sleep 20
            exec 9<&-
        fi
    fi
    busybox sleep 0.2
done
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path / "home")
    yield found
    if names := found("ps", "-aq").split():
        found("rm", "-f", *names)


def image(directory: Path, name: str, length: int = 1 << 20) -> Path:
    path = directory / name
    path.write_bytes(name.encode().ljust(length, b"."))
    return path


def drives(house: House, guest: str) -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(house("media", "ls", guest, "--json"))
    return {drive["id"]: drive for drive in found}


def read(house: House, guest: str) -> dict[str, int]:
    """How many bytes the guest has read of what lies in its drives."""
    (found,) = json.loads(house("stats", "--json", guest))
    return {disk["id"]: disk["read"]["bytes"] for disk in found["traffic"]["disks"]}


def files(house: House, guest: str) -> dict[str, str | None]:
    return {name: drive["file"] for name, drive in drives(house, guest).items()}


def test_media_are_changed_in_a_guest_that_runs_and_in_one_that_does_not(
    house: House, tmp_path: Path
) -> None:
    one, two = image(tmp_path, "one.iso"), image(tmp_path, "two.iso")
    disk, large = image(tmp_path, "disk.img", 1440 << 10), image(tmp_path, "large.img", 8 << 20)
    own = ("--firmware", seabios(), "--cdrom", one, "--floppy", disk, "--boot", "cd,floppy")
    house("create", "--name", "box", "--memory", "64M", "--network", "none", *own)
    assert files(house, "box") == {"cd0": str(one), "floppy0": str(disk)}
    house("media", "eject", "box", "floppy0")
    house("start", "box")
    assert files(house, "box") == {"cd0": str(one), "floppy0": None}
    # Two lies where the guest's process, which is locked in, does not see it.
    house("media", "change", "box", "cd0", two)
    house("media", "insert", "box", "floppy0", disk)
    assert files(house, "box") == {"cd0": str(two), "floppy0": str(disk)}
    for words, sentence in (
        (("insert", "box", "cd0", one), "is in cd0"),
        (("change", "box", "cd0", tmp_path), "is no image"),
        (("eject", "box", "cd1"), "has no drive 'cd1'"),
    ):
        assert sentence in house.refuses("media", *words, status=1 if "cd1" in words else 2)
    assert "no medium for the drive floppy0" in house.refuses(
        "media", "change", "box", "floppy0", large
    )
    assert files(house, "box") == {"cd0": str(two), "floppy0": str(disk)}
    asyncio.run(by_qmp(house, two))
    assert drives(house, "box")["cd0"]["open"]
    house("media", "insert", "box", "cd0", one)
    # The next run has what was put in.
    house("kill", "box")
    house.wait_for_state("box", "exited")
    house("start", "box")
    assert files(house, "box") == {"cd0": str(one), "floppy0": str(disk)}
    # Firmware looks at both for something to boot.
    wait(lambda: read(house, "box"), lambda found: found["cd0"] > 0 and found["floppy0"] >= 512)
    house("snapshot", "create", "box", "before")
    house("media", "change", "box", "cd0", two)
    house("media", "eject", "box", "floppy0")
    house("snapshot", "restore", "box", "before")
    assert files(house, "box") == {"cd0": str(one), "floppy0": str(disk)}
    house("media", "eject", "box")
    assert files(house, "box")["cd0"] is None


async def by_qmp(house: House, disc: Path) -> None:
    """A tray that is opened, closed, and emptied as libvirt does it."""
    qmp = QMPClient("box")
    await qmp.connect(f"{house.home}/guests/box/run/control")
    try:
        moves = []
        with qmp.listener("DEVICE_TRAY_MOVED") as trays:
            await qmp.execute("blockdev-open-tray", {"id": "cd0"})
            await qmp.execute("blockdev-close-tray", {"id": "cd0"})
            with pytest.raises(ExecuteError, match="is not open"):
                await qmp.execute("blockdev-remove-medium", {"id": "cd0"})
            blocks = {one["device"]: one for one in await qmp.execute("query-block")}
            assert blocks["cd0"]["inserted"]["file"] == str(disc)
            assert blocks["cd0"]["tray_open"] is False
            await qmp.execute("eject", {"id": "cd0"})
            async with asyncio.timeout(PATIENCE):
                for _ in range(3):
                    event = await trays.get()
                    moves.append((event["data"]["device"], event["data"]["tray-open"]))
        assert moves == [("cd0", True), ("cd0", False), ("cd0", True)]
        blocks = {one["device"]: one for one in await qmp.execute("query-block")}
        assert "inserted" not in blocks["cd0"]
    finally:
        await qmp.disconnect()


@pytest.mark.long_guest(reason="UEFI and Linux, to see from inside what is seen by registers")
def test_linux_sees_discs_come_and_holds_one(house: House, tmp_path: Path) -> None:
    discs = {name: image(tmp_path, name) for name in ("one.", "two.", "hold")}
    own = initrd.busybox(
        tmp_path / "initrd",
        initrd.LOAD + WATCH,
        files={
            **initrd.modules(LINUX, AMONG, *DRIVERS),
            "dev/.keep": b"",
            "sys/.keep": b"",
        },
    )
    house(
        "run",
        *("--detach", "--name", "box", "--memory", "512M", "--network", "none"),
        *("--engine", "translator"),
        *("--firmware", packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")),
        *("--kernel", packages.file(LINUX, "boot/vmlinuz-*"), "--initrd", own),
        *("--append", "console=ttyS0 quiet", "--cdrom", discs["one."]),
    )

    def says(words: str) -> None:
        wait(lambda: house("logs", "box"), lambda log: words in log)

    says("now one.")
    house("media", "change", "box", "cd0", discs["two."])
    says("now two.")
    house("media", "eject", "box")
    says("now nothing")
    house("media", "insert", "box", "cd0", discs["hold"])
    says("held")
    assert drives(house, "box")["cd0"]["locked"]
    assert "has not let go" in house.refuses("media", "eject", "box", "--timeout", "0.5s")
    # It lets go in its own time, and is waited for; or not.
    house("media", "change", "box", "cd0", discs["one."])
    wait(lambda: house("logs", "box").count("now one."), lambda count: count == 2)
    house("media", "change", "box", "cd0", discs["hold"])
    wait(lambda: house("logs", "box").count("held"), lambda count: count == 2)
    house("media", "eject", "box", "--force")
    wait(lambda: house("logs", "box").count("now nothing"), lambda count: count == 2)
