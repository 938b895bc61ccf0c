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
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.images.store import home
from innkeeper.machine.network import NetworkKind, NetworkSpec, mac_of

_FILE: Final = "network.json"
_FORMAT: Final = 1
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
# What --network means already.
_TAKEN: Final = frozenset({*NetworkKind, "none", "host", "isolated"})
_ADDRESS: Final = "10.0.2."


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """`reach_host` and `isolated` are as in `NetworkSpec`; `created` is a Unix time."""

    name: str
    reach_host: bool = False
    isolated: bool = False
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
            InvalidInput: when it cannot have this name, or there is one already.
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
            document = {"format": _FORMAT, **asdict(made)}
            (directory / _FILE).write_text(json.dumps(document) + "\n")
            (directory / "leases").touch(mode=0o600)
            (directory / "members").mkdir(mode=0o700)
        except FileExistsError as error:
            raise InvalidInput(f"there is a network {network.name} already") from error
        except OSError as error:
            raise HostFailure(f"cannot make the network {network.name}: {error}") from error
        return made

    def find(self, name: str) -> Network:
        """
        Raises:
            InvalidInput: when there is none.
            HostFailure: when it is damaged.
        """
        missing = f"there is no network {name!r}; inn network create makes one"
        if _NAME.fullmatch(name) is None:
            raise InvalidInput(missing)
        try:
            document = json.loads((self.directory(name) / _FILE).read_text())
            if document.pop("format") != _FORMAT:
                raise HostFailure(f"the network {name} is of another version of Innkeeper")
            return Network(**document)
        except FileNotFoundError as error:
            raise InvalidInput(missing) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise HostFailure(f"the network {name} is damaged: {error}") from error

    def all(self) -> list[Network]:
        try:
            names = sorted(entry.name for entry in self._home.iterdir())
        except FileNotFoundError:
            return []
        return [self.find(name) for name in names]

    def members(self, name: str) -> list[Member]:
        """Guests that have an address in the network, by name."""
        directory = self.directory(name)
        with contextlib.suppress(OSError):
            text = (directory / "leases").read_text(errors="replace")
            return sorted(_members(directory, text), key=lambda member: member.name)
        return []

    def remove(self, name: str) -> None:
        """
        Raises:
            InvalidInput: when there is none, or guests are in it.
        """
        self.find(name)
        present = [member.name for member in self.members(name) if member.present]
        if present:
            raise InvalidInput(f"guests are in the network {name}: {', '.join(present)}")
        shutil.rmtree(self.directory(name), ignore_errors=True)


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
    )


def _members(directory: Path, leases: str) -> Iterator[Member]:
    for line in leases.splitlines():
        match line.split(" "):
            case [name, last, mac]:
                pairs = (mac[at : at + 2] for at in range(0, 12, 2))
                yield Member(
                    name=name,
                    address=f"{_ADDRESS}{last}",
                    mac=":".join(pairs),
                    present=_lives(directory / "members" / name),
                )


def _lives(path: Path) -> bool:
    """Is somebody at the other end of this socket?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
