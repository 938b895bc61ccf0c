"""`make bench-network`: TCP both ways between a guest and its host, and how long an answer takes.

    python -m benches.network [--rounds N] [--seconds N] [--engine NAME]

The programs are iperf3 and ping of Debian's packages: iperf3 on the host as well, in the guest both
by its own network. Beside each figure stands what the host's loopback gave in the same round.
Writes docs/reference/network-measured.md.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benches.page import table
from innkeeper import Guest

PAGE: Final = Path(__file__).parents[1] / "docs" / "reference" / "network-measured.md"
TARGET: Final = 1.0  # Gbit/s
GATEWAY: Final = "10.0.2.2"
_PACKAGES: Final = "iperf3 iputils-ping"
_AVERAGE: Final = re.compile(r"= [\d.]+/([\d.]+)/")
# Measure, its unit, and what iperf3 is told for it.
_STREAMS: Final = {
    "guest to host, Gbit/s": [],
    "host to guest, Gbit/s": ["--reverse"],
    "guest to host, four connections, Gbit/s": ["--parallel", "4"],
    "host to guest, four connections, Gbit/s": ["--reverse", "--parallel", "4"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--engine", default="auto")
    wish = parser.parse_args()
    if shutil.which("iperf3") is None:
        raise SystemExit("iperf3 is not installed here")
    found: dict[str, tuple[list[float], list[float]]] = {}
    with Guest("debian", memory="1G", network="user,host", engine=wish.engine) as guest:
        install = f"apt-get update && apt-get install -y --no-install-recommends {_PACKAGES}"
        guest.run(["sh", "-c", f"({install}) </dev/null"], check=True)

        def in_guest(command: list[str]) -> str:
            return guest.run(command, check=True).stdout

        for _ in range(wish.rounds):
            for name, options in _STREAMS.items():
                ours, host = found.setdefault(name, ([], []))
                ours.append(_stream(in_guest, GATEWAY, options, wish.seconds))
                host.append(_stream(_on_host, "127.0.0.1", options, wish.seconds))
            ours, host = found.setdefault("answer to a ping, microseconds", ([], []))
            ours.append(_ping(in_guest))
            # Nothing that compares: the host's own ping never leaves its kernel.
    PAGE.write_text(_page(found, wish))
    print(PAGE.read_text())
    if statistics.median(found["guest to host, Gbit/s"][0]) < TARGET:
        raise SystemExit(f"below the target of {TARGET} Gbit/s")


def _page(found: dict[str, tuple[list[float], list[float]]], wish: argparse.Namespace) -> str:
    rows = [["", "guest", "host"]]
    for name, (ours, host) in found.items():
        beside = f"{statistics.median(host):.1f}" if host else "-"
        rows.append([name, f"{statistics.median(ours):.1f}", beside])
    engine = "" if wish.engine == "auto" else f" under `--engine {wish.engine}`"
    return f"""# How fast a guest's own network is

Made by `make bench-network`: a Debian with one processor{engine} and its user network, which needs
no privilege, speaks TCP with its host by iperf3, {wish.seconds} seconds at a time; medians of
{wish.rounds} rounds. Beside it stands what the host's loopback gave in the same round. Wanted from
guest to host is {TARGET:g} Gbit/s.
[How the network works](../guides/network.md).

{chr(10).join(table(rows))}"""


@contextmanager
def _server() -> Iterator[int]:
    """iperf3 on the host's loopback, for one measure; the port that it chose."""
    port = 5201 + 17
    command = ["iperf3", "--server", "--one-off", "--bind", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen([*command, "--forceflush"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    # Its banner; a client that comes before it is refused.
    next(line for line in server.stdout if "listening" in line)
    try:
        yield port
    finally:
        server.kill()
        server.wait()


def _stream(
    run: Callable[[list[str]], str], address: str, options: list[str], seconds: int
) -> float:
    with _server() as port:
        command = ["iperf3", "--json", "--client", address, "--port", str(port)]
        report = json.loads(run([*command, "--time", str(seconds), *options]))
    rate: float = report["end"]["sum_received"]["bits_per_second"]
    return rate / 1e9


def _ping(run: Callable[[list[str]], str]) -> float:
    found = _AVERAGE.search(run(["ping", "-q", "-c", "50", "-i", "0.02", GATEWAY]))
    if found is None:
        raise SystemExit("ping said nothing that is known")
    return float(found[1]) * 1000


def _on_host(command: list[str]) -> str:
    return subprocess.check_output(command, text=True)


if __name__ == "__main__":
    main()
