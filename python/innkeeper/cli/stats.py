"""`inn stats`: what guests take of the host, and what their engines do."""

import sys
import time
from dataclasses import asdict
from typing import Annotated

import typer

from innkeeper.cli.columns import columns
from innkeeper.cli.durations import parse_duration
from innkeeper.cli.flags import AsJson
from innkeeper.cli.names import complete_guest
from innkeeper.cli.output import print_json, remark
from innkeeper.machine.size import format_size
from innkeeper.services import usage
from innkeeper.services.usage import Usage

_TITLES = (
    "NAME",
    "CPU",
    "MEMORY / GUEST'S",
    "IT USES / RETURNED",
    "DISK READ / WRITTEN",
    "NETWORK IN / OUT",
    "PID",
)
# Seconds between the two samples that a share of the processor needs.
_SHORT = 0.5
_CLEAR = "\x1b[H\x1b[2J"


def stats(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="As in inn ps; without: all.", metavar="GUEST…", autocompletion=complete_guest
        ),
    ] = None,
    interval: Annotated[
        str, typer.Option(metavar="TIME", help="How long between two looks.")
    ] = "2s",
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Once, as where the output is no terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what running guests take of the host, again and again; [bold]Ctrl-C[/bold] leaves.

    With --json, once, and with what each guest's engine did: see docs/reference/statistics.md.
    """
    pause = parse_duration(interval)
    if as_json:
        print_json([_document(found) for found in _look_twice(names or [])])
    elif no_stream or not sys.stdout.isatty():
        found = _look_twice(names or [])
        if not found:
            remark("no guest is running")
        else:
            print("\n".join(_table(found)))
    else:
        _live(names or [], pause)


def _look_twice(names: list[str]) -> list[Usage]:
    before = usage.sample(names, {})
    if before:
        time.sleep(_SHORT)
    return usage.sample(names, {one.name: one for one in before})


def _live(names: list[str], pause: float) -> None:
    found = _look_twice(names)
    while True:
        sys.stdout.write(_CLEAR + "\n".join(_table(found)) + "\n")
        sys.stdout.flush()
        time.sleep(pause)
        found = usage.sample(names, {one.name: one for one in found})


def _table(found: list[Usage]) -> list[str]:
    return columns(_TITLES, [_row(one) for one in found])


def _row(one: Usage) -> tuple[str, ...]:
    return (
        one.name,
        f"{100 * one.cpu:.1f}%",
        f"{format_size(one.memory)} / {format_size(one.granted)}",
        f"{_size(one.used)} / {_size(one.returned)}",
        "-" if one.rates is None else _rates(one.rates.read, one.rates.written),
        "-" if one.rates is None else _rates(one.rates.received, one.rates.sent),
        str(one.pid),
    )


def _rates(*rates: float) -> str:
    return " / ".join(f"{format_size(round(rate))}/s" for rate in rates)


def _size(found: int | None) -> str:
    return "-" if found is None else format_size(found)


def _document(one: Usage) -> dict[str, object]:
    document: dict[str, object] = asdict(one)
    del document["taken"]
    document["memory_used"], document["memory_returned"] = one.used, one.returned
    document["cpu_percent"] = round(100 * one.cpu, 2)
    document["statistics"] = usage.engine(one.name)
    return document
