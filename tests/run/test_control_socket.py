"""The control socket against the client that QEMU's project publishes, and against worse ones."""

import asyncio
import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from qemu.qmp import ExecuteError, QMPClient
from tests.conftest import PATIENCE
from tests.run.house import House


class Monitor:
    """A session of the client that QEMU's project publishes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.client = QMPClient("test")

    async def __aenter__(self) -> QMPClient:
        await self.client.connect(self.path)
        return self.client

    async def __aexit__(self, *_: object) -> None:
        # The guest may have ended first.
        with contextlib.suppress(EOFError):
            await self.client.disconnect()


def test_the_control_socket_speaks_qmp(house: House, tmp_path: Path, halting: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    found = house.start("a", halting, "--disk", f"{disk},ro", "--cpus", "2")

    async def talk() -> None:
        async with Monitor(found["control_socket"]) as qmp:
            assert qmp.greeting is not None
            status = await qmp.execute("query-status")
            assert status == {"running": True, "status": "running"}
            (block,) = await qmp.execute("query-block")
            assert block["inserted"] == {"file": str(disk), "ro": True, "drv": "raw"}
            (chardev,) = await qmp.execute("query-chardev")
            assert chardev["filename"] == f"unix:{found['console_socket']},server=on"
            assert (await qmp.execute("query-name")) == {"name": "a"}
            assert (await qmp.execute("query-uuid")) == {"UUID": found["id"]}
            version = await qmp.execute("query-version")
            assert version["package"].startswith("innkeeper ")
            cpus = await qmp.execute("query-cpus-fast")
            assert [cpu["cpu-index"] for cpu in cpus] == [0, 1]
            threads = {int(thread) for thread in os.listdir(f"/proc/{found['pid']}/task")}  # noqa: PTH208 - in a loop of asyncio
            assert {cpu["thread-id"] for cpu in cpus} < threads
            names = {command["name"] for command in await qmp.execute("query-commands")}
            schema = await qmp.execute("query-qmp-schema")
            assert names == {one["name"] for one in schema if one["meta-type"] == "command"}
            with pytest.raises(ExecuteError, match="has not been found"):
                await qmp.execute("migrate-incoming")
            with pytest.raises(ExecuteError, match="Parameter 'x' is unexpected"):
                await qmp.execute("stop", {"x": 1})
            assert (await qmp.execute("x-query-statistics"))["engine"] == found["engine"]

    asyncio.run(talk())


def test_qmp_events_reach_every_client(house: House, halting: Path) -> None:
    found = house.start("a", halting)
    path = found["control_socket"]

    async def talk() -> list[str]:
        async with Monitor(path) as acting, Monitor(path) as watching:
            with watching.listener() as listener:
                await acting.execute("stop")
                assert (await acting.execute("query-status"))["status"] == "paused"
                await acting.execute("stop")
                await acting.execute("cont")
                await acting.execute("system_reset")
                await acting.execute("system_powerdown")
                await acting.execute("quit")
                seen = []
                async with asyncio.timeout(PATIENCE):
                    while "SHUTDOWN" not in seen:
                        event = await listener.get()
                        seen.append(event["event"])
                assert event["data"] == {"guest": False, "reason": "host-qmp-quit"}
                return seen

    assert asyncio.run(talk()) == ["STOP", "RESUME", "RESET", "POWERDOWN", "SHUTDOWN"]
    house.wait_for_state("a", "exited")


def test_a_client_that_floods_or_sleeps_does_not_hurt(house: House, halting: Path) -> None:
    found = house.start("a", halting)
    with socket.socket(socket.AF_UNIX) as flood, socket.socket(socket.AF_UNIX) as sleeper:
        for each in (flood, sleeper):
            each.connect(found["control_socket"])
        sleeper.sendall(b'{"execute": "qmp_capabilities"}')
        with pytest.raises(ConnectionError):
            flood.sendall(b"[" * 100_000_000)
        for _ in range(20):
            house("pause", "a")
            house("resume", "a")
        # More than are let in at once; the others wait.
        asks = [socket.socket(socket.AF_UNIX) for _ in range(60)]
        for each in asks:
            each.connect(found["control_socket"])
        for each in asks:
            each.close()
        (stat,) = json.loads(house("stats", "a", "--json"))
        assert stat["statistics"] is not None
    assert house.states() == {"a": "running"}
