from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from innkeeper.errors import InvalidInput
from innkeeper.machine.network import (
    USER_NETWORK,
    CardModel,
    NetworkKind,
    NetworkSpec,
    PortSpec,
    Protocol,
    mac_of,
    parse_network,
    parse_port,
    validate_network,
)


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("8080:80", PortSpec(host_port=8080, guest_port=80)),
        ("5353:53/udp", PortSpec(host_port=5353, guest_port=53, protocol=Protocol.UDP)),
        ("80:80/tcp", PortSpec(host_port=80, guest_port=80)),
        (
            "127.0.0.1:8080:80",
            PortSpec(host=ip_address("127.0.0.1"), host_port=8080, guest_port=80),
        ),
        (
            "[::1]:8080:80/udp",
            PortSpec(host=ip_address("::1"), host_port=8080, guest_port=80, protocol=Protocol.UDP),
        ),
    ],
)
def test_ports_as_they_are_written(text: str, port: PortSpec) -> None:
    assert parse_port(text) == port


@pytest.mark.parametrize(
    "text",
    [
        *("", "80", "80:", ":80", "a:80", "80:b", "0:80", "80:0", "65536:80", "80:65536", "-1:80"),
        *("80:80/sctp", "80:80/", "localhost:80:80", "1.2.3:80:80", "::1:80:80", "[::1:80:80"),
        *("1.2.3.4:5:6:7", " 80:80", "80:80 "),
    ],
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_port(text)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("none", None),
        ("user", NetworkSpec()),
        ("user,host", NetworkSpec(reach_host=True)),
        ("user,isolated", NetworkSpec(isolated=True)),
        ("user,host,isolated", NetworkSpec(reach_host=True, isolated=True)),
        ("lab-1", NetworkSpec(kind=NetworkKind.SHARED, shared="lab-1")),
        ("tap=tap0", NetworkSpec(kind=NetworkKind.TAP, interface="tap0")),
        ("user,model=e1000", NetworkSpec(model=CardModel.E1000)),
        (
            "tap=tap0,model=rtl8139",
            NetworkSpec(kind=NetworkKind.TAP, interface="tap0", model=CardModel.RTL8139),
        ),
        (
            "user,tftp=/srv/a,,b,bootfile=pxelinux.0",
            NetworkSpec(tftp=Path("/srv/a,b"), bootfile="pxelinux.0"),
        ),
    ],
)
def test_networks_as_they_are_written(text: str, spec: NetworkSpec | None) -> None:
    assert parse_network(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Lab",
        "user,",
        "user,x",
        "lab,host",
        "shared",
        "user=host",
        "tap",
        "tap=",
        "tap,a",
        "none,host",
        "none,model=e1000",
        "lab,tftp=/srv",
        "user,tftp=",
        "user,bootfile",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no network"):
        parse_network(text)


def test_a_guest_s_card_has_the_same_address_each_time_and_its_own() -> None:
    assert mac_of("web1") == mac_of("web1") != mac_of("web2")
    validate_network(replace(USER_NETWORK, mac=mac_of("web1")))


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec(mac=""),
        NetworkSpec(mac="01:00:00:00:00:00"),
        NetworkSpec(mac="02:00:00:00:00"),
        NetworkSpec(mac="02:00:00:00:00:0g"),
        NetworkSpec(mac=mac_of("a"), interface="tap0"),
        NetworkSpec(mac=mac_of("a"), kind=NetworkKind.TAP),
        NetworkSpec(mac=mac_of("a"), kind=NetworkKind.SHARED, shared="lab"),
        NetworkSpec(mac=mac_of("a"), kind=NetworkKind.TAP, interface="t", reach_host=True),
        NetworkSpec(mac=mac_of("a"), ports=(PortSpec(host_port=1, guest_port=1),) * 65),
    ],
)
def test_impossible_networks_are_refused(spec: NetworkSpec) -> None:
    with pytest.raises(InvalidInput):
        validate_network(spec)


def test_a_card_that_there_is_not_is_named() -> None:
    with pytest.raises(InvalidInput, match="'ne2k' is no network card: there are virtio, e1000"):
        parse_network("user,model=ne2k")


def test_what_is_booted_by_net_is_checked(tmp_path: Path) -> None:
    spec = replace(USER_NETWORK, mac=mac_of("a"), tftp=tmp_path, bootfile="x")
    validate_network(spec)
    with pytest.raises(InvalidInput, match="there is no directory"):
        validate_network(replace(spec, tftp=tmp_path / "missing"))
    with pytest.raises(InvalidInput, match="at most 127 bytes"):
        validate_network(replace(spec, bootfile="x" * 128))
    tap = replace(spec, kind=NetworkKind.TAP, interface="tap0")
    with pytest.raises(InvalidInput, match="for a user network"):
        validate_network(tap)
