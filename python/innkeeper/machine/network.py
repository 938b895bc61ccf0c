"""A guest's network card, and where its packets go."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from innkeeper.errors import InvalidInput
from innkeeper.machine.firewall import NO_FIREWALL, FirewallSpec, check_rules

# By which the network card that a guest was made with is known.
FIRST_CARD: Final = "net0"
MAXIMUM_PORTS: Final = 64
# What fits in a DHCP message's own field.
MAXIMUM_BOOTFILE: Final = 127
# Of iPXE, for BIOS and UEFI in one, as Debian and Ubuntu package it.
_ROMS: Final = Path("/usr/lib/ipxe/qemu")
ANY_ADDRESS: Final = IPv4Address("0.0.0.0")
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_PORT: Final = re.compile(
    r"(?:(?P<address>\[[^]]*\]|[^:\[\]]*):)?(?P<host>\d{1,5}):(?P<guest>\d{1,5})(?:/(?P<protocol>\w+))?"
)


class NetworkKind(StrEnum):
    """`user`: by the sockets of the guest's own process. `shared`: with other guests, likewise or
    on a bridge of the host. `tap`: to an interface of the host.
    """

    USER = "user"
    SHARED = "shared"
    TAP = "tap"


class CardModel(StrEnum):
    """Which card it is: of virtio, or of the old world for systems that know no virtio."""

    VIRTIO = "virtio"
    E1000 = "e1000"
    RTL8139 = "rtl8139"


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """A port of the host that leads to one of the guest's."""

    host_port: int
    guest_port: int
    host: IPv4Address | IPv6Address = ANY_ADDRESS
    protocol: Protocol = Protocol.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSpec:
    """On a bridge of the host: the first of its 256 IPv4 addresses, and of its 2^64 of IPv6. The
    machine is given the guest's own IPv4 address instead of that.
    """

    ipv4: IPv4Address
    ipv6: IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """`mac` is written 02:00:00:00:00:01; empty: made from the guest's name. `ports`, `reach_host`
    (the guest may use the host's own services) and `isolated` (it may use nothing else) are for
    `user` and `shared`, `interface` for `tap`. `shared` names the network; which
    `directory` that is, as which `member` the guest is in it, and on which `bridge`, is found out
    when it starts. `id`, `slot` and `gone` are as in `DiskSpec`; the first card's id is net0.
    when it starts. Firmware boots from the network by what is in `rom`. What a `user` network's
    guest may boot are the files in `tftp`; by DHCP it is told of `bootfile`.
    """

    kind: NetworkKind = NetworkKind.USER
    mac: str = ""
    reach_host: bool = False
    isolated: bool = False
    ports: tuple[PortSpec, ...] = ()
    interface: str | None = None
    shared: str = ""
    directory: Path | None = None
    member: str = ""
    bridge: BridgeSpec | None = None
    firewall: FirewallSpec = NO_FIREWALL
    id: str = ""
    slot: int | None = None
    gone: bool = False
    model: CardModel = CardModel.VIRTIO
    rom: Path | None = None
    tftp: Path | None = None
    bootfile: str = ""


# What a guest has unless something else is asked for.
USER_NETWORK: Final = NetworkSpec()


def mac_of(name: str) -> str:
    """An address for the guest `name`: always the same, and locally administered."""
    digest = hashlib.sha256(f"innkeeper network card of {name}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


def validate_network(spec: NetworkSpec) -> None:
    """
    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if _MAC.fullmatch(spec.mac) is None or int(spec.mac[:2], 16) & 1:
        raise InvalidInput(f"{spec.mac!r} is no Ethernet address of one card")
    if (spec.kind is NetworkKind.TAP) != (spec.interface is not None):
        raise InvalidInput("an interface is for a tap network, and needed there")
    if spec.kind is NetworkKind.TAP and (spec.ports or spec.reach_host or spec.isolated):
        raise InvalidInput(
            "ports are published by user networks; a tap's guest has its own address"
        )
    if spec.kind is NetworkKind.SHARED and (spec.directory is None or not spec.member):
        raise InvalidInput("a shared network has a directory, and its guest a name in it")
    validate_ports(spec.ports)
    check_rules(spec.firewall)
    if spec.kind is not NetworkKind.USER and (spec.tftp is not None or spec.bootfile):
        raise InvalidInput("tftp and bootfile are for a user network, which has a DHCP of its own")
    if len(os.fsencode(spec.bootfile)) > MAXIMUM_BOOTFILE:
        raise InvalidInput(f"a bootfile's name has at most {MAXIMUM_BOOTFILE} bytes")
    if spec.tftp is not None and not spec.tftp.is_dir():
        raise InvalidInput(f"there is no directory {spec.tftp} to boot from")


def validate_ports(ports: Sequence[PortSpec]) -> None:
    """
    Raises:
        InvalidInput: for the first thing found wrong.
    """
    if len(ports) > MAXIMUM_PORTS:
        raise InvalidInput(f"a guest publishes at most {MAXIMUM_PORTS} ports, not {len(ports)}")
    for port in ports:
        if not 1 <= port.host_port <= 65535:
            raise InvalidInput(f"a host has no port {port.host_port}")
        if not 1 <= port.guest_port <= 65535:
            raise InvalidInput(f"a guest has no port {port.guest_port}")


def parse_network(text: str) -> NetworkSpec | None:
    """`user[,host][,isolated][,tftp=DIRECTORY][,bootfile=NAME]`, the name of a shared network,
    `tap=INTERFACE` or `none`; each but the last with `,model=CARD`. A comma in a value is written
    twice.

    Raises:
        InvalidInput: when `text` is none of these.
    """
    way, *options = re.split(r"(?<!,),(?!,)", text)
    if way == "none" and not options:
        return None
    interface = way.removeprefix("tap=")
    if way == "user":
        spec = USER_NETWORK
    elif interface and interface != way and "=" not in interface:
        spec = NetworkSpec(kind=NetworkKind.TAP, interface=interface)
    elif _NAME.fullmatch(way) and way not in ("tap", "shared", "none"):
        spec = NetworkSpec(kind=NetworkKind.SHARED, shared=way)
    else:
        raise _no_network(text)
    for option in options:
        changed = _with_option(spec, option)
        if changed is None:
            raise _no_network(text)
        spec = changed
    return spec


def _with_option(spec: NetworkSpec, option: str) -> NetworkSpec | None:
    is_user = spec.kind is NetworkKind.USER
    match option.replace(",,", ",").partition("="):
        case ["host", "", ""] if is_user:
            return replace(spec, reach_host=True)
        case ["isolated", "", ""] if is_user:
            return replace(spec, isolated=True)
        case ["tftp", "=", directory] if is_user and directory:
            return replace(spec, tftp=Path(directory))
        case ["bootfile", "=", name] if is_user and name:
            return replace(spec, bootfile=name)
        case ["model", "=", name]:
            if name not in tuple(CardModel):
                known = ", ".join(CardModel)
                raise InvalidInput(f"{name!r} is no network card: there are {known}")
            return replace(spec, model=CardModel(name))
    return None


def _no_network(text: str) -> InvalidInput:
    return InvalidInput(
        f"{text!r} is no network; there are user[,host][,isolated][,tftp=DIRECTORY]"
        "[,bootfile=NAME], those of inn network, tap=INTERFACE and none, "
        "with ,model=virtio, e1000 or rtl8139"
    )


def rom_of(model: CardModel) -> Path:
    """What firmware boots from the network by, with this card.

    Raises:
        InvalidInput: when it is not on this host.
    """
    rom = _ROMS / f"efi-{model}.rom"
    if not rom.exists():
        raise InvalidInput(
            f"{rom}, by which firmware boots from the network, is not on this host: "
            "install the package ipxe-qemu"
        )
    return rom


def parse_port(text: str) -> PortSpec:
    """`[HOSTIP:]HOSTPORT:GUESTPORT[/udp]`; an IPv6 address stands in brackets.

    Raises:
        InvalidInput: when `text` is something else.
    """
    match = _PORT.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{text!r} is no port; write it like 8080:80, 127.0.0.1:53:53/udp")
    try:
        protocol = Protocol(match["protocol"] or "tcp")
    except ValueError as error:
        raise InvalidInput(f"{match['protocol']!r} is none of tcp, udp") from error
    address = (match["address"] or "0.0.0.0").strip("[]")
    try:
        host = ip_address(address)
    except ValueError as error:
        raise InvalidInput(f"{address!r} is no address of a host") from error
    port = PortSpec(
        host=host, host_port=int(match["host"]), guest_port=int(match["guest"]), protocol=protocol
    )
    validate_ports([port])
    return port
