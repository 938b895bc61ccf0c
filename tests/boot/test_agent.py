"""What the agent does for its guest as a whole, in a Debian that these tests share."""

import time
from collections.abc import Iterator

import pytest

from innkeeper import CommandFailed, Guest
from innkeeper.errors import CommandNotStarted
from innkeeper.guest import errands
from innkeeper.guest.errands import ErrandFailed, Identity, ThawedTooSoon
from innkeeper.guest.process import Process
from innkeeper.images import Image

PATIENCE = 120.0


@pytest.fixture(scope="module")
def guest(debian: Image) -> Iterator[Guest]:
    with Guest(debian.name, memory="256M", name="one") as running:
        yield running


def said(guest: Guest, script: str, user: str = "root") -> str:
    return guest.run(["sh", "-c", script], user=user, check=True).stdout.strip()


def writer(guest: Guest) -> Process:
    """A command that says something before and after it has changed a file."""
    process = guest.start(["sh", "-c", "echo before; echo more >> /root/file; echo after"])
    assert process.stdout.read(PATIENCE) == b"before\n"
    return process


def test_its_clock_is_set(guest: Guest) -> None:
    said(guest, "date -s '2001-02-03 04:05:06'")
    ahead = guest.set_time()
    assert ahead < -20 * 365 * 86400
    assert abs(int(said(guest, "date +%s")) - time.time()) < 30
    assert abs(guest.set_time()) < 10


def test_it_becomes_another(guest: Guest) -> None:
    said(guest, "echo 127.0.1.1 one >> /etc/hosts; echo one > /etc/hostname")
    old = said(guest, "cat /sys/class/net/e*/address")
    cards = [(bytes.fromhex(old.replace(":", "")), bytes.fromhex("02123456789a"))]
    guest.agent.run_errand(errands.renew(Identity.fresh("two", cards=cards)), PATIENCE)
    assert said(guest, "hostname; cat /etc/hostname; tail -1 /etc/hosts").split() == [
        *("two", "two"),
        *("127.0.1.1", "two"),
    ]
    assert said(guest, "cat /sys/class/net/e*/address") == "02:12:34:56:78:9a"
    # It has an address, a route and a resolver as before.
    assert "default via 10.0.2.2" in said(guest, "ip route")
    assert "inet 10.0.2.15" in said(guest, "ip -4 addr")


def test_what_no_guest_can_be_is_refused_in_its_words(guest: Guest) -> None:
    def refused(identity: Identity) -> str:
        with pytest.raises(ErrandFailed) as caught:
            guest.agent.run_errand(errands.renew(identity), PATIENCE)
        return str(caught.value)

    assert "cannot change the host name" in refused(Identity(hostname="a b"))
    nobodys = Identity(cards=[(b"nobody", b"nobody")])
    assert refused(nobodys).endswith("cannot change a card's address: No such device")


def test_nothing_is_written_while_it_is_frozen(guest: Guest) -> None:
    with guest.frozen(limit=PATIENCE) as count:
        assert count == 1
        with pytest.raises(ErrandFailed, match="already"):
            guest.freeze()
        process = writer(guest)
        with pytest.raises(TimeoutError):
            process.stdout.read(0.5)
        # What only reads goes on.
        assert said(guest, "ls -d /root") == "/root"
    assert process.stdout.read(PATIENCE) == b"after\n"
    assert guest.thaw() == 0


def test_it_thaws_by_itself_and_does_not_hide_it(guest: Guest) -> None:
    def copy() -> None:
        with guest.frozen(limit=0.2):
            # Its last words come when it has thawed.
            assert writer(guest).stdout.read(PATIENCE) == b"after\n"

    with pytest.raises(ThawedTooSoon):
        copy()


def test_much_input_does_not_wait_for_anybody_to_look(guest: Guest) -> None:
    # It is taken a window at a time. A console that does not say when it has room is looked at now
    # and then, which takes many times as long as the other way.
    size = 64 << 20
    began = time.monotonic()
    with guest.start(["head", "-c", str(size), "/dev/zero"]) as telling:
        while telling.stdout.read(PATIENCE):
            pass
    out = time.monotonic() - began
    began = time.monotonic()
    with guest.start(["wc", "-c"]) as counting:
        for _ in range(size >> 20):
            counting.write(bytes(1 << 20))
        counting.end_input()
        assert int(counting.stdout.read(PATIENCE)) == size
    assert time.monotonic() - began < 10 * (out + 1)


def test_a_command_has_its_users_name_groups_and_home(guest: Guest) -> None:
    said(guest, "groupadd -f -g 4321 many && useradd -m -G many -s /bin/sh ann")
    script = 'id -un; id -gn; id -Gn; echo "$HOME $USER $SHELL"; pwd; ls -l /proc/self/fd/0'
    told = said(guest, script, user="ann").splitlines()
    assert told[0:2] == ["ann", "ann"]
    assert sorted(told[2].split()) == ["ann", "many"]
    assert told[3:5] == ["/home/ann ann /bin/sh", "/home/ann"]
    assert said(guest, "id -g", user="ann:many") == "4321"
    assert said(guest, "id -u; id -g", user="777:4321").split() == ["777", "4321"]
    with pytest.raises(CommandFailed, match="ermission denied"):
        said(guest, "echo > /root/file", user="ann")
    for nobody in ("bob", "ann:bob"):
        with pytest.raises(CommandNotStarted, match=r"there is no .* bob"):
            said(guest, "true", user=nobody)
