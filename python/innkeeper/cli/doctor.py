"""`inn doctor`: what this host can do, in plain words."""

from dataclasses import asdict

from innkeeper.cli.flags import AsJson
from innkeeper.cli.output import print_json, print_table, table, wide_console
from innkeeper.services import host


def doctor(as_json: AsJson = False) -> int:
    """Measure this host and say which engine runs guests here, and why."""
    diagnosis = host.diagnose()
    if as_json:
        print_json(asdict(diagnosis))
        return 0 if diagnosis.healthy else 1
    rows = table("ENGINE", "STATE", "SPEED", "WHY")
    for engine in diagnosis.engines:
        speed = "" if engine.speed is None else f"{engine.speed / 1e6:,.1f} M/s"
        rows.add_row(engine.name, _state(engine), speed, engine.reason)
    print_table(rows)
    print()
    console = wide_console()
    for check in diagnosis.checks:
        mark = "[green]good[/green]" if check.good else "[red]bad [/red]"
        console.print(f"{mark}  {check.name}: {check.finding}", highlight=False, soft_wrap=True)
    return 0 if diagnosis.healthy else 1


def _state(engine: host.EngineFinding) -> str:
    if engine.chosen:
        return "runs guests here"
    return "when asked for" if engine.usable else "not there"
