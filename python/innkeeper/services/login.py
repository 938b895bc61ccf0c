"""The way into guests by SSH: a port of the host's loopback, and the command line that uses it."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from innkeeper.errors import GuestNotRunning, HostFailure, InvalidInput
from innkeeper.machine import MachineSpec, NetworkKind, PortSpec
from innkeeper.services.seeds import KEY
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home
from innkeeper.vm.detached.registry import registry

_KNOWN_HOSTS: Final = "ssh_known_hosts"
_SSH_PORT: Final = 22
_LOOPBACK: Final = IPv4Address("127.0.0.1")


def reachable(spec: MachineSpec) -> MachineSpec:
    """`spec` with a port of the host's loopback that leads to the guest's SSH."""
    network = spec.network
    if network is None or network.kind not in (NetworkKind.USER, NetworkKind.SHARED):
        return spec
    if any(port.guest_port == _SSH_PORT for port in network.ports):
        return spec
    port = PortSpec(host=_LOOPBACK, host_port=_free_port(), guest_port=_SSH_PORT)
    return replace(spec, network=replace(network, ports=(*network.ports, port)))


def ssh(name: str, user: str, command: Sequence[str], patience: float) -> list[str]:
    """The command line that logs into the guest, once it lets itself be talked to.

    Raises:
        GuestNotFound; GuestNotRunning: when it does not run, or does not answer in `patience`
            seconds.
        InvalidInput: when nothing leads to its port 22.
        HostFailure: when the host has no ssh.
    """
    program = shutil.which("ssh")
    if program is None:
        raise HostFailure("this host has no ssh; Debian's package is openssh-client")
    with registry().open(name) as home:
        if not home.is_taken():
            raise GuestNotRunning(f"the guest {name!r} is not running")
        address, port = _published(home)
        _wait_for_ssh(name, address, port, time.monotonic() + patience)
        place = Path(home.path)
    options = [
        *("-p", str(port), "-l", user),
        *("-o", f"HostKeyAlias={name}"),
        *("-o", f"UserKnownHostsFile={_quoted(place / _KNOWN_HOSTS)}"),
        *("-o", "StrictHostKeyChecking=accept-new"),
        *("-o", "LogLevel=ERROR"),
    ]
    if (place / KEY).exists():
        options += ["-i", str(place / KEY)]
    return [program, *options, address, *(["--", *command] if command else [])]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((str(_LOOPBACK), 0))
        return int(probe.getsockname()[1])


def _published(home: Home) -> tuple[str, int]:
    """Where the guest's port 22 is on this host."""
    order: dict[str, Any] = home.read(files.ORDER) or {}
    network = (order.get("spec") or {}).get("network") or {}
    for port in network.get("ports") or []:
        if port.get("guest_port") == _SSH_PORT and port.get("protocol") == "tcp":
            host = str(port["host"])
            everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
            return everywhere.get(host, host), int(port["host_port"])
    raise InvalidInput(
        f"nothing leads to port 22 of the guest {home.name!r}: publish it with -p 127.0.0.1:2222:22"
    )


def _wait_for_ssh(name: str, address: str, port: int, until: float) -> None:
    """Until somebody greets there as SSH does: the port is there before the guest has booted."""
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise GuestNotRunning(f"no SSH server answers in the guest {name!r} yet")
        with (
            contextlib.suppress(OSError),
            socket.create_connection((address, port), timeout=left) as probe,
        ):
            probe.settimeout(left)
            if probe.recv(4).startswith(b"SSH"):
                return
        time.sleep(min(0.2, max(0.0, until - time.monotonic())))


def _quoted(path: Path) -> str:
    """As a value in ssh's configuration, where a space would begin another file."""
    return f'"{path}"' if " " in os.fspath(path) else str(path)
