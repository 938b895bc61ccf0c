"""Debian guests that are saved while they run, gone back to, and forked."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import PATIENCE
from tests.run.house import House

# Counts once in a while for as long as the guest lives, in memory and in a file.
COUNTER = "i=0; while :; do i=$((i+1)); echo $i > /run/count; echo count $i; sleep 0.05; done"


def start(house: House, name: str, *words: str) -> str:
    command = words or ("sh", "-c", COUNTER)
    house("run", "--detach", "--cold", "--name", name, "--memory", "192M", "debian", "--", *command)
    house("wait", "--ready", name)
    return name


@pytest.fixture(autouse=True)
def tidy(house: House) -> Iterator[None]:
    """No guest of a test counts on beside the next ones."""
    before = set(house.states())
    yield
    if names := set(house.states()) - before:
        house("rm", "-f", *names)


def write(house: House, guest: str, text: str) -> None:
    house("exec", guest, "sh", "-c", f"echo {text} > /root/note; sync; echo {text} > /run/note")


def notes(house: House, guest: str) -> str:
    """What is on the disk and what is in memory."""
    house("wait", "--ready", guest)
    return house("exec", guest, "cat", "/root/note", "/run/note")


def count(house: House, guest: str) -> int:
    # Who writes it anew empties it first.
    script = 'for _ in $(seq 1000); do n=$(cat /run/count); [ -z "$n" ] || break; done; echo $n'
    return int(house("exec", guest, "sh", "-c", script))


@pytest.fixture(scope="module")
def saved(house: House) -> str:
    """A guest with the snapshots `one`, and `two` upon it."""
    guest = start(house, "saved")
    write(house, guest, "first")
    assert house("snapshot", "create", guest, "one") == "one\n"
    write(house, guest, "second")
    assert house("snapshot", "create", guest, "two") == "two\n"
    write(house, guest, "third")
    return guest


def counts_on(house: House, guest: str) -> bool:
    """Whether what it was started for runs on, some time soon."""
    before, until = count(house, guest), time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if count(house, guest) > before:
            return True
    return False


def directory(house: House, guest: str, snapshot: str) -> Path:
    return house.home / "guests" / guest / "snapshots" / snapshot


def test_a_guest_becomes_what_it_was_and_goes_on(house: House, saved: str) -> None:
    for name, text in (("one", "first"), ("two", "second"), ("one", "first")):
        house("snapshot", "restore", saved, name)
        assert notes(house, saved) == f"{text}\n{text}\n"
        # What it was started for runs on, and its clock is right.
        assert counts_on(house, saved)
        behind = int(house("exec", saved, "date", "+%s")) - time.time()
        assert abs(behind) < 60
    log = house("logs", saved)
    assert "count 1" in log


def test_snapshots_are_listed_and_know_their_parents(house: House, saved: str) -> None:
    found = json.loads(house("snapshot", "ls", saved, "--json"))
    assert [(it["name"], it["parent"]) for it in found] == [("one", None), ("two", "one")]
    one, two = ({file["name"]: file["size"] for file in it["files"]} for it in (found[0], found[1]))
    # The second has the layers of the first, and a small one of its own.
    assert set(one) | {"pages.1", "index.1"} == set(two)
    blocks = (directory(house, saved, "two") / "pages.1").stat().st_blocks * 512
    assert blocks < (directory(house, saved, "one") / "pages.0").stat().st_blocks * 512 / 2
    assert house("snapshot", "tree", saved) == "saved\n└─ one\n   └─ two\n"
    assert json.loads(house("snapshot", "show", saved, "two"))["running"] is True
    assert house("snapshot", "verify", saved, "two") == "two is what it was\n"


def test_a_guest_goes_on_with_another_engine(house: House, saved: str) -> None:
    house("snapshot", "restore", saved, "two", "--engine", "interpreter")
    assert notes(house, saved) == "second\nsecond\n"
    assert house.inspect(saved)["engine"] == "interpreter"
    house("snapshot", "create", saved, "slow")
    house("snapshot", "restore", saved, "slow", "--engine", "translator")
    assert notes(house, saved) == "second\nsecond\n"
    assert house.inspect(saved)["engine"] == "translator"


def test_one_that_is_removed_is_missed_by_no_other(house: House) -> None:
    guest = start(house, "removed")
    write(house, guest, "before")
    house("snapshot", "create", guest, "below")
    write(house, guest, "after")
    house("snapshot", "create", guest, "above")
    house("snapshot", "rm", guest, "below")
    house("snapshot", "restore", guest, "above")
    assert notes(house, guest) == "after\nafter\n"
    # Its parent is gone, and the next one is still made of what changed.
    house("snapshot", "create", guest, "next")
    house("snapshot", "restore", guest, "next")
    assert notes(house, guest) == "after\nafter\n"
    assert house("snapshot", "rm", guest, "below", status=1) == ""


def test_altered_and_truncated_files_are_named(house: House) -> None:
    guest = start(house, "altered")
    house("snapshot", "create", guest, "good")
    place = directory(house, guest, "good")
    for name in ("state", "pages.0", "index.0", "disk0.0.qcow2", "about.json", "snapshot.json"):
        path = place / name
        content = path.read_bytes()
        at = len(content) // 2
        for bad in (content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], content[:at]):
            path.write_bytes(bad)
            done = house.inn("snapshot", "restore", guest, "good")
            assert done.returncode == 1
            assert name.encode() in done.stderr
            assert done.stderr.count(b"\n") == 1
        path.write_bytes(content)
    # The guest was not touched.
    assert house.inspect(guest)["state"] == "running"
    house("snapshot", "restore", guest, "good")
    assert count(house, guest) > 0


def test_what_is_left_of_another_record_is_no_part_of_a_snapshot(house: House) -> None:
    guest = start(house, "leftover")
    own = house.home / "guests" / guest / "run"
    for name in ("pages.1", "index.1", "disk7.top.raw"):
        (own / f"recording.{name}").write_bytes(b"of another")
    house("snapshot", "create", guest, "good")
    names = {path.name for path in directory(house, guest, "good").iterdir()}
    assert names.isdisjoint({"pages.1", "index.1", "disk7.0.raw", "disk7.top.raw"})
    house("snapshot", "restore", guest, "good")
    assert counts_on(house, guest)


def test_disks_of_a_guest_that_does_not_run(house: House) -> None:
    guest = start(house, "still", "sleep", "infinity")
    house("exec", guest, "sh", "-c", "echo kept > /root/note")
    house("stop", guest)
    house("snapshot", "create", guest, "off")
    house("start", guest)
    house("wait", "--ready", guest)
    house("exec", guest, "sh", "-c", "echo lost > /root/note; sync")
    house("snapshot", "restore", guest, "off")
    assert house.inspect(guest)["state"] == "exited"
    house("start", guest)
    house("wait", "--ready", guest)
    assert house("exec", guest, "cat", "/root/note") == "kept\n"


def test_a_restored_guest_starts_anew_from_its_disk(house: House) -> None:
    guest = start(house, "anew", "sleep", "infinity")
    write(house, guest, "first")
    house("snapshot", "create", guest, "one")
    house("snapshot", "restore", guest, "one")
    write(house, guest, "second")
    house("stop", guest)
    house("rename", guest, "renewed")
    house("start", "renewed")
    house("wait", "--ready", "renewed")
    assert house("exec", "renewed", "cat", "/root/note") == "second\n"
    assert house("exec", "renewed", "sh", "-c", "test -e /run/note || echo gone") == "gone\n"


def test_forks_are_running_copies_each_with_its_own_identity(house: House) -> None:
    guest = start(house, "parent")
    write(house, guest, "shared")
    assert house("fork", guest, "-n", "3") == "parent-1\nparent-2\nparent-3\n"
    forks = ["parent-1", "parent-2", "parent-3"]
    assert all(notes(house, fork) == "shared\nshared\n" for fork in forks)
    assert [house("exec", fork, "hostname") for fork in forks] == [f"{it}\n" for it in forks]
    for command in ("cat /sys/class/net/eth0/address", "head -c 16 /dev/urandom | od -x"):
        each = {house("exec", name, "sh", "-c", command) for name in (guest, *forks)}
        assert len(each) == 4, command
    write(house, "parent-1", "own")
    assert notes(house, "parent-2") == "shared\nshared\n"
    assert notes(house, guest) == "shared\nshared\n"
    assert counts_on(house, "parent-3")


def test_a_fork_can_be_forked_and_outlives_its_parent(house: House) -> None:
    guest = start(house, "elder")
    write(house, guest, "old")
    house("fork", guest, "heir")
    write(house, "heir", "new")
    house("rm", "--force", guest)
    house("fork", "heir", "grandchild")
    house("rm", "--force", "heir")
    assert notes(house, "grandchild") == "new\nnew\n"
    house("snapshot", "create", "grandchild", "late")
    write(house, "grandchild", "newer")
    house("snapshot", "restore", "grandchild", "late")
    assert notes(house, "grandchild") == "new\nnew\n"


def test_what_cannot_be_done_is_one_sentence(house: House, saved: str) -> None:
    house("create", "--name", "ended", "debian")
    for words, status, part in (
        (("snapshot", "create", "nobody"), 1, b"there is no guest 'nobody'"),
        (("snapshot", "create", saved, "one"), 1, b"has a snapshot 'one' already"),
        (("snapshot", "create", saved, "a/b"), 2, b"is no name for a snapshot"),
        (("snapshot", "restore", saved, "none"), 1, b"there is no snapshot 'none'"),
        (("fork", saved, saved), 1, b"there is a guest 'saved' already"),
        (("fork", saved, "-n", "0"), 2, b"1 to 1000 times"),
        (("fork", "ended"), 1, b"the guest 'ended' is not running"),
    ):
        done = house.inn(*words)
        assert (done.returncode, done.stderr.count(b"\n")) == (status, 1), done.stderr
        assert part in done.stderr, done.stderr
