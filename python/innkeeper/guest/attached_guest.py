"""`AttachedGuest`: a guest that runs already and goes on when nobody looks."""

import socket
from typing import Self

from innkeeper.errors import GuestNotRunning
from innkeeper.guest import arguments
from innkeeper.guest.agent import Agent
from innkeeper.guest.attached import connect, surroundings
from innkeeper.guest.commands import Commands
from innkeeper.vm import answers, vsock
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached import standing
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry
from innkeeper.vm.detached.supervisor import vsock_path
from innkeeper.vm.qmp.client import Client
from innkeeper.vm.statistics import GuestStatistics


class AttachedGuest(Commands):
    """A guest that was started with `inn run --detach` or `inn start`, by its name.

        with Guest.attach("web") as guest:
            print(guest.run(["uptime"]).stdout)

    Leaving the block ends what was run through it, and leaves the guest as it is.

    Raises on entering the block:
        InvalidInput, GuestNotFound, GuestNotRunning: there is none to attach to.
        TimeoutError: it was not ready after `boot_timeout` seconds.
    """

    def __init__(self, name: str, *, boot_timeout: float | None = 300.0) -> None:
        super().__init__()
        self._wanted = arguments.text(name, "the guest's name")
        self._boot_timeout = arguments.seconds(boot_timeout, "boot_timeout")
        self._home: Home | None = None

    def __enter__(self) -> Self:
        with registry().open(self._wanted) as home:
            # Of our own, since this one is closed; it follows the guest when that is renamed.
            self._home = Home.open(home.path)
            self._surroundings = surroundings(home)
        try:
            self._agent = Agent(connect(self._home, files.AGENT))
            self._agent.wait_ready(self._boot_timeout)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def name(self) -> str:
        """As it is called now."""
        return self._directory().name

    @property
    def state(self) -> str:
        """As `inn ps` has it: running, paused, exited…"""
        return standing.look(self._directory()).state

    def stats(self) -> GuestStatistics:
        """What the guest's engine did so far. Its processors stop for it, for a moment.

        Raises:
            GuestNotRunning: when the guest has ended.
            HostFailure: when its process answers nonsense.
        """
        found = answers.statistics(self._execute("x-query-statistics"))
        assert found is not None
        return found

    def pause(self) -> None:
        """Lets the guest stand still until `resume`."""
        self._execute("stop")

    def resume(self) -> None:
        self._execute("cont")

    def power_off(self) -> None:
        """Asks the guest to power off; it does so in its own time."""
        self._execute("system_powerdown")

    def connect(self, port: int, *, timeout: float | None = 30.0) -> socket.socket:
        """A connection to `port` of the guest's vsock, once a program there has accepted.

        Raises:
            GuestNotRunning: when the guest does not run.
            ConnectionRefusedError: when nobody accepts at that port, or it has no vsock.
            TimeoutError: when it says nothing in `timeout` seconds: it may have no driver.
        """
        home = self._directory()
        path = vsock_path(home, home.read(files.ORDER) or {})
        if path is None:
            raise GuestNotRunning(f"the guest {home.name!r} has no vsock")
        try:
            limit = arguments.seconds(timeout, "timeout")
            return vsock.connect(path, arguments.count(port, "the port"), limit)
        except FileNotFoundError as error:
            raise GuestNotRunning(f"the guest {home.name!r} is not running") from error

    def close(self) -> None:
        """Lets go of the guest."""
        if self._agent is not None:
            self._agent.close()
        if self._home is not None:
            self._home.close()
        self._agent = self._home = None

    def _execute(self, command: str) -> object:
        with Client(self._directory()) as client:
            return client.execute(command)

    def _directory(self) -> Home:
        if self._home is None:
            raise GuestNotRunning("nothing is attached to this guest")
        return self._home
