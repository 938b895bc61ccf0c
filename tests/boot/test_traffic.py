"""What a guest's disks and network cards carry, as `inn stats` and the control socket tell it."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient
from tests.run.house import House, wait

_MIB = 1 << 20


@pytest.fixture(scope="module")
def box(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    disk = tmp_path_factory.mktemp("disk") / "more.img"
    with disk.open("wb") as file:
        file.truncate(64 * _MIB)
    words = ("--detach", "--name", "box", "--memory", "192M", "--disk", f"{disk},format=raw")
    house("run", *words, "debian")
    house("wait", "--ready", "box")
    yield "box"
    house("rm", "-f", "box")


def told(house: House, guest: str) -> dict[str, Any]:
    (found,) = json.loads(house("stats", "--json", guest))
    return dict(found)


def more(house: House, guest: str) -> dict[str, Any]:
    """The disk beside the image's."""
    return dict(told(house, guest)["traffic"]["disks"][1])


def test_a_disk_s_requests_are_counted(house: House, box: str) -> None:
    before = more(house, box)
    script = (
        "dd if=/dev/zero of=/dev/vdb bs=1M count=8 oflag=direct conv=fsync && "
        "dd if=/dev/vdb of=/dev/null bs=1M count=16 iflag=direct"
    )
    house("exec", box, "sh", "-c", script)
    after = more(house, box)
    assert after["id"] == "virtio1"
    moved = {kind: after[kind]["bytes"] - before[kind]["bytes"] for kind in ("read", "written")}
    assert 16 * _MIB <= moved["read"] < 20 * _MIB
    assert 8 * _MIB <= moved["written"] < 9 * _MIB
    assert after["flushed"]["requests"] > before["flushed"]["requests"]
    assert after["read"]["seconds"] > before["read"]["seconds"]
    assert after["read"]["failed"] == 0


def test_a_card_s_frames_are_counted(house: House, box: str) -> None:
    def card() -> dict[str, Any]:
        (found,) = told(house, box)["traffic"]["cards"]
        return dict(found)

    before = card()
    # Nobody is there, and somebody says so each time.
    script = "for n in 1 2 3 4 5; do (: </dev/tcp/10.0.2.2/1) 2>/dev/null; done; true"
    house("exec", box, "bash", "-c", script)
    after = card()
    assert after["id"] == "net0"
    for way in ("sent", "received"):
        assert after[way]["frames"] >= before[way]["frames"] + 3, way
        assert after[way]["bytes"] > before[way]["bytes"]


def test_what_goes_on_now_is_a_rate(house: House, box: str) -> None:
    assert told(house, box)["rates"]["read"] < _MIB
    script = "while :; do dd if=/dev/vdb of=/dev/null bs=1M count=32 iflag=direct; done"
    house("exec", box, "sh", "-c", f"({script}) >/dev/null 2>&1 & echo $! > /run/busy")
    busy = wait(lambda: told(house, box)["rates"], lambda rates: rates["read"] > 16 * _MIB)
    assert busy["requests"] > 16
    table = house("stats", "--no-stream", box).splitlines()
    assert "DISK READ / WRITTEN" in table[0]
    assert re.search(r"[MG]iB/s / \S+ \S+/s  \S+ \S+/s / \S+ \S+/s  \d+$", table[1])
    house("exec", box, "sh", "-c", "kill $(cat /run/busy)")


def test_a_client_of_qemu_s_reads_the_same(house: House, box: str) -> None:
    async def ask() -> list[dict[str, Any]]:
        qmp = QMPClient("test")
        await qmp.connect(str(Path(house.inspect(box)["directory"]) / "run" / "control"))
        try:
            found = await qmp.execute("query-blockstats")
        finally:
            await qmp.disconnect()
        assert isinstance(found, list)
        return found

    disks = asyncio.run(ask())
    assert [disk["device"] for disk in disks] == ["virtio0", "virtio1"]
    stats = disks[1]["stats"]
    assert stats["rd_bytes"] >= 16 * _MIB
    assert stats["rd_operations"] > 0
    assert stats["rd_total_time_ns"] > 0
    assert stats["failed_wr_operations"] == 0
    assert stats["wr_highest_offset"] == 8 * _MIB
