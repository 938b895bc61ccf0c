"""`inn host`: what the host has, what it has promised, and which other hosts it trusts."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from innkeeper.cli.columns import columns
from innkeeper.cli.flags import AsJson
from innkeeper.cli.help import Command, Group
from innkeeper.cli.output import print_json, remark
from innkeeper.errors import InvalidInput
from innkeeper.machine.limits import format_cpu_limit
from innkeeper.machine.size import format_size
from innkeeper.services import admission, merging
from innkeeper.services.admission import Claim, HostShares
from innkeeper.services.migration import identity, receiving, serving

_TITLES = ("GUEST", "CPUS", "LIMIT", "SHARES", "ON", "MEMORY", "PROMISED")


app = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    help="Show the host's processors and memory, and what its running guests were given of them; "
    "and whom it exchanges guests with.",
)


@app.callback()
def host(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the host's processors and memory, and what its running guests were given of them."""
    if ctx.invoked_subcommand is not None:
        return
    found = admission.look()
    if as_json:
        sums = {"promised": found.promised, "granted": found.granted, "vcpus": found.vcpus}
        merged = merging.look()
        print_json({**asdict(found), **sums, "merging": merged and asdict(merged)})
        return
    print("\n".join(_summary(found)))
    if found.claims:
        print()
        print("\n".join(columns(_TITLES, [_row(claim) for claim in found.claims])))


def _summary(found: HostShares) -> list[str]:
    return [
        f"processors  {found.cpus}; guests have {found.vcpus}{_over(found.vcpus, found.cpus)}",
        f"memory      {format_size(found.memory)}, {format_size(found.available)} available; "
        f"guests have {format_size(found.granted)}{_over(found.granted, found.memory)}",
        f"promised    {format_size(found.promised)} of {format_size(found.promisable)} that can be"
        f"{_to_others(found.others)}",
        *_merged(found),
    ]


def _to_others(promised: int) -> str:
    return f"; {format_size(promised)} to guests of others" if promised else ""


def _merged(found: HostShares) -> list[str]:
    """Where somebody wants it."""
    state = merging.look()
    if state is None or not (state.saved or any(claim.merges_memory for claim in found.claims)):
        return []
    off = "" if state.on else "; the kernel does not look now: /sys/kernel/mm/ksm/run is not 1"
    return [f"merged      {format_size(state.saved)} saved by {format_size(state.shared)}{off}"]


def _over(given: int, there: int) -> str:
    return f", {given / there:.2g} times as many" if given > there else ""


def _row(claim: Claim) -> tuple[str, ...]:
    return (
        claim.name,
        str(claim.cpus),
        "-" if claim.cpu_limit is None else format_cpu_limit(claim.cpu_limit),
        "-" if claim.cpu_shares is None else str(claim.cpu_shares),
        ",".join(map(str, claim.cpuset)) or "-",
        format_size(claim.memory),
        format_size(claim.memory_min) if claim.memory_min else "-",
    )


def complete_host(incomplete: str) -> list[str]:
    return [host.name for host in identity.trusted() if host.name.startswith(incomplete)]


@app.command("identity", cls=Command)
def show_identity(
    fingerprint: Annotated[
        bool, typer.Option("--fingerprint", help="Only what people compare.")
    ] = False,
) -> None:
    """Print this host's certificate, for another host to trust; it is made when it is not there."""
    found = identity.certificate()
    mine = identity.Trusted(name="this", certificate=found)
    print(mine.fingerprint if fingerprint else found, end="\n" if fingerprint else "")


@app.command(cls=Command)
def trust(
    name: Annotated[str, typer.Argument(help="What the host is called from now on.")],
    certificate: Annotated[
        Path | None,
        typer.Argument(help="What inn host identity prints there; else standard input."),
    ] = None,
    address: Annotated[
        str, typer.Option(help="Where its inn host serve answers: HOST or HOST:PORT.")
    ] = "",
) -> None:
    """Trust another host: it may send guests here, and get guests from here.

    A host that is trusted may start guests of any kind here.
    """
    try:
        pem = sys.stdin.read() if certificate is None else certificate.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the certificate {certificate}: {error}") from error
    print(identity.trust(name, pem, address).fingerprint)


@app.command(cls=Command)
def untrust(
    name: Annotated[
        str, typer.Argument(help="As in inn host trusted.", autocompletion=complete_host)
    ],
) -> None:
    """Trust a host no more."""
    identity.distrust(name)


@app.command(cls=Command)
def trusted(as_json: AsJson = False) -> None:
    """List the hosts that are trusted."""
    found = identity.trusted()
    if as_json:
        print_json(
            [
                {"name": it.name, "address": it.address or None, "fingerprint": it.fingerprint}
                for it in found
            ]
        )
        return
    if not found:
        remark("no host is trusted; inn host trust adds one")
        return
    rows = [(it.name, it.address or "-", it.fingerprint) for it in found]
    print("\n".join(columns(("HOST", "ADDRESS", "FINGERPRINT"), rows)))


@app.command(cls=Command)
def serve(
    listen: Annotated[
        str, typer.Option(help="Where to answer: ADDRESS or ADDRESS:PORT.", metavar="ADDRESS")
    ] = f"0.0.0.0:{identity.PORT}",
    shared: Annotated[
        list[Path] | None,
        typer.Option(
            help="A directory in which disks of guests that come may lie; may be given again.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Let guests of hosts that are trusted come here, until Ctrl-C."""
    places = receiving.check_shared(shared or [])

    def ready(port: int) -> None:
        print(f"guests may come by port {port}", flush=True)

    serving.serve(listen, places, remark, ready=ready)
