"""`inn set`: change a guest's share of its host."""

from dataclasses import replace
from typing import Annotated

import typer

from innkeeper.cli import options
from innkeeper.cli.names import Name
from innkeeper.cli.values import limits_of, shares_of
from innkeeper.errors import InvalidInput
from innkeeper.machine import parse_size
from innkeeper.services import adjust as guests
from innkeeper.services.request import GuestRequest


def adjust(
    name: Name,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory: up to --max-memory where the guest runs."),
    ] = None,
    cpu_limit: options.CpuLimit = None,
    cpu_shares: options.CpuShares = None,
    cpuset: options.Cpuset = None,
    memory_min: options.MemoryMin = None,
    disk_limit: options.DiskLimit = None,
    network_limit: options.NetworkLimit = None,
) -> None:
    """Change a guest's share of its host, at once where it runs, and for its later runs.

    Memory comes and goes as the guest plugs it in and lets go of it.

    [dim]inn set web --cpu-limit 50% --disk-limit 20M,500iops[/dim]
    """
    given = (memory, cpu_limit, cpu_shares, cpuset, memory_min, disk_limit, network_limit)
    if all(option is None for option in given):
        raise InvalidInput("say what to change: inn set --help has what there is")

    def change(request: GuestRequest) -> GuestRequest:
        return replace(
            request,
            memory=request.memory if memory is None else parse_size(memory),
            limits=limits_of(cpu_limit, disk_limit, network_limit, request.limits),
            shares=shares_of(cpu_shares, cpuset, memory_min, request.shares),
        )

    guests.adjust(name, change)
