"""docs/reference/benchmarks.md from what was measured."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benches import boot, disk, parallel
from benches.boot import Boot
from benches.commands import PEER, TCG
from benches.pair import Measured
from benches.parallel import Scaling
from benches.program import DISK_MIB, ROOT

PAGE: Final = ROOT / "docs" / "reference" / "benchmarks.md"
# How many times slower than the host the translator may be, and what the group is about.
TARGETS: Final = {
    "int": ("integer", 2.5),
    "app": ("Lua, SQLite, zlib", 3.0),
    "fp": ("floating point", 1.8),
    "simd": ("vectors of integers", 1.8),
    "crypto": ("OpenSSL", 2.0),
    "mem": ("memory", 3.0),
    "sys": ("system calls, processes, faults", 5.0),
    "jit": ("newly written code", 12.0),
    "insn": ("single instructions", None),
}
_ALL: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that was measured. Engines and peers are named as the page shall name them."""

    measures: Mapping[str, Measured]
    engines: Sequence[str]
    peers: Sequence[str]
    rounds: tuple[int, int]
    disk: Mapping[str, Mapping[str, float]]
    scaling: Mapping[str, Scaling]
    boots: Mapping[str, Sequence[Boot]]
    speeds: Mapping[str, int]


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first row is its head, and columns but the first are numbers."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, "| --- " + "| ---: " * (len(rows[0]) - 1) + "|", *body, ""]


def peer_ratio(measured: Measured, peers: Sequence[str]) -> float | None:
    """The better of the peer's processors."""
    found = [ratio for peer in peers if (ratio := measured.ratio(peer)) is not None]
    return min(found, default=None)


def _geometric_mean(values: Sequence[float | None]) -> float | None:
    # What is too short for the clock counts as a hundredth and not as nothing.
    logs = [math.log(max(value, 0.01)) for value in values if value is not None]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def groups(results: Results) -> list[str]:
    heads = ["group", "measures", "target", *results.engines]
    rows = [[*heads, TCG] if results.peers else heads]
    of_group: dict[str, list[Measured]] = {}
    for name, measured in results.measures.items():
        of_group.setdefault(name.partition(".")[0], []).append(measured)
    for group, (what, target) in TARGETS.items():
        if group in of_group:
            rows.append(_group_row(f"{group}: {what}", target, of_group[group], results))
    if len(of_group) == len(TARGETS):
        rows.append(_group_row("all", _ALL, list(results.measures.values()), results))
    return table(rows)


def _group_row(
    title: str, target: float | None, measures: Sequence[Measured], results: Results
) -> list[str]:
    ratios = [[it.ratio(engine) for it in measures] for engine in results.engines]
    if results.peers:
        ratios.append([peer_ratio(it, results.peers) for it in measures])
    means = [_number(_geometric_mean(each)) for each in ratios]
    return [title, str(len(measures)), "-" if target is None else f"{target:g}", *means]


def each(results: Results) -> list[str]:
    heads = ["measure", "host, ns"]
    for engine in results.engines:
        heads += [f"{engine}, ns", "times the host"]
    rows = [[*heads, f"{TCG}, times the host"] if results.peers else heads]
    for name, measured in results.measures.items():
        row = [name, _number(measured.host_ns())]
        for engine in results.engines:
            row += [_number(measured.ns(engine)), _number(measured.ratio(engine))]
        if results.peers:
            row.append(_number(peer_ratio(measured, results.peers)))
        rows.append(row)
    return table(rows)


def _slower_than_peer(results: Results) -> str:
    engine, slower = results.engines[0], []
    for name, measured in results.measures.items():
        ours, theirs = measured.ratio(engine), peer_ratio(measured, results.peers)
        if ours is not None and theirs is not None and ours > theirs:
            slower.append(f"{name} ({ours / theirs:.1f} times)")
    if not slower:
        return f"Nothing is slower under the {engine} than under {TCG}."
    return f"Slower under the {engine} than under {TCG}: {', '.join(slower)}."


def _disks(results: Results) -> list[str]:
    guests = list(dict.fromkeys(guest for row in results.disk.values() for guest in row))
    rows = [["", "target", *guests]]
    for row, (title, target) in disk.ROWS.items():
        rates = [results.disk.get(row, {}).get(guest) for guest in guests]
        cells = ["-" if rate is None else f"{rate:.0f}" for rate in rates]
        rows.append([title, "-" if target is None else str(target), *cells])
    return [
        "## virtio-blk",
        "",
        f"A raw file of {DISK_MIB} MiB in the host's page cache, read past the guest's (O_DIRECT).",
        "By the clock: a busy machine shows here.",
        "",
        *table(rows),
    ]


def _scalings(results: Results) -> list[str]:
    rows = [["", "by the clock", "by processor time"]]
    for name, scaling in results.scaling.items():
        rows.append([name, f"{scaling.clock:.2f}", f"{scaling.processor:.2f}"])
    return [
        "## Two vCPUs",
        "",
        "Two threads of a guest with two vCPUs, beside one thread in the same guest; target",
        f"{parallel.TARGET}. This machine has {os.cpu_count()} processors, which it shares with",
        "others: by the clock the host's own figure is the most that a guest can reach. Processor",
        "time, twice the work of a second with two threads over that with one, leaves out what",
        "others take.",
        "",
        *table(rows),
    ]


def _boots(results: Results) -> list[str]:
    rows = [["", "processor seconds, all", "seconds to init", "peak memory, MiB"]]
    for name, boots in results.boots.items():
        took = boot.median(boots)
        memory = f"{took.peak_memory / 2**20:.0f}"
        rows.append([name, f"{took.processor:.2f}", f"{took.to_init:.2f}", memory])
    speeds = ", ".join(f"{name} {speed}" for name, speed in results.speeds.items())
    return [
        "## Debian's kernel from start to its init and power-off",
        "",
        f"One vCPU, {boot.MEMORY_MIB} MiB, the image's own kernel, {boot.RUNS} interleaved runs of",
        f"each; target {boot.TARGET} processor seconds. The process of `inn` itself is in it.",
        "",
        *table(rows),
        "## Speed",
        "",
        "An integer loop with memory traffic in 64-bit mode, best of five runs, in millions of",
        f"guest instructions a second: {speeds}.",
        "",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def page(results: Results) -> str:
    day = datetime.now(UTC).date().isoformat()
    ours, theirs = results.rounds
    lines = [
        "# Benchmarks",
        "",
        f"Made by `make bench` on {day}, on {os.cpu_count()} processors of {_processor()}.",
        "",
        "Each measure is one static program (benches/guest), run on the host and in a guest in",
        f"turn, {ours} rounds; a figure is corrected by the share of a processor that was really",
        "had, and compared with the host's of the same round. What counts is how many times slower",
        "than the host it is; means are geometric.",
        "",
    ]
    if results.peers:
        lines[-2] += f" {TCG} ({theirs} round) is the better of"
        lines[-1:] = [f"`-cpu {'` and `-cpu '.join(results.peers)}` for each measure.", ""]
    else:
        lines += [f"{PEER} is not installed here, so there is no peer in the tables.", ""]
    if results.measures:
        lines += ["## Times slower than the host", "", *groups(results)]
        if results.peers:
            lines += [_slower_than_peer(results), ""]
    lines += _disks(results) if results.disk else []
    lines += _scalings(results) if results.scaling else []
    lines += _boots(results) if results.boots else []
    if results.measures:
        lines += ["## Each measure", "", *each(results)]
    return "\n".join(lines)
