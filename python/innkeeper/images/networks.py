"""Networks that guests of one user share, kept beside the images.

    HOME/networks/NAME/network.json     what the network is
    HOME/networks/NAME/leases           one line a guest: name, last part of the address, card
    HOME/networks/NAME/members/GUEST    the socket of a guest that is in the network now

The guests' own processes write the last two; see `crates/netio/src/user/switch.rs`.
"""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from innkeeper import stored
from innkeeper.errors import HostFailure, InvalidInput, NameInUse, NotFound
from innkeeper.images.store import home
from innkeeper.machine.network import BridgeSpec, NetworkKind, NetworkSpec, mac_of
from innkeeper.vm.bridge import exists, interface_name, lay, lift, tap_name, tidy

_FILE: Final = "network.json"
_FORMAT: Final = 1
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# What --network means already.
_TAKEN: Final = frozenset({*NetworkKind, "none", "host", "isolated"})
_ADDRESS: Final = "10.0.2."


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`reach_host`, `isolated` and `bridge` are as in `NetworkSpec`; `created` is a Unix time."""

    name: str
    reach_host: bool = False
    isolated: bool = False
    bridge: BridgeSpec | None = None
    created: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A guest that has an address in a network, and whether it is there now."""

    name: str
    address: str
    mac: str
    present: bool


class Networks:
    """The networks of one user."""

    def __init__(self, directory: Path | None = None) -> None:
        self._home = (directory or home()).absolute() / "networks"

    def directory(self, name: str) -> Path:
        return self._home / name

    def create(self, network: Network) -> Network:
        """
        Raises:
            InvalidInput: when it cannot have this name.
            NameInUse: when there is one already.
            HostFailure: when it cannot be written.
        """
        if _NAME.fullmatch(network.name) is None or network.name in _TAKEN:
            raise InvalidInput(
                f"{network.name!r} is no name for a network: lower-case letters, digits, dashes"
            )
        made = replace(network, created=time.time())
        directory = self.directory(network.name)
        try:
            directory.mkdir(parents=True, mode=0o700)
            document = {"format": _FORMAT, **stored.encode(made)}
            (directory / _FILE).write_text(json.dumps(document) + "\n")
            (directory / "leases").touch(mode=0o600)
            (directory / "members").mkdir(mode=0o700)
            if made.bridge is not None:
                self._lay(made)
        except FileExistsError as error:
            raise NameInUse(f"there is a network {network.name} already") from error
        except OSError as error:
            raise HostFailure(f"cannot make the network {network.name}: {error}") from error
        return made

    def _lay(self, network: Network) -> None:
        try:
            lay(spec_of(network, self.directory(network.name)))
        except HostFailure:
            shutil.rmtree(self.directory(network.name), ignore_errors=True)
            raise

    def interface(self, network: Network) -> str | None:
        """The bridge, where it is on one. What guests published that are gone goes."""
        if network.bridge is None:
            return None
        directory = self.directory(network.name)
        # Who may not do that may still look.
        with contextlib.suppress(HostFailure):
            tidy(spec_of(network, directory))
        return interface_name(directory)

    def free_subnet(self) -> BridgeSpec:
        """Addresses that no other network of ours has, and that are on no link of the host.

        Raises:
            HostFailure: when all are taken.
        """
        taken = {network.bridge.ipv4 for network in self.all() if network.bridge is not None}
        for number in range(1, 255):
            ipv4 = IPv4Address(f"10.105.{number}.0")
            if ipv4 not in taken and not is_on_a_link(ipv4 + 2):
                return BridgeSpec(ipv4=ipv4, ipv6=IPv6Address(f"fd69:6e6e:0:{number:x}::"))
        raise HostFailure("all addresses for networks on bridges are taken")

    def find(self, name: str) -> Network:
        """
        Raises:
            NotFound: when there is none.
            HostFailure: when it is damaged.
        """
        missing = f"there is no network {name!r}; inn network create makes one"
        if _NAME.fullmatch(name) is None:
            raise NotFound(missing)
        try:
            document = json.loads((self.directory(name) / _FILE).read_text())
            if document.pop("format") != _FORMAT:
                raise HostFailure(f"the network {name} is of another version of Innkeeper")
            return stored.decode(Network, document)
        except FileNotFoundError as error:
            raise NotFound(missing) from error
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            stored.Unreadable,
        ) as error:
            raise HostFailure(f"the network {name} is damaged: {error}") from error

    def all(self) -> list[Network]:
        """
        Raises:
            HostFailure: when they cannot be listed, or one is damaged.
        """
        try:
            names = sorted(entry.name for entry in self._home.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostFailure(f"cannot use {self._home}: {error.strerror}") from error
        return [self.find(name) for name in names]

    def members(self, name: str) -> list[Member]:
        """Guests that have an address in the network, by name."""
        directory = self.directory(name)
        with contextlib.suppress(OSError):
            text = (directory / "leases").read_text(errors="replace")
            bridge = self.find(name).bridge
            return sorted(_members(directory, text, bridge), key=lambda member: member.name)
        return []

    def remove(self, name: str) -> None:
        """
        Raises:
            InvalidInput: when there is none, or guests are in it.
        """
        network = self.find(name)
        present = [member.name for member in self.members(name) if member.present]
        if present:
            raise InvalidInput(f"guests are in the network {name}: {', '.join(present)}")
        if network.bridge is not None:
            lift(spec_of(network, self.directory(name)))
        shutil.rmtree(self.directory(name), ignore_errors=True)


def spec_of(network: Network, directory: Path) -> NetworkSpec:
    """The network as its guests have it."""
    return NetworkSpec(
        kind=NetworkKind.SHARED,
        shared=network.name,
        directory=directory,
        reach_host=network.reach_host,
        isolated=network.isolated,
        bridge=network.bridge,
    )


def is_on_a_link(address: IPv4Address) -> bool:
    """Would the host reach this address without a router? Nothing is sent."""
    done = subprocess.run(
        ["ip", "-json", "route", "get", str(address)], capture_output=True, check=False
    )
    try:
        (route,) = json.loads(done.stdout)
    except ValueError:
        # There is no way to it, or nothing to ask with, which is told later.
        return False
    return "gateway" not in route


def connected(spec: NetworkSpec, guest: str) -> NetworkSpec:
    """The card of the guest of this name, whose address is always the same, and its network.

    Raises:
        InvalidInput: when the network does not exist.
        HostFailure: when it is damaged.
    """
    spec = spec if spec.mac else replace(spec, mac=mac_of(guest))
    if spec.kind is not NetworkKind.SHARED:
        return spec
    networks = Networks()
    network = networks.find(spec.shared)
    return replace(
        spec,
        directory=networks.directory(network.name),
        member=guest,
        reach_host=network.reach_host,
        isolated=network.isolated,
        bridge=network.bridge,
    )


def _members(directory: Path, leases: str, bridge: BridgeSpec | None) -> Iterator[Member]:
    for line in leases.splitlines():
        match line.split(" "):
            case [name, last, mac]:
                pairs = (mac[at : at + 2] for at in range(0, 12, 2))
                if bridge is None:
                    present = _lives(directory / "members" / name)
                    address = f"{_ADDRESS}{last}"
                else:
                    present = exists(tap_name(directory, name))
                    address = str(bridge.ipv4 + int(last))
                yield Member(
                    name=name,
                    address=address,
                    mac=":".join(pairs),
                    present=present,
                )


def _lives(path: Path) -> bool:
    """Is somebody at the other end of this socket?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
