"""A guest's network: TCP both ways between a guest and its host, and how long an answer takes.

    python -m benches.network [--rounds N] [--seconds N] [--engine NAME]

The programs are iperf3 and ping of Debian's packages: iperf3 on the host as well, in the guest both
by its own network. Beside each figure stands what the host's loopback gave in the same round.
"""

import argparse
import json
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from innkeeper import Guest

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
    print(f"{'':42} {'guest':>8} {'host':>8}")
    for name, (ours, host) in found.items():
        beside = f"{statistics.median(host):8.1f}" if host else f"{'-':>8}"
        print(f"{name:42} {statistics.median(ours):8.1f} {beside}")
    if statistics.median(found["guest to host, Gbit/s"][0]) < TARGET:
        raise SystemExit(f"below the target of {TARGET} Gbit/s")


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
