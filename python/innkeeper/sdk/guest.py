"""`Guest`: an operating system of one's own for the length of a `with` block."""

import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from innkeeper.errors import GuestNotRunning, InnkeeperError, InvalidInput
from innkeeper.guest import arguments
from innkeeper.guest.agent import Agent
from innkeeper.guest.commands import CommandFailed, CommandResult, Commands
from innkeeper.guest.connection import AGENT_PORT
from innkeeper.guest.warm import Start
from innkeeper.images import (
    Image,
    ImageBoot,
    Store,
    check,
    ensure,
    machine_spec,
    surroundings_of,
)
from innkeeper.machine import DiskSpec, EngineChoice, MachineSpec, parse_size
from innkeeper.sdk.attached import AttachedGuest
from innkeeper.sdk.own_devices import OwnDevices
from innkeeper.vm.boot_log import BootLog
from innkeeper.vm.nursery import Nursery
from innkeeper.vm.process import GuestProcess
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.warm import WarmStart
from innkeeper.vm.wiring import Channel, Wiring

if TYPE_CHECKING:
    from innkeeper.sdk.forking import Forks

__all__ = ["AttachedGuest", "CommandFailed", "CommandResult", "Guest"]


class Guest(Commands, OwnDevices):
    """A guest made from an image, in a process of its own; gone when the block ends.

        with Guest("debian", memory="512M") as guest:
            print(guest.run(["uname", "-a"]).stdout)

    The image may be a container's, such as oci:DIRECTORY:TAG.
    `memory` is written as on the command line: 512M, 2G. The image is built when it is missing,
    which takes about half a minute. `network` and `ports` are written as there, too: user,
    user,host, none, and 8080:80; so are `rules`, as in accept tcp port 22, and `firewall`, as
    in=drop; `volumes` as ./src:/src:ro, and limits as 150%, 50M or 1000iops.
    With `tpm`, it has a TPM 2.0, for which the host needs swtpm.
    What the guest writes is thrown away. One like which another has booted begins as that was then,
    unless it is to be `cold`. With `times`, `stats` tells where the time goes.
    Without `jail`, the guest's process keeps all rights that it has: see SECURITY.md.

    Raises InvalidInput when an argument is nothing that it can be, and on entering the block:
        InvalidInput, EngineUnavailable, ImageBuildFailed, HostFailure: it cannot be started.
        GuestNotRunning: it ended before it could be used; the text has its last words.
        TimeoutError: it was not ready after `boot_timeout` seconds.
    """

    def __init__(
        self,
        image: str = "debian",
        *,
        memory: str = "512M",
        cpus: int = 1,
        engine: EngineChoice | str = EngineChoice.AUTO,
        disks: Sequence[DiskSpec] = (),
        devices: Sequence[str] = (),
        network: str = "user",
        ports: Sequence[str] = (),
        rules: Sequence[str] = (),
        firewall: str = "",
        volumes: Sequence[str] = (),
        tpm: bool = False,
        cpu_limit: str | None = None,
        disk_limit: str | None = None,
        network_limit: str | None = None,
        name: str = "guest",
        boot_timeout: float | None = 300.0,
        times: bool = False,
        jail: bool = True,
        cold: bool = False,
    ) -> None:
        super().__init__()
        self._cold = bool(cold)
        self._image = arguments.text(image, "the image's name")
        self._jail = bool(jail)
        self._boot_timeout = arguments.seconds(boot_timeout, "boot_timeout")
        self._boot = ImageBoot(
            name=arguments.text(name, "the guest's name"),
            vcpus=arguments.count(cpus, "the number of CPUs"),
            memory=parse_size(arguments.text(memory, "memory, such as 512M,")),
            engine=arguments.choice(EngineChoice, engine, "the engine"),
            disks=arguments.disks(disks),
            devices=arguments.texts(devices, "devices"),
            limits=arguments.limits(cpu_limit, disk_limit, network_limit),
            network=arguments.network(network, ports, rules, firewall),
            folders=arguments.folders(volumes),
            tpm=bool(tpm),
            times=bool(times),
        )
        self._process: GuestProcess | None = None
        self._log: BootLog | None = None
        self._begun: Start | None = None
        # What runs, while it does, and what was written before over its image's disk.
        self._runs: tuple[Image, MachineSpec] | None = None
        self._layers: tuple[Path, ...] = ()

    def __enter__(self) -> Self:
        if self._process is not None:
            raise InvalidInput("this guest is running already")
        check(self._boot)
        image = ensure(Store(), self._image, lambda _step, _share: None)
        self._surroundings = surroundings_of(image)
        try:
            self._start(image)
        except GuestNotRunning as error:
            raise self._explained(error) from error
        except BaseException:
            self.close()
            raise
        return self

    @property
    def name(self) -> str:
        """What it is called, and its host name."""
        return self._boot.name

    @property
    def console_log(self) -> str:
        """The last 256 KiB that the guest's kernel printed."""
        return self._log.text if self._log else ""

    @staticmethod
    def attach(name: str, *, boot_timeout: float | None = 300.0) -> AttachedGuest:
        """A guest that runs already: see inn run --detach. For a `with` block, too, which leaves it
        running.
        """
        return AttachedGuest(name, boot_timeout=boot_timeout)

    def stats(self) -> GuestStatistics:
        """What the guest's engine did so far. Its processors stop for it, for a moment.

        Raises:
            GuestNotRunning: when the guest has ended.
        """
        found = self._process.statistics() if self._process is not None else None
        if found is None:
            raise GuestNotRunning("the guest is not running")
        return found

    def fork(self, count: int = 1, *, names: Sequence[str] = ()) -> "Forks":
        """Running copies of this guest, each a guest of its own; this one goes on.

            with guest.fork(3) as forks:
                print([fork.run(["hostname"]).stdout for fork in forks])

        They have the files and the programs that the guest has now, and share its memory until they
        write. Their names, NAME-1 and so on or `names`, machine IDs and network addresses are their
        own; published ports stay the guest's. What was started through the guest does not go on in
        them. They end with the block, or one by one by `close`.

        Raises:
            InvalidInput: for a number that cannot be, or a guest with disks that it writes to
                beside its image's, or whose disks or network cards came or went while it ran.
            GuestNotRunning: when it does not run.
            HostFailure: when it cannot be saved, or the host has no room.
            TimeoutError: when a copy does not answer.
        """
        from innkeeper.sdk import forking

        if self._runs is None:
            raise GuestNotRunning("the guest is not running")
        image, spec = self._runs
        wanted = forking.check(
            self.name,
            arguments.count(count, "the number of forks"),
            arguments.texts(names, "names"),
            spec,
        )
        return forking.Forks(self, image, spec, wanted)

    def close(self) -> None:
        """Ends the guest at once, as pulling its plug would. Harmless when it has ended."""
        if self._begun is not None:
            self._begun.__exit__(None, None, None)
        if self._process is not None:
            self._process.close()
        if self._agent is not None:
            self._agent.close()
        self._process = self._agent = self._begun = self._runs = None

    def _start(self, image: Image) -> None:
        spec = machine_spec(image, self._boot)
        start = Start(None if self._cold else image, spec, self._boot.name)
        self._begun = start.__enter__()
        self._log = BootLog(before=start.console)
        self._connect(spec, self._log, start.warm)
        assert self._agent is not None
        assert self._process is not None
        start.ready(self._agent, self._process, self._log, self._boot_timeout)
        self._running(image, spec, start.layers)

    def _running(self, image: Image, spec: MachineSpec, layers: tuple[Path, ...]) -> None:
        self._runs, self._layers = (image, spec), layers

    def _is(self) -> MachineSpec | None:
        return None if self._runs is None else self._runs[1]

    def _becomes(self, spec: MachineSpec) -> None:
        if self._runs is not None:
            self._runs = (self._runs[0], spec)
        if spec.network is not None and self._boot.network is not None:
            # Of its forks as well.
            rules = replace(self._boot.network, firewall=spec.network.firewall)
            self._boot = replace(self._boot, network=rules)

    def _connect(
        self,
        spec: MachineSpec,
        log: BootLog,
        warm: WarmStart | None,
        *,
        others: bool = False,
        nursery: Nursery | None = None,
    ) -> None:
        """Starts the guest's process, in a `nursery` or by itself, with a connection to its agent,
        to which `others` may have spoken.
        """
        ours, theirs = socket.socketpair()
        self._agent = Agent(ours, others=others)
        port = Channel(input=theirs.fileno(), output=theirs.fileno())
        wiring = Wiring(
            com1=Channel(output=log.write_end),
            console=Channel(),
            ports=((AGENT_PORT, port),),
        )
        with theirs:
            try:
                self._process = GuestProcess(
                    spec, wiring, jail=self._jail, warm=warm, nursery=nursery
                )
            finally:
                log.close_writer()

    def _explained(self, error: GuestNotRunning) -> InnkeeperError:
        """Why a guest ended before it was ready: its process knows, or its console."""
        assert self._process is not None
        try:
            kind, _, _ = self._process.wait(timeout=5)
        except InnkeeperError as known:
            return known
        except TimeoutError:
            kind = None
        finally:
            self.close()
        words = "\n".join(self._log.last_words()) if self._log else ""
        return GuestNotRunning(f"{error} ({kind}); its last words:\n{words}")
