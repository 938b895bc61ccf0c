"""What a bridge needs of the host: the interface, its addresses, forwarding, and the firewall.

Everything is found by name and made when it is missing, so that a bridge that a restart of the host
took away is there again when its first guest is. Tap interfaces are not here: the kernel removes
them with the process that holds them, however that ends. What remains of such a guest, the ports
that it published, is forgotten when the rules are next written.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure
from innkeeper.machine.network import BridgeSpec, NetworkSpec
from innkeeper.vm.bridge.rules import Firewall, Published, removal, ruleset

# As guests know their gateway (crates/netio/src/user/plan.rs).
_MAC: Final = "02:69:6e:6e:00:02"
_ROUTER: Final = "fe80::2"
_SYSCTL: Final = Path("/proc/sys/net")
_PORTS: Final = "ports"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """`Published`, and what its file is."""

    version: int
    published: Published


def interface_name(directory: Path) -> str:
    """The bridge, and the table, of the network in `directory`."""
    return f"innb{_digest(str(directory))}"


def tap_name(directory: Path, guest: str) -> str:
    """The interface of a guest of that network. It exists while the guest is in it."""
    return f"innt{_digest(f'{directory} {guest}')}"


def exists(interface: str) -> bool:
    with contextlib.suppress(OSError):
        socket.if_nametoindex(interface)
        return True
    return False


def lay(network: NetworkSpec) -> None:
    """Makes the bridge of this network, where it is missing, and its firewall.

    Raises:
        HostFailure: when the host does not let us, or has not what that needs.
    """
    directory, _ = _parts(network)
    interface = interface_name(directory)
    with _locked(directory):
        if not exists(interface):
            try:
                _make(network, interface)
            except HostFailure:
                _remove_interface(interface)
                raise
        _write_rules(network, interface)
        if not network.isolated:
            _forward()


def lift(network: NetworkSpec) -> None:
    """Removes the bridge and its firewall.

    Raises:
        HostFailure: when the host does not let us.
    """
    directory, _ = _parts(network)
    interface = interface_name(directory)
    if exists(interface):
        _run(["ip", "link", "delete", interface])
    _run(["nft", "-f", "-"], removal(interface))


def publish(network: NetworkSpec, published: Published) -> None:
    """Has these ports of the host lead to a guest, whose tap interface is there.

    Raises:
        HostFailure: when a port is taken, or the host does not let us.
    """
    directory, _ = _parts(network)
    file = directory / _PORTS / published.guest
    document = stored.encode(_Document(version=1, published=published))
    with _locked(directory):
        for port in published.ports:
            _check_free(port.host_port, str(port.host), directory, published.guest)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(document) + "\n")
        _write_rules(network, interface_name(directory))


def tidy(network: NetworkSpec) -> None:
    """Forgets what guests published that are gone.

    Raises:
        HostFailure: when the host does not let us.
    """
    directory, _ = _parts(network)
    with _locked(directory):
        gone = [guest for guest in _published(directory) if not exists(guest.tap)]
        if gone and exists(interface_name(directory)):
            _write_rules(network, interface_name(directory))


def _write_rules(network: NetworkSpec, interface: str) -> None:
    """The rules for those who are there, and the files of nobody else."""
    directory, bridge = _parts(network)
    here = []
    for guest in _published(directory):
        if exists(guest.tap):
            here.append(guest)
        else:
            (directory / _PORTS / guest.guest).unlink(missing_ok=True)
    wall = Firewall(
        interface=interface,
        ipv4=f"{bridge.ipv4}/24",
        ipv6=f"{bridge.ipv6}/64",
        isolated=network.isolated,
        reach_host=network.reach_host,
    )
    _run(["nft", "-f", "-"], ruleset(wall, here))


def _published(directory: Path) -> Iterator[Published]:
    with contextlib.suppress(FileNotFoundError):
        for file in sorted((directory / _PORTS).iterdir()):
            with contextlib.suppress(ValueError, stored.Unreadable, FileNotFoundError):
                yield stored.decode(_Document, json.loads(file.read_text())).published


def _make(network: NetworkSpec, interface: str) -> None:
    _, bridge = _parts(network)
    gateway4, gateway6 = bridge.ipv4 + 2, bridge.ipv6 + 2
    commands = [
        f"link add name {interface} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set {interface} address {_MAC} addrgenmode none",
        f"address add {gateway4}/24 dev {interface}",
        f"address add {gateway6}/64 dev {interface} nodad",
        f"address add {_ROUTER}/64 dev {interface} nodad",
        f"link set {interface} up",
    ]
    _run(["ip", "-batch", "-"], "\n".join(commands) + "\n")
    with contextlib.suppress(OSError):
        # So that a port can be published on 127.0.0.1; the rules keep guests from it.
        (_SYSCTL / "ipv4/conf" / interface / "route_localnet").write_text("1")
        (_SYSCTL / "ipv6/conf" / interface / "accept_ra").write_text("0")


def _forward() -> None:
    """The host hands packets on. It shall go on to hear who its own router is."""
    with contextlib.suppress(OSError):
        _set(_SYSCTL / "ipv4/ip_forward", "1")
        if (_SYSCTL / "ipv6/conf/all/forwarding").read_text().strip() == "1":
            return
        for hears in (_SYSCTL / "ipv6/conf").glob("*/accept_ra"):
            if hears.read_text().strip() == "1":
                hears.write_text("2")
        _set(_SYSCTL / "ipv6/conf/all/forwarding", "1")


def _set(path: Path, value: str) -> None:
    if path.read_text().strip() != value:
        path.write_text(value)


def _check_free(port: int, address: str, directory: Path, guest: str) -> None:
    """A rule would take the port away from whoever listens there, without a word."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for other in _published(directory):
        taken = any(it.host_port == port for it in other.ports)
        if taken and other.guest != guest and exists(other.tap):
            raise HostFailure(f"cannot publish port {port} of {address}: {other.guest} has it")
    with socket.socket(family) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
        except OSError as error:
            raise HostFailure(
                f"cannot publish port {port} of {address}: {error.strerror}"
            ) from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One at a time, of all processes."""
    try:
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostFailure(f"cannot write to {directory}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _parts(network: NetworkSpec) -> tuple[Path, BridgeSpec]:
    assert network.directory is not None
    assert network.bridge is not None
    return network.directory, network.bridge


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _remove_interface(interface: str) -> None:
    with contextlib.suppress(HostFailure):
        if exists(interface):
            _run(["ip", "link", "delete", interface])


def _run(command: list[str], text: str = "") -> None:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        package = {"nft": "nftables", "ip": "iproute2"}[command[0]]
        raise HostFailure(
            f"a network on a bridge needs {command[0]}, which the package {package} has"
        ) from error
    if done.returncode == 0:
        return
    said = next((line for line in done.stderr.splitlines() if line.strip()), "it does not say why")
    if "not permitted" in said:
        raise HostFailure(
            "a network on a bridge needs the right to administer the host's network "
            "(CAP_NET_ADMIN); without --bridge it needs none"
        )
    if "not supported" in said or "Unknown device type" in said:
        raise HostFailure(f"this host's kernel has not what a bridge needs: {command[0]}: {said}")
    raise HostFailure(f"cannot set up the network's bridge: {command[0]}: {said}")
