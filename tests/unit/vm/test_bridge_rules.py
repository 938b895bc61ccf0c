"""What the firewall of a bridge says, before any kernel has it."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from innkeeper.machine.network import PortSpec, Protocol
from innkeeper.vm.bridge.plug import _made_of
from innkeeper.vm.bridge.rules import Firewall, Published, removal, ruleset

WALL = Firewall(
    interface="innb01234567",
    ipv4="10.105.1.0/24",
    ipv6="fd69:6e6e:0:1::/64",
    isolated=False,
    reach_host=False,
)
GUEST = Published(
    guest="web",
    tap="innt01234567",
    ipv4=IPv4Address("10.105.1.16"),
    ipv6=IPv6Address("fd69:6e6e:0:1::16"),
    ports=(
        PortSpec(host_port=8080, guest_port=80),
        PortSpec(
            host_port=53, guest_port=5353, host=IPv4Address("127.0.0.1"), protocol=Protocol.UDP
        ),
        PortSpec(host_port=81, guest_port=80, host=IPv6Address("::")),
    ),
)


def test_the_table_replaces_the_one_that_is_there() -> None:
    assert ruleset(WALL, ()).startswith(removal(WALL.interface))
    assert "dnat to" not in ruleset(WALL, ())


def test_ports_lead_to_the_guest_from_outside_and_from_the_host() -> None:
    rules = ruleset(WALL, (GUEST,))
    for rule in (
        "meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.105.1.16:80",
        "meta nfproto ipv4 ip daddr 127.0.0.1 udp dport 53 dnat ip to 10.105.1.16:5353",
        "meta nfproto ipv6 fib daddr type local tcp dport 81 dnat ip6 to [fd69:6e6e:0:1::16]:80",
    ):
        assert f"\n{rule}\n" in rules
        assert f"\niifname != {WALL.interface} {rule}\n" in rules


def test_isolated_guests_have_no_way_out_and_others_have() -> None:
    out = f"\niifname {WALL.interface} accept\n"
    assert out in ruleset(WALL, ())
    assert out not in ruleset(replace(WALL, isolated=True), ())


def test_the_host_s_services_are_shut_unless_the_network_may_use_them() -> None:
    def shut(wall: Firewall) -> bool:
        chain = ruleset(wall, ()).partition("chain input {")[2].partition("}\nchain")[0]
        return chain.rstrip().endswith("reject with icmpx admin-prohibited")

    assert shut(WALL)
    assert not shut(replace(WALL, reach_host=True))


def test_an_address_is_made_of_the_card_s() -> None:
    made = _made_of(IPv6Address("fd69:6e6e:0:1::"), "02:00:00:00:00:07")
    assert made == IPv6Address("fd69:6e6e:0:1:0:ff:fe00:7")
