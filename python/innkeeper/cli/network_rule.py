"""`inn network rule`: what may come to a guest by its network, and leave it."""

from typing import Annotated

import typer

from innkeeper.cli.columns import columns
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.names import Name
from innkeeper.cli.output import print_json
from innkeeper.errors import InvalidInput
from innkeeper.machine.firewall import Action, FirewallSpec, written
from innkeeper.services import rules
from innkeeper.services.rules import Defaults

app = typer.Typer(
    cls=Group,
    help="What may come to a guest by its network, and leave it.",
    no_args_is_help=True,
)


@app.command(cls=Command)
def add(
    name: Name,
    rule: Annotated[
        list[str],
        typer.Argument(
            metavar="RULE…",
            help="in|out accept|drop|reject, then tcp|udp|icmp, from|to ADDRESS, port PORT.",
        ),
    ],
    at: Annotated[
        int | None, typer.Option(metavar="N", help="Before rule N; behind all without.")
    ] = None,
) -> None:
    """Add a rule, at once where the guest runs. The first rule that fits decides.

    [dim]inn network rule add web in accept tcp from 192.0.2.0/24 port 22[/dim]
    """
    rules.add(name, " ".join(rule), at)


@app.command("ls", cls=Command)
def list_rules(name: Name, as_json: AsJson = False) -> None:
    """List a guest's rules in their order, and what holds where none fits."""
    firewall = rules.find(name)
    if as_json:
        print_json(written(firewall))
        return
    print("\n".join(columns(("N", "RULE"), _rows(firewall))))


@app.command(cls=Command)
def rm(
    name: Name,
    rule: Annotated[
        list[str] | None,
        typer.Argument(metavar="N|RULE…", help="Its number in inn network rule ls, or the rule."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All rules.")] = False,
) -> None:
    """Remove a rule, at once where the guest runs."""
    if everything == bool(rule):
        raise InvalidInput("say which rule: its number, the rule as it is written, or --all")
    if everything:
        rules.clear(name)
    else:
        rules.remove(name, " ".join(rule or ()))


@app.command(cls=Command)
def default(
    name: Name,
    into: Annotated[Action | None, typer.Option("--in", help="Of what comes in.")] = None,
    out: Annotated[Action | None, typer.Option("--out", help="Of what goes out.")] = None,
) -> None:
    """Say what holds where no rule fits.

    [dim]inn network rule default web --in drop[/dim]
    """
    if into is None and out is None:
        raise InvalidInput("say what holds: --in, --out, or both")
    rules.set_defaults(name, Defaults(into=into, out=out))


def _rows(firewall: FirewallSpec) -> list[tuple[str, str]]:
    rows = [(str(number), str(rule)) for number, rule in enumerate(firewall.rules, 1)]
    return [*rows, ("-", f"in {firewall.into}"), ("-", f"out {firewall.out}")]
