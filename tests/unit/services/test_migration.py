"""What hosts say to each other before a guest moves, and whom they trust."""

import json
import os
import socket
import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from innkeeper.errors import HostFailure, InvalidInput
from innkeeper.machine import DiskFormat, DiskSpec, MachineSpec, Overlay, SoundSpec
from innkeeper.machine.network import NetworkKind, NetworkSpec
from innkeeper.services.definition import Definition
from innkeeper.services.migration import fence, identity, offer, receiving, sending, strangers
from innkeeper.services.migration.fence import Fence, GuestMoved
from innkeeper.services.migration.line import Line
from innkeeper.services.migration.offer import Copied, Offer
from innkeeper.services.request import GuestRequest
from innkeeper.vm.detached import home as files
from innkeeper.vm.detached.home import Home
from innkeeper.vm.order import Order


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
    with pytest.raises(InvalidInput, match="migrates by protocol 1 or 2, not 3"):
        offer.read({"protocol": 3})
    with pytest.raises(InvalidInput, match="cannot read it"):
        offer.read({"protocol": 1, "name": 7})


def test_a_host_without_post_copy_hears_of_it_by_the_protocol_alone() -> None:
    word = offer.written(offered())
    assert word["protocol"] == 1
    assert "post_copy" not in word
    assert not offer.read(word).post_copy
    late = replace(offered(), protocol=offer.POST_COPY, post_copy=True)
    assert offer.read(offer.written(late)) == late


def test_post_copy_is_refused_where_nobody_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "post_copy_missing", lambda: "Operation not permitted")
    late = replace(offered(), protocol=offer.POST_COPY, post_copy=True)
    one, other = lines()
    with one, other:
        one.say(offer.written(late))
        with pytest.raises(InvalidInput, match="needs userfaultfd"):
            receiving.serve(other, ())
        assert "may not have (Operation not permitted)" in one.hear()["refused"]
    assert not (Path(os.environ["INNKEEPER_HOME"]) / "guests" / "box").exists()


def test_nobody_resumes_a_guest_that_is_not_here() -> None:
    one, other = lines()
    with one, other:
        one.say({"resume": str(uuid.uuid4())})
        with pytest.raises(HostFailure, match="no such guest"):
            receiving.serve(other, ())
        assert one.hear() == {"refused": "no such guest came here"}


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


class Interrupted:
    """Stands for a guest's process whose migration is called off when it was just fenced."""

    def __init__(self, interruption: BaseException) -> None:
        self._interruption = interruption
        self._status = "pre-switchover"

    def give(self, _name: str, _descriptor: int) -> None:
        pass

    def execute(self, command: str, **_arguments: object) -> object:
        if command == "migrate-continue":
            raise self._interruption
        if command == "migrate_cancel":
            self._status = "cancelled"
        return {"status": self._status}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), HostFailure("no room")])
def test_nothing_fences_a_guest_that_was_not_handed_over(
    tmp_path: Path, interruption: BaseException
) -> None:
    (tmp_path / "box").mkdir()
    client: Any = Interrupted(interruption)
    one, other = lines()
    with one, other, Home.open(str(tmp_path / "box")) as home:
        moving = sending._Moving(home, "other", sending.Wishes())
        expected = (KeyboardInterrupt, sending.MigrationFailed)
        with pytest.raises(expected, match=r"^$|goes on here: no room"):
            moving._send(client, one, lambda _: None, lambda: None)
        fence.check(home)


Fields = Mapping[str, Any]
NOTHING: Fields = {}


def offered(
    request: Fields = NOTHING,
    spec: Fields = NOTHING,
    order: Fields = NOTHING,
    copied: tuple[Copied, ...] = (),
) -> Offer:
    """Of a guest with a kernel of its own, of which these fields are other."""
    asked = GuestRequest(kernel=Path("/k"), network=None, vsock=None)
    had = MachineSpec(kernel=Path("/k"), devices=("pvpanic",), network=None, vsock=None)
    run = Order(id=str(uuid.uuid4()), spec=replace(had, **spec), restart="no", image=False)
    definition = Definition(id=run.id, created=0.0, request=replace(asked, **request))
    return Offer(
        protocol=offer.PROTOCOL,
        version=offer.VERSION,
        migration=str(uuid.uuid4()),
        name="box",
        definition=definition,
        order=replace(run, **order),
        engine="interpreter",
        processor="",
        copied=copied,
    )


TAP = NetworkSpec(kind=NetworkKind.TAP, interface="tap0")
FOREIGN: dict[str, dict[str, Any]] = {
    "Python devices": {"spec": {"devices": ("this:x",)}},
    "without a jail": {"order": {"jail": False}},
    "without a jail at all": {"request": {"jail": False}},
    "has to come along": {
        "request": {
            "disks": (
                DiskSpec(path=Path("/d"), overlay=Overlay.KEEP, overlay_path=Path("/home/x")),
            )
        }
    },
    "may name files": {"request": {"disks": (DiskSpec(path=Path("/d"), trust_backing=True),)}},
    "is a socket": {
        "request": {"disks": (DiskSpec(path=Path("/d"), nbd="nbd+unix:///x?socket=/run/s"),)}
    },
    "interface of its host": {"request": {"network": TAP}},
    "an interface of its host": {"spec": {"network": TAP}},
    "a file of symbols": {"spec": {"symbols": Path("/s")}},
    "sound": {"spec": {"sound": SoundSpec(wave=Path("/w"))}},
    "that the guest does not have": {"copied": (Copied(number=-1, size=1),)},
}


@pytest.mark.parametrize("sentence", FOREIGN)
def test_a_guest_of_another_host_names_nothing_of_this_one(sentence: str) -> None:
    strangers.check(offered(), ())
    words = sentence.removesuffix(" at all").removeprefix("an ")
    with pytest.raises(InvalidInput, match=words):
        strangers.check(offered(**FOREIGN[sentence]), ())


@pytest.mark.parametrize("path", ["hosts/trusted.json", "../x"])
def test_a_disk_that_is_not_shared_is_not_there_for_others(tmp_path: Path, path: str) -> None:
    (tmp_path / "hosts").mkdir()
    (tmp_path / "hosts" / "trusted.json").touch()
    disk = DiskSpec(path=tmp_path / path, format=DiskFormat.RAW)
    named = offered(request={"disks": (disk,)})
    with pytest.raises(InvalidInput, match="does not share the disk"):
        strangers.check(named, (tmp_path / "pool",))


def test_paths_are_found_wherever_they_are() -> None:
    """So one that a description gets later is not let in by whoever forgot it."""
    spec = offered(spec={"symbols": Path("/s"), "initrds": (Path("/i"), Path("/j"))}).order.spec
    assert [where for where, _ in strangers.paths(spec)] == [
        "kernel",
        "initrds",
        "initrds",
        "symbols",
    ]


def test_a_guest_that_comes_is_started_by_nobody_before_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with Home.open(str(tmp_path)) as home:
        assert files.came_whole(home)
        home.write(files.ARRIVED, {"version": 1, "migration": "one"})
        assert not files.came_whole(home)
        home.write(files.WHOLE, {"migration": "another"})
        assert not files.came_whole(home)
        home.write(files.WHOLE, {"migration": "one"}, lasting=True)
        assert files.came_whole(home)
