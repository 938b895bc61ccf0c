"""Guests in a loop; and what docs/guides/python.md shows."""

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.conftest import PATIENCE

from innkeeper import AsyncGuest, CommandFailed, Guest
from innkeeper.errors import CommandNotStarted
from innkeeper.images import Image

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "python.md"


def test_several_guests_and_commands_at_a_time(debian: Image) -> None:
    async def work(name: str) -> list[str]:
        async with AsyncGuest(debian.name, name=name, memory="256M", network="none") as guest:
            found = await asyncio.gather(
                *(guest.run(["sh", "-c", f"hostname; echo {number}"]) for number in range(5))
            )
            with pytest.raises(CommandNotStarted):
                await guest.run(["no-such-program"])
            with pytest.raises(CommandFailed):
                await guest.run(["false"], check=True)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await guest.run(["sleep", "1000"])
            # What was killed for it is gone.
            while (await guest.run(["pgrep", "sleep"])).returncode == 0:
                pass
            return [result.stdout for result in found]

    async def both() -> list[list[str]]:
        return await asyncio.gather(work("a"), work("b"))

    wanted = [[f"{name}\n{number}\n" for number in range(5)] for name in "ab"]
    assert asyncio.run(both()) == wanted


def test_a_boot_that_is_cancelled_leaves_no_process(debian: Image) -> None:
    async def begin() -> None:
        async with asyncio.timeout(0.05), AsyncGuest(debian.name):
            raise AssertionError("no guest boots as fast as that")

    # Children would be ours; those of a thread that is just ending become so a little later.
    thread = Path("/proc/thread-self").readlink().name

    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{thread}/children").read_text().split())

    # Tests before this one may have left some that stay for a while.
    before = children()
    with pytest.raises(TimeoutError):
        asyncio.run(begin())
    until = time.monotonic() + PATIENCE
    while left := children() - before:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def test_a_stream_of_megabytes_goes_both_ways(debian: Image) -> None:
    data = bytes(range(256)) * 4096 * 4

    async def act() -> bytes:
        async with AsyncGuest(debian.name) as guest, await guest.start(["cat"]) as cat:
            writing = asyncio.ensure_future(cat.write(data))
            writing.add_done_callback(lambda _: asyncio.ensure_future(cat.end_input()))
            return b"".join([piece async for piece in cat.stdout])

    assert asyncio.run(act()) == data


def test_a_stream_without_a_loop(debian: Image) -> None:
    with Guest(debian.name) as guest:
        with guest.start(["sh", "-c", "read x; echo got $x; sleep 1000"]) as process:
            process.write("this\n")
            assert next(process.stdout.lines()) == "got this"
        assert process.wait(PATIENCE) == 137
        with guest.start(["tty"], terminal=(90, 30)) as process:
            assert list(process.stdout.lines()) == ["/dev/pts/0"]


@pytest.mark.parametrize("number", range(5))
def test_the_guides_programs_run(debian: Image, tmp_path: Path, number: int) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    program = tmp_path / "program.py"
    program.write_text(blocks[number])
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (wanted,) = re.findall(r"^# prints (.*)", blocks[number], re.MULTILINE)
    assert wanted in done.stdout


def test_a_guest_is_forked_where_it_is(debian: Image) -> None:
    async def of(guest: AsyncGuest) -> list[str]:
        done = await guest.run(["sh", "-c", "hostname; cat /run/note"], check=True)
        return done.stdout.split()

    async def work() -> None:
        async with AsyncGuest("debian", memory="192M", network="none", name="one") as guest:
            await guest.run(["sh", "-c", "echo here > /run/note"], check=True)
            async with await guest.start(["sleep", "1000"]) as sleep, guest.fork(2) as forks:
                found = await asyncio.gather(*map(of, forks), of(guest))
                assert found == [["one-1", "here"], ["one-2", "here"], ["one", "here"]]
                # What its parent had begun ended in the fork, and goes on in the parent.
                gone = await forks[0].run(
                    ["sh", "-c", "! grep -l [s]leep.1000 /proc/[0-9]*/cmdline"]
                )
                assert (gone.returncode, sleep.returncode) == (0, None)
                await forks[1].run(["sh", "-c", "echo other > /run/note"], check=True)
                assert (await of(guest))[1] == "here"

    asyncio.run(work())
