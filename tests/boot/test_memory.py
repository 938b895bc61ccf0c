"""A Debian guest's memory returns to the host; memory and processors come and go while it runs."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from qemu.qmp import ExecuteError, QMPClient
from tests.conftest import PATIENCE
from tests.run.house import House, wait

_MIB = 1 << 20


@pytest.fixture(scope="module")
def box(house: House) -> str:
    """A guest that all tests share which leave it as it is."""
    house(
        "run",
        "--detach",
        "--name",
        "box",
        "--memory",
        "512M",
        "--max-memory",
        "1G",
        "--cpus",
        "1",
        "--max-cpus",
        "3",
        "debian",
    )
    # An image that was built before there were balloons does not load it.
    house("exec", "box", "modprobe", "-a", "virtio_balloon", "virtio_mem")
    return "box"


class Talk:
    """A session at the guest's control socket, by the client that QEMU's project publishes."""

    def __init__(self, house: House, name: str) -> None:
        self._path = str(house.inspect(name)["control_socket"])
        self._client = QMPClient("test")

    async def __aenter__(self) -> QMPClient:
        await self._client.connect(self._path)
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.disconnect()


async def _until(
    qmp: QMPClient, command: str, good: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while not good(found := await qmp.execute(command)):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
    return dict(found)


def test_memory_that_is_freed_returns_to_the_host(house: House, box: str) -> None:
    async def talk() -> None:
        async with Talk(house, box) as qmp:
            house("exec", box, "dd", "if=/dev/zero", "of=/dev/shm/fill", "bs=1M", "count=200")
            filled = (await qmp.execute("x-query-memory"))["resident"]
            assert filled > 200 * _MIB
            house("exec", box, "rm", "/dev/shm/fill")
            # What is left over in pieces of less than 2 MiB stays with the guest: how much that is
            # depends on what else it does meanwhile.
            await _until(qmp, "x-query-memory", lambda one: one["resident"] < filled - 150 * _MIB)

    asyncio.run(talk())
    # Nothing that the guest has was lost.
    assert house("exec", box, "sh", "-c", "sha256sum /bin/* | wc -l").strip() != "0"


def test_the_balloon_takes_memory_and_gives_it_again(house: House, box: str) -> None:
    async def talk() -> None:
        async with Talk(house, box) as qmp:
            assert await qmp.execute("query-balloon") == {"actual": 512 * _MIB}
            summary = await qmp.execute("query-memory-size-summary")
            assert summary["base-memory"] == 512 * _MIB
            with qmp.listener(("BALLOON_CHANGE",)) as events:
                for wanted in (256 * _MIB, 512 * _MIB):
                    await qmp.execute("balloon", {"value": wanted})
                    await _until(
                        qmp, "query-balloon", lambda one, wanted=wanted: one["actual"] == wanted
                    )
                    last = 0
                    async with asyncio.timeout(PATIENCE):
                        while last != wanted:
                            last = (await events.get())["data"]["actual"]
                    free = house("exec", box, "sed", "-n", "s/MemFree: *//p", "/proc/meminfo")
                    assert (int(free.split()[0]) << 10 < 256 * _MIB) is (wanted == 256 * _MIB)
            with pytest.raises(ExecuteError, match="expects a size"):
                await qmp.execute("balloon", {"value": 5})

    asyncio.run(talk())


def test_statistics_tell_what_the_guest_uses_and_gave_back(house: House, box: str) -> None:
    def look() -> dict[str, Any]:
        (found,) = json.loads(house("stats", box, "--json"))
        return dict(found)

    found = wait(look, lambda one: one["memory_used"] is not None)
    told = found["guest_memory"]["guest"]
    assert 0 < found["memory_used"] < told["total"] < 512 * _MIB
    assert 0 < told["free"] <= told["total"]
    assert found["memory_returned"] == found["guest_memory"]["returned"] > 0
    before = found["guest_memory"]["told"]
    wait(look, lambda one: one["guest_memory"]["told"] > before)
    assert "USES / RETURNED" in house("stats", box, "--no-stream")


def test_a_guest_grows_and_shrinks_while_it_runs(house: House, box: str) -> None:
    def total() -> int:
        return int(house("exec", box, "sed", "-n", "s/MemTotal: *//p", "/proc/meminfo").split()[0])

    before = total()

    async def talk() -> None:
        async with Talk(house, box) as qmp:
            with qmp.listener(("MEMORY_DEVICE_SIZE_CHANGE",)) as events:
                for size in (1024, 512):
                    house("set", box, "--memory", f"{size}M")
                    plugged = (size - 512) * _MIB
                    await _until(
                        qmp,
                        "query-memory-size-summary",
                        lambda one, plugged=plugged: one["plugged-memory"] == plugged,
                    )
                    (device,) = await qmp.execute("query-memory-devices")
                    assert device["data"]["size"] == device["data"]["requested-size"] == plugged
                    assert device["data"]["max-size"] == 512 * _MIB
                    last = -1
                    async with asyncio.timeout(PATIENCE):
                        while last != plugged:
                            last = (await events.get())["data"]["size"]
                    # In KiB; what Linux takes in is online once it is plugged.
                    wait(total, lambda kib, plugged=plugged: kib >= before + plugged // 1024 - 1024)

    asyncio.run(talk())
    assert total() == before
    house("set", box, "--memory", "300M")
    wait(lambda: _actual(house, box), lambda actual: actual == 300 * _MIB)
    house("set", box, "--memory", "512M")
    assert house.inspect(box)["memory"] == 512 * _MIB
    done = house.inn("set", box, "--memory", "2G")
    assert house.inspect(box)["memory"] == 512 * _MIB
    assert (done.returncode, b"more than the 1 GiB that --max-memory" in done.stderr) == (2, True)


def _actual(house: House, name: str) -> int:
    async def ask() -> int:
        async with Talk(house, name) as qmp:
            return int((await qmp.execute("query-balloon"))["actual"])

    return asyncio.run(ask())


def test_processors_come_and_go_while_a_guest_runs(house: House, box: str) -> None:
    def online() -> str:
        return house("exec", box, "cat", "/sys/devices/system/cpu/online").strip()

    async def talk() -> None:
        async with Talk(house, box) as qmp:
            house("set", box, "--cpus", "3")
            wait(online, lambda found: found == "0-2")
            assert house("exec", box, "taskset", "-c", "2", "nproc") == "1\n"
            cpus = await qmp.execute("query-cpus-fast")
            assert [cpu["cpu-index"] for cpu in cpus] == [0, 1, 2]
            with qmp.listener(("DEVICE_DELETED",)) as events:
                house("set", box, "--cpus", "2")
                async with asyncio.timeout(PATIENCE):
                    event = await events.get()
            assert event["data"] == {"device": "cpu2", "path": "/machine/cpu[2]"}
            assert online() == "0-1"
            possible = await qmp.execute("query-hotpluggable-cpus")
            assert ["qom-path" in cpu for cpu in possible] == [True, True, False]
            with pytest.raises(ExecuteError, match="1 to 3 CPUs"):
                await qmp.execute("x-set-cpus", {"count": 4})

    asyncio.run(talk())
    assert house.inspect(box)["cpus"] == 2
    done = house.inn("set", box, "--cpus", "4")
    assert (done.returncode, b"more than the 3 that --max-cpus" in done.stderr) == (2, True)
    assert house.inspect(box)["cpus"] == 2
