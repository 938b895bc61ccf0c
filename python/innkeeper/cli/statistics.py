"""A guest's statistics on standard error, since its console has standard output."""

import json
import sys
from typing import TYPE_CHECKING

from innkeeper.cli.output import remark, table
from innkeeper.machine import format_size
from innkeeper.vm.statistics import GuestStatistics

if TYPE_CHECKING:
    from rich.table import Table

# Handlers and reasons for exits are shown down to the so many most frequent.
_MOST = 12


def print_json(statistics: GuestStatistics) -> None:
    print(json.dumps(statistics.as_dict()), file=sys.stderr)


def print_tables(statistics: GuestStatistics) -> None:
    from rich.console import Console

    remark(f"the guest ran on the engine {statistics.engine}: {statistics.reason}")
    console = Console(stderr=True) if sys.stderr.isatty() else Console(stderr=True, width=120)
    for rows in (
        _times(statistics),
        _translation(statistics),
        _exits(statistics),
        _handlers(statistics),
    ):
        if rows.row_count:
            console.print()
            console.print(rows)


def _times(statistics: GuestStatistics) -> "Table":
    rows = _numbers("WHERE THE TIME WENT", "SECONDS", "SHARE")
    total = sum(statistics.seconds.values())
    for place, seconds in statistics.seconds.items():
        rows.add_row(place, f"{seconds:.3f}", f"{100 * seconds / total:.1f}%")
    return rows


def _translation(statistics: GuestStatistics) -> "Table":
    rows = _numbers("ENGINE", "COUNT")
    for name, count in statistics.counters.items():
        if not count:
            continue
        if name.startswith("bytes of "):
            rows.add_row(name.removeprefix("bytes of "), format_size(count))
        else:
            rows.add_row(name, f"{count:,}")
    first = statistics.counters.get("first-level TLB misses", 0)
    if first:
        second = statistics.counters.get("second-level TLB misses", 0)
        rows.add_row("found in the second level", f"{100 - 100 * second / first:.1f}%")
    return rows


def _exits(statistics: GuestStatistics) -> "Table":
    rows = _numbers("EXITS", "COUNT")
    for reason, count in list(statistics.exits.items())[:_MOST]:
        rows.add_row(reason, f"{count:,}")
    return rows


def _handlers(statistics: GuestStatistics) -> "Table":
    rows = _numbers("HANDLERS CALLED", "UNTRANSLATED", "STOOD IN")
    for calls in statistics.handlers[:_MOST]:
        rows.add_row(calls.mnemonic, f"{calls.untranslated:,}", f"{calls.stood_in:,}")
    return rows


def _numbers(what: str, *columns: str) -> "Table":
    rows = table(what)
    for column in columns:
        rows.add_column(column, justify="right")
    return rows
