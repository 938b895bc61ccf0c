"""`inn create`: make a guest that is started later."""

from typing import Annotated

import typer

from innkeeper.cli import options
from innkeeper.cli.progress import build_progress
from innkeeper.cli.values import (
    folders_of,
    growth_of,
    limits_of,
    network_of,
    parse_disk,
    seed_of,
    shares_of,
)
from innkeeper.machine import (
    EngineChoice,
    Limits,
    SeedSpec,
    Shares,
    VsockSpec,
    parse_size,
    parse_vsock,
)
from innkeeper.services import lifecycle
from innkeeper.services.definition import RestartPolicy
from innkeeper.services.request import GuestRequest


def create(
    image: options.Image = None,
    command: options.GuestCommand = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The guest's name, and its host name.")
    ] = None,
    cpus: options.Cpus = 1,
    max_cpus: options.MaxCpus = None,
    memory: options.Memory = "512M",
    max_memory: options.MaxMemory = None,
    engine: options.Engine = EngineChoice.AUTO,
    cpu_model: options.CpuModel = "innkeeper-v1",
    disk: options.Disks = None,
    device: options.Devices = None,
    network: options.Network = "user",
    publish: options.Publish = None,
    volume: options.Folders = None,
    user_data: options.UserData = None,
    meta_data: options.MetaData = None,
    network_config: options.NetworkConfig = None,
    ssh_key: options.SshKeys = None,
    hostname: options.Hostname = "",
    cloud_init: options.CloudInit = False,
    vsock: options.Vsock = None,
    cpu_limit: options.CpuLimit = None,
    cpu_shares: options.CpuShares = None,
    cpuset: options.Cpuset = None,
    memory_min: options.MemoryMin = None,
    disk_limit: options.DiskLimit = None,
    network_limit: options.NetworkLimit = None,
    restart: options.Restart = RestartPolicy.NO,
    autostart: options.Autostart = False,
    jail: options.Jail = True,
    kernel: options.Kernel = None,
    initrd: options.Initrds = None,
    append: options.Append = "",
) -> None:
    """Make a guest without starting it; print its name.

    [dim]inn create --name web debian && inn start web[/dim]
    """
    request = GuestRequest(
        image=image,
        command=tuple(command or ()),
        kernel=kernel,
        initrds=tuple(initrd or ()),
        append=append,
        vcpus=cpus,
        memory=parse_size(memory),
        growth=growth_of(max_memory, max_cpus),
        engine=engine,
        cpu_model=cpu_model,
        disks=tuple(parse_disk(text) for text in disk or ()),
        devices=tuple(device or ()),
        network=network_of(network, publish or []),
        folders=folders_of(volume or []),
        seed=seed_of(
            SeedSpec(
                user_data=user_data,
                meta_data=meta_data,
                network_config=network_config,
                ssh_keys=tuple(ssh_key or ()),
                hostname=hostname,
            ),
            wanted=cloud_init,
        ),
        vsock=VsockSpec() if vsock is None else parse_vsock(vsock),
        name=name,
        jail=jail,
        limits=limits_of(cpu_limit, disk_limit, network_limit, Limits()),
        shares=shares_of(cpu_shares, cpuset, memory_min, Shares()),
    )
    with build_progress(image or "image") as report:
        print(lifecycle.create(request, report, restart=restart, autostart=autostart))
