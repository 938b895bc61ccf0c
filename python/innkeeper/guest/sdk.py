"""`Guest`: an operating system of one's own for the length of a `with` block."""

import socket
from collections.abc import Sequence
from typing import Self

from innkeeper.errors import GuestNotRunning, InnkeeperError, InvalidInput
from innkeeper.guest import arguments
from innkeeper.guest.agent import Agent
from innkeeper.guest.attached_guest import AttachedGuest
from innkeeper.guest.commands import CommandFailed, CommandResult, Commands
from innkeeper.guest.connection import AGENT_PORT
from innkeeper.images import (
    Image,
    ImageBoot,
    Store,
    check,
    ensure,
    machine_spec,
    surroundings_of,
)
from innkeeper.machine import DiskSpec, EngineChoice, parse_size
from innkeeper.vm.boot_log import BootLog
from innkeeper.vm.process import GuestProcess
from innkeeper.vm.statistics import GuestStatistics
from innkeeper.vm.wiring import Channel, Wiring

__all__ = ["AttachedGuest", "CommandFailed", "CommandResult", "Guest"]


class Guest(Commands):
    """A guest made from an image, in a process of its own; gone when the block ends.

        with Guest("debian", memory="512M") as guest:
            print(guest.run(["uname", "-a"]).stdout)

    The image may be a container's, such as oci:DIRECTORY:TAG.
    `memory` is written as on the command line: 512M, 2G. The image is built when it is missing,
    which takes about half a minute. `network` and `ports` are written as there, too: user,
    user,host, none, and 8080:80; so are `rules`, as in accept tcp port 22, and `firewall`, as
    in=drop; `volumes` as ./src:/src:ro, and limits as 150%, 50M or 1000iops.
    What the guest writes is thrown away. With `times`, `stats` tells where the time goes.
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
        cpu_limit: str | None = None,
        disk_limit: str | None = None,
        network_limit: str | None = None,
        name: str = "guest",
        boot_timeout: float | None = 300.0,
        times: bool = False,
        jail: bool = True,
    ) -> None:
        super().__init__()
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
            times=bool(times),
        )
        self._process: GuestProcess | None = None
        self._log: BootLog | None = None

    def __enter__(self) -> Self:
        if self._process is not None:
            raise InvalidInput("this guest is running already")
        check(self._boot)
        image = ensure(Store(), self._image, lambda _step, _share: None)
        self._surroundings = surroundings_of(image)
        try:
            self._start(image)
            self.agent.wait_ready(self._boot_timeout)
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

    def close(self) -> None:
        """Ends the guest at once, as pulling its plug would. Harmless when it has ended."""
        if self._process is not None:
            self._process.close()
        if self._agent is not None:
            self._agent.close()
        self._process = self._agent = None

    def _start(self, image: Image) -> None:
        spec = machine_spec(image, self._boot)
        ours, theirs = socket.socketpair()
        self._log = BootLog()
        self._agent = Agent(ours)
        port = Channel(input=theirs.fileno(), output=theirs.fileno())
        wiring = Wiring(com1=Channel(output=self._log.write_end), ports=((AGENT_PORT, port),))
        with theirs:
            try:
                fds = (theirs.fileno(), self._log.write_end)
                self._process = GuestProcess(spec, wiring, fds, jail=self._jail)
            finally:
                self._log.close_writer()

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
