"""The firewall of one bridge, as nftables reads it: one table of its own, replaced as a whole.

What its guests may reach is said here: each other, where the frames stay on the bridge; the world,
behind the host's addresses; of the host itself the gateway's answer to pings, unless the network
may use the host's services. Other networks of ours are not the world. What comes in belongs to a
connection of a guest, or to a port that it publishes.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from innkeeper.machine.network import ANY_ADDRESS, PortSpec, Protocol

# What all our bridges are called.
BRIDGES = "innb*"
# Where clouds hand out credentials, and other links that the host is on.
_LINK_LOCAL = ("ip daddr 169.254.0.0/16", "ip6 daddr { fe80::/10, fd00:ec2::254 }")


@dataclass(frozen=True, slots=True, kw_only=True)
class Firewall:
    """`interface` is the bridge, and the table's name. `ipv4` and `ipv6` are networks as text."""

    interface: str
    ipv4: str
    ipv6: str
    isolated: bool
    reach_host: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Ports of the host that lead to a guest."""

    guest: str
    tap: str
    ipv4: IPv4Address
    ipv6: IPv6Address
    ports: tuple[PortSpec, ...]


def removal(interface: str) -> str:
    """For `nft -f`: whether there is such a table or not."""
    return f"table inet {interface} {{}}\ndelete table inet {interface}\n"


def ruleset(wall: Firewall, published: Iterable[Published]) -> str:
    """For `nft -f`: the whole table instead of the one that is there."""
    ports = [(guest, port) for guest in published for port in guest.ports]
    chains = [
        ("forward", "type filter hook forward priority filter", _forward(wall)),
        ("input", "type filter hook input priority filter", _input(wall)),
        ("early", "type filter hook prerouting priority raw", _early(wall)),
        ("leaving", "type nat hook postrouting priority srcnat", _leaving(wall)),
        ("coming", "type nat hook prerouting priority dstnat", _coming(wall, ports)),
        ("local", "type nat hook output priority -100", (_published(*it) for it in ports)),
    ]
    lines = [removal(wall.interface) + f"table inet {wall.interface} {{"]
    for name, kind, rules in chains:
        lines += [f"chain {name} {{", f"{kind}; policy accept;", *rules, "}"]
    return "\n".join([*lines, "}", ""])


def _forward(wall: Firewall) -> Iterator[str]:
    bridge = wall.interface
    yield f"iifname {bridge} oifname {bridge} accept"
    yield f"iifname {bridge} ct state established,related accept"
    if wall.isolated:
        yield f"iifname {bridge} reject with icmpx admin-prohibited"
    else:
        for addresses in (f'oifname "{BRIDGES}"', *_LINK_LOCAL):
            yield f"iifname {bridge} {addresses} reject with icmpx admin-prohibited"
        yield f"iifname {bridge} accept"
    yield f"oifname {bridge} ct state established,related accept"
    yield f"oifname {bridge} ct status dnat accept"
    # Other networks of ours are told, the world is not.
    yield f'iifname "{BRIDGES}" oifname {bridge} reject with icmpx admin-prohibited'
    yield f"oifname {bridge} drop"


def _input(wall: Firewall) -> Iterator[str]:
    bridge = wall.interface
    yield f"iifname != {bridge} accept"
    yield "ct state established,related accept"
    yield "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
    if wall.reach_host:
        return
    # To the gateway, and to no other address of the host.
    for echo in ("icmp type echo-request", "icmpv6 type echo-request"):
        yield f"fib daddr . iif type local {echo} accept"
    yield "reject with icmpx admin-prohibited"


def _early(wall: Firewall) -> Iterator[str]:
    # Ports that are published on the loopback need it to be routable; guests must not route to it.
    yield f"iifname {wall.interface} ip daddr 127.0.0.0/8 drop"
    # Nor does anybody else come with the guests' addresses.
    yield f'iifname != {{ "{wall.interface}", "lo" }} ip saddr {wall.ipv4} drop'


def _leaving(wall: Firewall) -> Iterator[str]:
    outside = f"oifname != {wall.interface}"
    yield f"{outside} ip saddr {wall.ipv4} masquerade"
    yield f"{outside} ip6 saddr {wall.ipv6} masquerade"
    yield f"oifname {wall.interface} ip saddr 127.0.0.0/8 masquerade"


def _coming(wall: Firewall, ports: Iterable[tuple[Published, PortSpec]]) -> Iterator[str]:
    for guest, port in ports:
        yield f"iifname != {wall.interface} {_published(guest, port)}"


def _published(guest: Published, port: PortSpec) -> str:
    protocol = "udp" if port.protocol is Protocol.UDP else "tcp"
    there = f"{protocol} dport {port.host_port} dnat"
    if isinstance(port.host, IPv6Address):
        here = "fib daddr type local" if port.host == IPv6Address(0) else f"ip6 daddr {port.host}"
        return f"meta nfproto ipv6 {here} {there} ip6 to [{guest.ipv6}]:{port.guest_port}"
    here = "fib daddr type local" if port.host == ANY_ADDRESS else f"ip daddr {port.host}"
    return f"meta nfproto ipv4 {here} {there} ip to {guest.ipv4}:{port.guest_port}"
