"""Guests that move to another host: one with a home of its own, on this machine."""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny
from tests.conftest import Inn
from tests.run.house import House, wait

from innkeeper import _core
from innkeeper.vm.detached.home import Home
from innkeeper.vm.qmp.client import Client

PAGES = 1024


def checking(pages: int = PAGES) -> bytes:
    """Adds one to a word of each page, over and over, having looked whether it is what it should
    be. Beside it is where the page lies, so that no page is like another.
    Says a dot after each round, and X when a page is not.
    """
    return b"".join(
        (
            b"\x31\xdb",  # xor ebx, ebx
            b"\xbf" + (0x40_0000).to_bytes(4, "little"),  # again: mov edi, 400000h
            b"\xb9" + pages.to_bytes(4, "little"),  # mov ecx, pages
            b"\x39\x1f",  # next: cmp [edi], ebx
            b"\x75\x18",  # jne bad
            b"\xff\x07",  # inc dword [edi]
            b"\x89\x7f\x08",  # mov [edi + 8], edi
            b"\x81\xc7" + (4096).to_bytes(4, "little"),  # add edi, 4096
            b"\x49",  # dec ecx
            b"\x75\xee",  # jnz next
            b"\x43",  # inc ebx
            tiny.out_byte(0x3F8, ord(".")),
            b"\xeb\xda",  # jmp again
            tiny.out_byte(0x3F8, ord("X")),  # bad:
            tiny.HALT,
        )
    )


class Hosts:
    """Two hosts: `here` and `there`."""

    def __init__(self, directory: Path) -> None:
        self.here, self.there = House(directory / "here"), House(directory / "there")
        line = Path(__file__).with_name("cut_line.py")
        ssh = directory / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {sys.executable} {line} "$@"\n')
        ssh.chmod(0o755)
        self._ssh = ssh
        self.program = Path(sys.executable).with_name("inn")

    def breaking(self, how: str, slow: int = 0) -> House:
        """`inn` here, over a network that breaks so, and takes so many bytes a second."""
        house = House(self.here.home)
        environment = {
            **os.environ,
            "INNKEEPER_HOME": str(self.here.home),
            "INNKEEPER_SSH": str(self._ssh),
            "HOME_THERE": str(self.there.home),
            "BREAK": how,
            "SLOW": str(slow),
        }
        house.inn = Inn(environment)
        return house

    @property
    def target(self) -> str:
        return f"ssh://there{self.program}"

    def running(self) -> list[House]:
        """Where a guest runs."""
        return [house for house in (self.here, self.there) if "running" in house.states().values()]

    def start(self, directory: Path, *options: str) -> None:
        kernel = tiny.kernel(directory / "checking", checking())
        self.here.start("box", kernel, "--memory", "32M", "--network", "none", *options)
        rounds(self.here, 2)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    found = Hosts(tmp_path)
    yield found
    for house in (found.here, found.there):
        names = house("ps", "-aq").split()
        if names:
            house("rm", "--force", *names)
        assert house.processes() == set()


@contextlib.contextmanager
def serving(house: House, *options: str | Path) -> Iterator[str]:
    """`inn host serve` there; the address at which it answers."""
    words = ("host", "serve", "--listen", "127.0.0.1:0", *options)
    process = house.inn.start(*words)
    try:
        assert process.stdout is not None
        told = process.stdout.readline().decode()
        assert told.startswith("guests may come by port "), told
        yield f"127.0.0.1:{told.split()[-1]}"
    finally:
        process.terminate()
        process.communicate()


def befriend(one: House, other: House, name: str, address: str = "") -> None:
    """`one` trusts `other`, by a certificate that somebody brought."""
    one.home.mkdir(exist_ok=True)
    certificate = one.home / f"{name}.pem"
    certificate.write_text(other("host", "identity"))
    told = one("host", "trust", name, certificate, *(("--address", address) if address else ()))
    assert told == other("host", "identity", "--fingerprint")


def test_hosts_that_trust_each_other_exchange_guests(hosts: Hosts, tmp_path: Path) -> None:
    hosts.start(tmp_path)
    with serving(hosts.there) as address:
        befriend(hosts.here, hosts.there, "there", address)
        # Here is not trusted there yet.
        said_here = hosts.here.refuses("migrate", "box", "there")
        assert re.search("the other host (has hung up|is gone)", said_here), said_here
        assert hosts.running() == [hosts.here]
        befriend(hosts.there, hosts.here, "here")
        assert "box runs on there" in hosts.here("migrate", "box", "there")
        rounds(hosts.there, 2)
    (trusted,) = json.loads(hosts.here("host", "trusted", "--json"))
    assert (trusted["name"], trusted["address"]) == ("there", address)
    hosts.here("host", "untrust", "there")
    assert json.loads(hosts.here("host", "trusted", "--json")) == []


def test_who_answers_must_be_who_is_meant(hosts: Hosts, tmp_path: Path) -> None:
    hosts.start(tmp_path)
    other = House(tmp_path / "other")
    other.home.mkdir()
    with serving(hosts.there) as address:
        befriend(hosts.here, other, "there", address)
        befriend(hosts.there, hosts.here, "here")
        assert "cannot reach the host there" in hosts.here.refuses("migrate", "box", "there")
    assert hosts.running() == [hosts.here]


def test_disks_of_others_lie_where_the_host_says(hosts: Hosts, tmp_path: Path) -> None:
    place = tmp_path / "disks"
    place.mkdir()
    (place / "disk.raw").write_bytes(bytes(1 << 20))
    (place / "link").symlink_to(tmp_path)
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    hosts.start(tmp_path, "--disk", f"{place}/link/disk.raw")
    with serving(hosts.there, "--shared", place) as address:
        befriend(hosts.here, hosts.there, "there", address)
        befriend(hosts.there, hosts.here, "here")
        said_there = hosts.here.refuses("migrate", "box", "there", "--shared")
        assert "does not share the disk" in said_there
        assert hosts.running() == [hosts.here]


def said(house: House) -> str:
    return house("logs", "box")


def rounds(house: House, more: int) -> None:
    """The guest goes on, and its memory is what it should be."""
    before = len(said(house))
    # Of a guest that has said much, what is oldest is dropped in between.
    text = wait(lambda: said(house), lambda text: not before <= len(text) < before + more)
    assert set(text) <= set(".\n"), text[-100:]


@pytest.mark.parametrize("engine", ["translator", "interpreter", "kvm"])
def test_a_guest_goes_on_where_it_was(hosts: Hosts, tmp_path: Path, engine: str) -> None:
    here = next(each for each in _core.engines() if each.name == engine)
    if not here.usable:
        pytest.skip(f"this host has no {engine}: {here.reason}")
    hosts.start(tmp_path, "--engine", engine)
    found = json.loads(hosts.breaking("")("migrate", "box", hosts.target, "--json"))
    assert found["status"] == "completed"
    assert found["ram"]["normal"] + found["ram"]["duplicate"] >= PAGES
    assert hosts.running() == [hosts.there]
    rounds(hosts.there, 3)
    assert "was moved to" in hosts.here.refuses("start", "box")
    # What is left here is the same guest.
    assert hosts.there.inspect("box")["id"] == hosts.here.inspect("box")["id"]


def test_a_guest_has_its_disks_with_it(hosts: Hosts, tmp_path: Path) -> None:
    written, read = tmp_path / "written.raw", tmp_path / "read.raw"
    written.write_bytes(b"begin".ljust(3 << 20, b"\0") + os.urandom(1 << 20))
    read.write_bytes(os.urandom(1 << 16))
    hosts.start(tmp_path, "--disk", str(written), "--disk", f"{read},ro")
    hosts.breaking("")("migrate", "box", hosts.target)
    saved = hosts.there.home / "guests/box/saved"
    assert (saved / "disk0.0.raw").read_bytes() == written.read_bytes()
    assert (saved / "disk1.0.raw").read_bytes() == read.read_bytes()
    written.unlink()
    rounds(hosts.there, 1)
    # It has them from then on.
    hosts.there("restart", "box")
    rounds(hosts.there, 1)


def test_a_shared_disk_stays_where_it_is(hosts: Hosts, tmp_path: Path) -> None:
    disk = tmp_path / "shared.raw"
    disk.write_bytes(bytes(1 << 20))
    hosts.start(tmp_path, "--disk", str(disk))
    hosts.breaking("")("migrate", "box", hosts.target, "--shared")
    assert not (hosts.there.home / "guests/box/saved/disk0.0.raw").exists()
    rounds(hosts.there, 1)


@pytest.mark.parametrize("after", [500, 20_000, 200_000])
def test_a_network_that_breaks_leaves_one_guest(hosts: Hosts, tmp_path: Path, after: int) -> None:
    hosts.start(tmp_path)
    done = hosts.breaking(str(after)).inn("migrate", "box", hosts.target)
    found = hosts.running()
    assert len(found) == 1
    assert (done.returncode == 0) == (found == [hosts.there]), done.stderr
    rounds(found[0], 2)
    if found == [hosts.here]:
        # Nothing of it is left there, and it can be tried again.
        wait(lambda: hosts.there("ps", "-aq"), lambda names: not names)
        hosts.breaking("")("migrate", "box", hosts.target)
        rounds(hosts.there, 2)


@pytest.mark.parametrize("stage", ["kill-20000", "kill-2000000", "kill-go"])
def test_a_guest_that_is_killed_there_goes_on_here(
    hosts: Hosts, tmp_path: Path, stage: str
) -> None:
    hosts.start(tmp_path)
    words = ("migrate", "box", hosts.target, "--no-compress")
    assert "goes on here" in hosts.breaking(stage).refuses(*words)
    assert hosts.running() == [hosts.here]
    rounds(hosts.here, 2)
    assert hosts.there("ps", "-aq") == ""
    hosts.breaking("")("migrate", "box", hosts.target)
    rounds(hosts.there, 2)


def test_a_guest_of_another_protocol_stays_here(hosts: Hosts, tmp_path: Path) -> None:
    hosts.start(tmp_path)
    said = hosts.breaking("version").refuses("migrate", "box", hosts.target)
    assert "migrates by protocol 1 or 2, not 9" in said
    assert hosts.running() == [hosts.here]
    assert hosts.there("ps", "-aq") == ""
    rounds(hosts.here, 2)


def test_a_guest_that_was_handed_over_and_never_arrived_goes_on_here(
    hosts: Hosts, tmp_path: Path
) -> None:
    hosts.start(tmp_path)
    assert "goes on here" in hosts.breaking("go").refuses("migrate", "box", hosts.target)
    assert hosts.running() == [hosts.here]
    rounds(hosts.here, 2)


def test_a_guest_that_arrived_without_a_word_of_it_goes_on_there(
    hosts: Hosts, tmp_path: Path
) -> None:
    hosts.start(tmp_path)
    hosts.breaking("running")("migrate", "box", hosts.target)
    assert hosts.running() == [hosts.there]
    rounds(hosts.there, 2)


def test_nobody_runs_a_guest_twice_while_nobody_knows(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.start(tmp_path, "--restart", "always")
    cut = hosts.breaking("dead-later")
    assert "stands still here" in cut.refuses("migrate", "box", hosts.target)
    assert hosts.running() == [hosts.here, hosts.there]
    before = said(hosts.here)
    assert "handed over to another host" in hosts.here.refuses("resume", "box")
    assert "does not answer" in cut("migrate", "box", "--status")
    assert said(hosts.here) == before
    # Not even when its process is killed, and was to be started again.
    hosts.here("kill", "box")
    wait(lambda: hosts.running(), lambda found: found == [hosts.there])
    assert "it is not known whether" in hosts.here.refuses("start", "box")
    # It answers again.
    assert "says itself" in hosts.breaking("").refuses("migrate", "box", "--here", status=2)
    assert f"runs on {hosts.target}" in hosts.breaking("")("migrate", "box", "--status")
    assert "was moved to" in hosts.here.refuses("start", "box")
    rounds(hosts.there, 2)


def test_somebody_who_knows_takes_a_guest_back(hosts: Hosts, tmp_path: Path) -> None:
    hosts.start(tmp_path)
    hosts.breaking("dead-later").refuses("migrate", "box", hosts.target)
    hosts.there("rm", "--force", "box")
    hosts.here("migrate", "box", "--here")
    assert hosts.running() == [hosts.here]
    rounds(hosts.here, 2)
    assert "nothing keeps" in hosts.here.refuses("migrate", "box", "--here", status=2)


def test_what_cannot_move_is_refused_in_words(hosts: Hosts, tmp_path: Path) -> None:
    hosts.start(tmp_path)
    ssh = hosts.breaking("")
    assert "cannot reach the host" in ssh.refuses("migrate", "box", "nowhere.invalid")
    assert "is no address" in ssh.refuses("migrate", "box", "no:where", status=2)
    hosts.there("create", "--name", "box", "--kernel", tmp_path / "checking")
    assert "there is a guest 'box' already" in ssh.refuses("migrate", "box", hosts.target)
    assert "hung up" in hosts.breaking("dead").refuses("migrate", "box", hosts.target)
    rounds(hosts.here, 2)


# As slow a network, in bytes a second, as the guest writes all of its memory once and again.
SLOW = 20_000_000
LATE = ("--post-copy", "--downtime", "1", "--no-compress")


@pytest.fixture
def late(hosts: Hosts) -> Hosts:
    """On hosts whose kernel tells this user who misses a page."""
    if (why := _core.post_copy_missing()) is not None:
        pytest.skip(f"userfaultfd: {why}")
    return hosts


@pytest.mark.parametrize("engine", ["translator", "interpreter", "kvm"])
def test_a_guest_begins_before_all_of_it_has_come(late: Hosts, tmp_path: Path, engine: str) -> None:
    here = next(each for each in _core.engines() if each.name == engine)
    if not here.usable:
        pytest.skip(f"this host has no {engine}: {here.reason}")
    late.start(tmp_path, "--engine", engine)
    found = json.loads(late.breaking("", SLOW)("migrate", "box", late.target, *LATE, "--json"))
    assert found["status"] == "completed"
    # It waited for some.
    assert found["ram"]["postcopy-requests"] > 0
    assert late.running() == [late.there]
    rounds(late.there, 3)
    assert "was moved to" in late.here.refuses("start", "box")


def test_memory_that_is_missing_comes_by_another_connection(late: Hosts, tmp_path: Path) -> None:
    late.start(tmp_path)
    found = json.loads(late.breaking("late", SLOW)("migrate", "box", late.target, *LATE, "--json"))
    assert found["status"] == "completed"
    events = late.there("events", "--past", "--no-follow", "--json")
    told = [json.loads(line) for line in events.splitlines()]
    phases = [event["status"] for event in told if event["event"] == "migration"]
    assert phases == ["postcopy-active", "postcopy-paused", "postcopy-active", "completed"]
    assert late.running() == [late.there]
    rounds(late.there, 3)


@pytest.fixture
def torn(late: Hosts, tmp_path: Path) -> Hosts:
    """A guest that runs there, of whose memory a part is here; and there is no network."""
    late.start(tmp_path, "--restart", "always")
    said_here = late.breaking("dead-late", SLOW).refuses("migrate", "box", late.target, *LATE)
    assert "stands still on" in said_here
    assert "--recover" in said_here
    assert late.there.states() == {"box": "paused"}
    return late


def test_a_guest_without_its_memory_stands_still_until_that_comes(torn: Hosts) -> None:
    before = said(torn.there), said(torn.here)
    # Nobody lets it go on: neither there, where it lacks something, nor here, where it is older.
    assert "not all of the memory" in torn.there.refuses("resume", "box")
    assert "not all of the memory" in torn.there.refuses("snapshot", "create", "box")
    assert "was handed over" in torn.here.refuses("resume", "box")
    assert "too late" in torn.here.refuses("migrate", "box", "--cancel")
    assert "has run on" in torn.here.refuses("migrate", "box", "--here", status=2)
    assert "stands still on" in torn.breaking("dead-late")("migrate", "box", "--status")
    assert "stands still on" in torn.breaking("dead-late").refuses("migrate", "box", "--recover")
    assert (said(torn.there), said(torn.here)) == before
    torn.breaking("")("migrate", "box", "--recover")
    assert torn.running() == [torn.there]
    rounds(torn.there, 3)
    assert "was moved to" in torn.here.refuses("start", "box")
    assert "is not running" in torn.here.refuses("migrate", "box", "--recover")


def test_a_guest_whose_memory_is_lost_is_started_from_its_disks(torn: Hosts) -> None:
    torn.here("kill", "box")
    torn.here.wait_for_state("box", "exited")
    assert "it is not known whether" in torn.here.refuses("start", "box")
    assert "is lost" in torn.breaking("")("migrate", "box", "--status")
    assert torn.there.states() == {"box": "paused"}
    # Whoever removes it there, knows that it does not run there.
    torn.there("rm", "--force", "box")
    torn.here("migrate", "box", "--here")
    torn.here("start", "box")
    rounds(torn.here, 2)


def test_a_guest_that_waits_for_its_memory_can_be_ended(torn: Hosts) -> None:
    with Home.open(torn.there.inspect("box")["directory"]) as home, Client(home) as client:
        client.execute("quit")
    torn.there.wait_for_state("box", "exited")


def test_a_guest_that_ends_lets_go_of_memory_elsewhere(torn: Hosts) -> None:
    torn.there("kill", "box")
    torn.there.wait_for_state("box", "exited")
    assert "runs on" in torn.breaking("")("migrate", "box", "--status")
    torn.here.wait_for_state("box", "exited")
    assert "was moved to" in torn.here.refuses("start", "box")
    torn.there("start", "box")
    rounds(torn.there, 2)
