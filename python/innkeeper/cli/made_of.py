"""What a guest is made of: the options that `inn run` and `inn create` have in common."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from innkeeper.cli import options
from innkeeper.cli.values import (
    Media,
    firmware_of,
    folders_of,
    growth_of,
    limits_of,
    network_of,
    parse_disk,
    screen_of,
    seed_of,
    shares_of,
)
from innkeeper.machine import (
    EngineChoice,
    Limits,
    SeedSpec,
    Shares,
    UsbController,
    VsockSpec,
    parse_parallel,
    parse_size,
    parse_sound,
    parse_vsock,
)
from innkeeper.services.definition import RestartPolicy
from innkeeper.services.request import GuestRequest

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeOf:
    """Each as it was written; see `options`."""

    image: options.Image = None
    command: options.GuestCommand = None
    entrypoint: options.Entrypoint = None
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The guest's name, and its host name.")
    ] = None
    cpus: options.Cpus = 1
    max_cpus: options.MaxCpus = None
    memory: options.Memory = "512M"
    max_memory: options.MaxMemory = None
    engine: options.Engine = EngineChoice.AUTO
    cpu_model: options.CpuModel = "innkeeper-v1"
    disk: options.Disks = None
    device: options.Devices = None
    network: options.Network = "user"
    publish: options.Publish = None
    publish_all: options.PublishAll = False
    rule: options.Rules = None
    firewall_default: options.FirewallDefault = ""
    vsock: options.Vsock = None
    display: options.Display = "none"
    vnc: options.Vnc = None
    vnc_password: options.VncPassword = None
    vnc_tls: options.VncTls = False
    sound: options.Sound = "none"
    parallel: options.Parallel = "none"
    tpm: options.Tpm = False
    usb: options.Usb = False
    usb_controller: options.UsbControllers = None
    volume: options.Folders = None
    user_data: options.UserData = None
    meta_data: options.MetaData = None
    network_config: options.NetworkConfig = None
    ssh_key: options.SshKeys = None
    hostname: options.Hostname = ""
    cloud_init: options.CloudInit = False
    cpu_limit: options.CpuLimit = None
    cpu_shares: options.CpuShares = None
    cpuset: options.Cpuset = None
    memory_min: options.MemoryMin = None
    merge_memory: options.MergeMemory = False
    disk_limit: options.DiskLimit = None
    network_limit: options.NetworkLimit = None
    restart: options.Restart = RestartPolicy.NO
    autostart: options.Autostart = False
    jail: options.Jail = True
    kernel: options.Kernel = None
    firmware: options.Firmware = None
    boot: options.Boot = None
    cdrom: options.Cdrom = None
    floppy: options.Floppy = None
    firmware_variables: options.FirmwareVariables = None
    firmware_log: options.FirmwareLog = None
    initrd: options.Initrds = None
    append: options.Append = ""

    def request(self) -> GuestRequest:
        """
        Raises:
            InvalidInput: when something is nothing that it can be.
        """
        return GuestRequest(
            image=self.image,
            command=tuple(self.command or ()),
            entrypoint=self.entrypoint,
            publish_exposed=self.publish_all,
            kernel=self.kernel,
            firmware=firmware_of(
                self.firmware,
                Media(
                    boot=self.boot,
                    cdrom=self.cdrom,
                    floppy=self.floppy,
                    store=self.firmware_variables,
                    log=self.firmware_log,
                ),
            ),
            initrds=tuple(self.initrd or ()),
            append=self.append,
            vcpus=self.cpus,
            memory=parse_size(self.memory),
            growth=growth_of(self.max_memory, self.max_cpus),
            engine=self.engine,
            cpu_model=self.cpu_model,
            disks=tuple(parse_disk(text) for text in self.disk or ()),
            devices=tuple(self.device or ()),
            network=network_of(
                self.network, self.publish or [], self.rule or [], self.firewall_default
            ),
            folders=folders_of(self.volume or []),
            seed=seed_of(
                SeedSpec(
                    user_data=self.user_data,
                    meta_data=self.meta_data,
                    network_config=self.network_config,
                    ssh_keys=tuple(self.ssh_key or ()),
                    hostname=self.hostname,
                ),
                wanted=self.cloud_init,
            ),
            screen=screen_of(self.display, self.vnc, self.vnc_password, tls=self.vnc_tls),
            sound=parse_sound(self.sound),
            parallel=parse_parallel(self.parallel),
            tpm=self.tpm,
            usb=self.usb or self.usb_controller is not None,
            usb_controller=self.usb_controller or UsbController.XHCI,
            vsock=VsockSpec() if self.vsock is None else parse_vsock(self.vsock),
            name=self.name,
            jail=self.jail,
            limits=limits_of(self.cpu_limit, self.disk_limit, self.network_limit, Limits()),
            shares=shares_of(self.cpu_shares, self.cpuset, self.memory_min, Shares()),
            merges_memory=self.merge_memory,
        )


def with_guest(command: Callable[..., Result]) -> Callable[..., Result]:
    """`command`, which takes a `MadeOf` first, with each of its fields as an option of its own.

    Typer reads options from the parameters of a function.
    """
    hints = get_type_hints(MadeOf, include_extras=True)
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(MadeOf)
    ]
    _, *own = inspect.signature(command).parameters.values()
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]

    @functools.wraps(command)
    def called(**given: Any) -> Result:  # noqa: ANN401 - whatever the options are
        made = MadeOf(**{parameter.name: given.pop(parameter.name) for parameter in shared})
        return command(made, **given)

    parameters = [*shared, *own]
    del called.__wrapped__
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called
