"""`inn doctor`: what this host can do, in plain words."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from innkeeper.services import host


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Measure this host and say which engine runs guests here, and why."""
    diagnosis = host.diagnose()
    if as_json:
        print(json.dumps(asdict(diagnosis), indent=2))
        return 0 if diagnosis.healthy else 1
    console = Console()
    table = Table("ENGINE", "", "SPEED", "WHY", box=None, pad_edge=False)
    for engine in diagnosis.engines:
        speed = "" if engine.speed is None else f"{engine.speed / 1e6:,.1f} M/s"
        verdict = "runs guests here" if engine.chosen else "usable" if engine.usable else "not used"
        table.add_row(engine.name, verdict, speed, engine.reason)
    console.print(table)
    console.print()
    for check in diagnosis.checks:
        mark = "[green]good[/green]" if check.good else "[red]bad [/red]"
        console.print(f"{mark}  {check.name}: {check.finding}", highlight=False, soft_wrap=True)
    return 0 if diagnosis.healthy else 1
