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
    cpus: Annotated[
        int | None, typer.Option(metavar="N", help="CPUs: up to --max-cpus where the guest runs.")
    ] = None,
    cpu_limit: options.CpuLimit = None,
    cpu_shares: options.CpuShares = None,
    cpuset: options.Cpuset = None,
    memory_min: options.MemoryMin = None,
    disk_limit: options.DiskLimit = None,
    network_limit: options.NetworkLimit = None,
) -> None:
    """Change a guest's share of its host, at once where it runs, and for its later runs.

    Memory and CPUs come and go as the guest takes them in and lets go of them.

    [dim]inn set web --cpu-limit 50% --disk-limit 20M,500iops[/dim]
    """
    given = (memory, cpus, cpu_limit, cpu_shares, cpuset, memory_min, disk_limit, network_limit)
    if all(option is None for option in given):
        raise InvalidInput("say what to change: inn set --help has what there is")

    def change(request: GuestRequest) -> GuestRequest:
        return replace(
            request,
            vcpus=request.vcpus if cpus is None else cpus,
            memory=request.memory if memory is None else parse_size(memory),
            limits=limits_of(cpu_limit, disk_limit, network_limit, request.limits),
            shares=shares_of(cpu_shares, cpuset, memory_min, request.shares),
        )

    guests.adjust(name, change)
