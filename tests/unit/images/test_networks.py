import socket
from pathlib import Path

import pytest

from innkeeper.errors import HostFailure, InvalidInput, NameInUse, NotFound
from innkeeper.images import Network, Networks, connected
from innkeeper.machine import NetworkKind, NetworkSpec, mac_of


def test_a_network_is_what_it_was_made_as(tmp_path: Path) -> None:
    networks = Networks(tmp_path)
    made = networks.create(Network(name="lab", isolated=True))
    assert networks.find("lab") == made
    assert networks.all() == [made]
    with pytest.raises(NameInUse, match="already"):
        networks.create(Network(name="lab"))
    networks.remove("lab")
    assert networks.all() == []
    with pytest.raises(NotFound, match="there is no network"):
        networks.find("lab")


@pytest.mark.parametrize(
    "name", ["", "user", "shared", "tap", "none", "A", "../x", "a b", "a" * 32]
)
def test_impossible_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        Networks(tmp_path).create(Network(name=name))


def test_who_is_in_it(tmp_path: Path) -> None:
    networks = Networks(tmp_path)
    networks.create(Network(name="lab"))
    directory = networks.directory("lab")
    (directory / "leases").write_text("db 17 0200000000aa\nweb 16 0200000000bb\nnonsense\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as member:
        member.bind(str(directory / "members" / "web"))
        found = [(it.name, it.address, it.mac, it.present) for it in networks.members("lab")]
        assert found == [
            ("db", "10.0.2.17", "02:00:00:00:00:aa", False),
            ("web", "10.0.2.16", "02:00:00:00:00:bb", True),
        ]
        with pytest.raises(InvalidInput, match="guests are in the network lab: web"):
            networks.remove("lab")
    networks.remove("lab")


def test_damage_is_told(tmp_path: Path) -> None:
    networks = Networks(tmp_path)
    networks.create(Network(name="lab"))
    (networks.directory("lab") / "network.json").write_text("{}")
    with pytest.raises(HostFailure, match="damaged"):
        networks.find("lab")


def test_a_card_is_connected_by_its_guest_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path))
    Networks().create(Network(name="lab", reach_host=True))
    spec = connected(NetworkSpec(kind=NetworkKind.SHARED, shared="lab"), "web1")
    assert (spec.mac, spec.member, spec.reach_host) == (mac_of("web1"), "web1", True)
    assert spec.directory == tmp_path / "networks" / "lab"
    assert connected(NetworkSpec(mac="02:00:00:00:00:01"), "x").mac == "02:00:00:00:00:01"
