"""`make bench-shares`: what guests get of the host, beside what they were given.

    python -m benches.shares

Two guests that never rest share one processor; their processor time is counted by the kernel, so a
busy host changes little. Writes docs/reference/shares.md.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import tiny

from innkeeper.images import Store, ensure

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "shares.md"
_INN: Final = Path(sys.executable).with_name("inn")
_SECONDS: Final = 10.0
_TICK: Final = os.sysconf("SC_CLK_TCK")
# Control groups are hidden from what is started so.
_WITHOUT_GROUPS: Final = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /sys/fs/cgroup && exec "$0" "$@"',
)
_WAYS: Final = {"control group": (), "the guest's own process": _WITHOUT_GROUPS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    what: str
    way: str
    given: str
    got: str


class Guests:
    """Started one way, in a home of their own."""

    def __init__(self, way: tuple[str, ...]) -> None:
        self._way = way
        self._names: list[str] = []

    def inn(self, *words: str) -> str:
        done = subprocess.run(
            [*self._way, _INN, *words], capture_output=True, text=True, check=True
        )
        return done.stdout

    def start(self, name: str, *words: str) -> int:
        """Its process."""
        self._names.append(name)
        self.inn("run", "--detach", "--name", name, *words)
        return int(json.loads(self.inn("inspect", name, "--json"))["pid"])

    def close(self) -> None:
        for name in self._names:
            subprocess.run([_INN, "rm", "--force", name], capture_output=True, check=False)


@contextmanager
def guests(way: tuple[str, ...]) -> Iterator[Guests]:
    made = Guests(way)
    try:
        yield made
    finally:
        made.close()


def main() -> None:
    ensure(Store(), "debian", lambda *_: None)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        loop = str(tiny.kernel(Path(directory) / "loop", tiny.LOOP))
        for name, way in _WAYS.items():
            rows += list(_limits(name, way, loop))
            rows += list(_weights(name, way, loop))
    rows += list(_disk())
    rows += list(_network())
    PAGE.write_text(_page(rows))
    print(PAGE.read_text())


def _limits(name: str, way: tuple[str, ...], loop: str) -> Iterator[Row]:
    for limit in ("50%", "20%", "5%"):
        with guests(way) as pair:
            held = pair.start("held", "--cpuset", "0", "--cpu-limit", limit, "--kernel", loop)
            pair.start("busy", "--cpuset", "0", "--kernel", loop)
            got = _used(held)[0]
        yield Row(
            what="limit beside a busy neighbour on the same processor",
            way=name,
            given=limit,
            got=f"{100 * got:.1f}%",
        )


def _weights(name: str, way: tuple[str, ...], loop: str) -> Iterator[Row]:
    with guests(way) as pair:
        light = pair.start("light", "--cpuset", "0", "--cpu-shares", "256", "--kernel", loop)
        heavy = pair.start("heavy", "--cpuset", "0", "--cpu-shares", "768", "--kernel", loop)
        lesser, greater = _used(light, heavy)
    yield Row(
        what="weights, both busy on the same processor",
        way=name,
        given="1 : 3",
        got=f"1 : {greater / lesser:.2f}",
    )


def _used(*pids: int) -> list[float]:
    """Of a processor, by each process."""
    time.sleep(0.5)
    began, before = time.monotonic(), [_seconds(pid) for pid in pids]
    time.sleep(_SECONDS)
    elapsed = time.monotonic() - began
    return [(_seconds(pid) - was) / elapsed for pid, was in zip(pids, before, strict=True)]


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _disk() -> Iterator[Row]:
    with guests(()) as one:
        one.start("reader", "debian")
        one.inn("wait", "--ready", "reader")
        for limit, block, count in (("10M", 1 << 20, 50), ("500iops", 4096, 2500)):
            one.inn("set", "reader", "--disk-limit", limit)
            command = f"dd if=/dev/vda of=/dev/null bs={block} count={count} iflag=direct"
            began = time.monotonic()
            one.inn("exec", "reader", "--", "sh", "-c", f"{command} 2>&1")
            passed = count / (time.monotonic() - began)
            got = f"{passed:.0f}iops" if block == 4096 else f"{passed * block / (1 << 20):.2f}M"
            yield Row(what="disk, reads", way="the device", given=limit, got=got)


def _network() -> Iterator[Row]:
    with socket.create_server(("127.0.0.1", 0)) as server, guests(()) as one:
        threading.Thread(target=_pour, args=(server,), daemon=True).start()
        one.start("loader", "--network", "user,host", "debian")
        one.inn("wait", "--ready", "loader")
        one.inn("set", "loader", "--network-limit", "10M")
        size = 50 << 20
        command = f"head -c {size} < /dev/tcp/10.0.2.2/{server.getsockname()[1]} | wc -c"
        began = time.monotonic()
        one.inn("exec", "loader", "--", "bash", "-c", command)
        got = size / (time.monotonic() - began) / (1 << 20)
        yield Row(what="network, to the guest", way="the device", given="10M", got=f"{got:.2f}M")


def _pour(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            while True:
                connection.sendall(bytes(1 << 16))
        except OSError:
            return


def _page(rows: list[Row]) -> str:
    table = "\n".join(f"| {row.what} | {row.way} | {row.given} | {row.got} |" for row in rows)
    return f"""# What guests get of the host

Made by `make bench-shares`, which needs root to hide control groups from the guests that shall do
without. Processor time is as the kernel counts it for {_SECONDS:.0f} seconds; a network's bytes are
those of TCP's payload. [How shares are given](../guides/shares-of-the-host.md).

| what | kept by | given | got |
| --- | --- | ---: | ---: |
{table}
"""


if __name__ == "__main__":
    main()
