"""What hosts say to each other before a guest moves, and whom they trust."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.services.migration import fence, identity, offer, sending
from innkeeper.services.migration.fence import Fence, GuestMoved
from innkeeper.services.migration.line import Line
from innkeeper.vm.detached.home import Home


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path))


def lines() -> tuple[Line, Line]:
    one, other = socket.socketpair()
    first, second = one.detach(), other.detach()
    return Line(first, first), Line(second, second)


def test_an_identity_stays_what_it_is() -> None:
    found = identity.certificate()
    assert identity.certificate() == found
    assert "PRIVATE" not in found
    assert identity.identity_file().stat().st_mode & 0o777 == 0o600


def test_hosts_are_trusted_by_name_and_no_more() -> None:
    pem = identity.certificate()
    fresh = identity.trust("other", f"some words\n{pem}", "other.example:7717")
    assert identity.trusted() == (fresh,)
    identity.trust("other", pem)
    assert identity.find("other").address == ""
    identity.distrust("other")
    assert identity.trusted() == ()
    with pytest.raises(InvalidInput, match="no host is trusted"):
        identity.distrust("other")


@pytest.mark.parametrize(
    ("name", "pem", "address"),
    [
        ("-x", None, ""),
        ("x", "", ""),
        ("x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
        ("x", None, "no:port:there"),
        ("x", None, "host:99999"),
    ],
)
def test_what_is_no_host_is_not_trusted(name: str, pem: str | None, address: str) -> None:
    with pytest.raises(InvalidInput):
        identity.trust(name, identity.certificate() if pem is None else pem, address)
    assert identity.trusted() == ()


def test_a_list_that_is_damaged_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts" / "trusted.json").write_text("{")
    with pytest.raises(HostFailure, match="is damaged"):
        identity.trusted()


def test_addresses_have_a_port_of_their_own_or_ours() -> None:
    assert identity.parse_address("host.example") == ("host.example", 7717)
    assert identity.parse_address("10.0.0.1:80") == ("10.0.0.1", 80)
    assert identity.parse_address("[fd00::1]:80") == ("fd00::1", 80)


@pytest.mark.parametrize(
    "said",
    [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\4\xff\xff\xff\xff"],
)
def test_words_that_are_none_are_refused(said: bytes) -> None:
    one, other = lines()
    with one:
        with other:
            other.send(said)
        with pytest.raises(HostFailure):
            one.hear()


def test_a_word_that_does_not_come_is_not_waited_for() -> None:
    one, other = lines()
    with one, other, pytest.raises(HostFailure, match="does not answer"):
        one.hear(patience=0.01)


def test_what_one_says_last_the_other_hears() -> None:
    guest, ours = socket.socketpair()
    one, other = lines()
    data = os.urandom(3 << 20)
    relay = threading.Thread(target=one.relay, args=(ours,))
    with one, guest, ours:
        relay.start()
        with other:
            sending_thread = threading.Thread(target=other.send, args=(data,))
            sending_thread.start()
            found = bytearray()
            while len(found) < len(data):
                found += guest.recv(1 << 20)
            sending_thread.join()
            assert found == data
            guest.sendall(data[:200_000])
            guest.shutdown(socket.SHUT_WR)
            assert other.receive(200_000) == data[:200_000]
        relay.join()


def test_an_offer_of_another_version_is_refused_in_words() -> None:
    with pytest.raises(InvalidInput, match="migrates by protocol 1, not 2"):
        offer.read({"protocol": 2})
    with pytest.raises(InvalidInput, match="cannot read it"):
        offer.read({"protocol": 1, "name": 7})


@pytest.mark.parametrize("target", ["ssh://", "ssh://-oProxyCommand=x", "ssh://host:port"])
def test_no_option_of_ssh_is_a_host(target: str) -> None:
    with pytest.raises(InvalidInput, match="is no host"):
        sending.connect(target)


def test_a_fence_keeps_a_guest_from_being_started(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    with Home.open(str(tmp_path / "box")) as home:
        fence.check(home)
        put = Fence(migration="m", host="other")
        fence.put(home, put)
        with pytest.raises(
            GuestMoved, match="it is not known whether the guest 'box' runs on other"
        ):
            fence.check(home)
        fence.put(home, fence.settled(put))
        with pytest.raises(GuestMoved, match="was moved to other"):
            fence.check(home)
        (tmp_path / "box" / "moved.json").write_text(json.dumps({"version": 1}))
        with pytest.raises(HostFailure, match="is damaged"):
            fence.check(home)
        fence.remove(home)
        fence.check(home)
