"""`inn network`: networks that guests share."""

from dataclasses import asdict
from typing import Annotated

import typer

from innkeeper.cli import network_rule, plug
from innkeeper.cli.columns import ago, columns
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.names import for_each
from innkeeper.cli.output import print_json, remark
from innkeeper.services import networks
from innkeeper.services.networks import ListedNetwork

app = typer.Typer(
    cls=Group, help="Networks that guests share, and guests' cards.", no_args_is_help=True
)
app.add_typer(network_rule.app, name="rule")


app.command("attach", cls=Command)(plug.attach_network)
app.command("detach", cls=Command)(plug.detach_network)


def complete_network(incomplete: str) -> list[str]:
    return [name for name in networks.names() if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(help="As in inn network ls.", autocompletion=complete_network)]


@app.command(cls=Command)
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, dashes.")],
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Its guests reach each other and nothing else.")
    ] = False,
    host: Annotated[
        bool, typer.Option("--host", help="Its guests may use the host's own services.")
    ] = False,
    bridge: Annotated[
        bool,
        typer.Option("--bridge", help="On a bridge of the host, which needs CAP_NET_ADMIN."),
    ] = False,
) -> None:
    """Make a network, for inn run --network NAME."""
    made = networks.create(name, reach_host=host, isolated=isolated, bridge=bridge)
    print(made.name)


@app.command("ls", cls=Command)
def list_networks(as_json: AsJson = False) -> None:
    """List the networks and who is in them."""
    found = networks.listed()
    if as_json:
        print_json([_document(listed) for listed in found])
        return
    if not found:
        remark("there is no network yet; inn network create NAME makes one")
        return
    rows = [_row(listed) for listed in found]
    print("\n".join(columns(("NAME", "REACHES", "CREATED", "GUESTS"), rows)))


@app.command(cls=Command)
def inspect(
    name: Name,
    _as_json: Annotated[bool, typer.Option("--json", help="As without it.")] = False,
) -> None:
    """Print all that is known about a network, as JSON."""
    print_json(_document(networks.find(name)))


@app.command(cls=Command)
def rm(
    names: Annotated[
        list[str],
        typer.Argument(
            help="As in inn network ls.", metavar="NAME…", autocompletion=complete_network
        ),
    ],
) -> int:
    """Remove networks that no guest is in."""
    return for_each(names, networks.remove)


def _row(listed: ListedNetwork) -> tuple[str, ...]:
    network = listed.network
    reaches = ["itself"] if network.isolated else ["itself", "the world"]
    if network.reach_host:
        reaches.append("the host")
    present = [member.name for member in listed.members if member.present]
    made = f"{ago(network.created)} ago"
    return network.name, ", ".join(reaches), made, ", ".join(present) or "-"


def _bridge(listed: ListedNetwork) -> dict[str, str] | None:
    bridge = listed.network.bridge
    if bridge is None or listed.interface is None:
        return None
    return {
        "interface": listed.interface,
        "gateway": str(bridge.ipv4 + 2),
        "ipv4": f"{bridge.ipv4}/24",
        "ipv6": f"{bridge.ipv6}/64",
    }


def _document(listed: ListedNetwork) -> dict[str, object]:
    return {
        **asdict(listed.network),
        "bridge": _bridge(listed),
        "directory": listed.directory,
        "members": [asdict(member) for member in listed.members],
    }
