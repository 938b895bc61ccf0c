"""`Guest.fork`: copies of a guest that somebody attends to."""

from collections.abc import Iterator

import pytest

from innkeeper import Guest
from innkeeper.errors import GuestNotRunning, InvalidInput
from innkeeper.images import Image


@pytest.fixture(scope="module")
def guest(debian: Image) -> Iterator[Guest]:
    with Guest("debian", memory="192M", name="box") as found:
        yield found


def text(guest: Guest, command: str) -> str:
    return guest.run(["sh", "-c", command], check=True).stdout.strip()


def test_forks_are_where_their_parent_was_and_go_their_own_ways(guest: Guest) -> None:
    text(guest, "echo parent > /root/note; echo parent > /dev/shm/note")
    with guest.fork(2, names=["left", "right"]) as forks:
        assert [text(fork, "hostname") for fork in forks] == ["left", "right"]
        cards = {text(each, "cat /sys/class/net/e*/address") for each in (guest, *forks)}
        assert len(cards) == 3
        left, right = forks
        assert text(left, "cat /root/note /dev/shm/note") == "parent\nparent"
        text(left, "echo left > /root/note; sync; echo left > /dev/shm/note")
        assert text(right, "cat /root/note /dev/shm/note") == "parent\nparent"
        assert text(guest, "cat /root/note /dev/shm/note") == "parent\nparent"
        # A fork is a guest as any other.
        with left.fork() as (again,):
            assert again.name == "left-1"
            assert text(again, "cat /root/note /dev/shm/note") == "left\nleft"
            left.close()
            assert text(again, "echo here") == "here"
    with pytest.raises(GuestNotRunning):
        right.run(["true"])
    assert text(guest, "hostname") == "box"


def bytes_of_code(guest: Guest) -> int:
    return guest.stats().vcpus[0].counters["bytes of translated code"]


def test_who_goes_on_has_the_code_that_was_made_by_then(guest: Guest) -> None:
    text(guest, "ls /usr/bin | sort | tail -n 1")
    with guest.fork(2) as forks, Guest("debian", memory="192M") as warm:
        # What a guest makes until it can be asked is a tenth of it.
        for other in (*forks, warm):
            assert bytes_of_code(other) > 4 << 20


def test_what_cannot_be_forked_says_so(guest: Guest) -> None:
    for count in (0, 1001):
        with pytest.raises(InvalidInput, match="1 to 1000 times"):
            guest.fork(count)
    with pytest.raises(InvalidInput, match="as many names"):
        guest.fork(2, names=["one", "one"])
    with pytest.raises(GuestNotRunning):
        Guest("debian").fork()
    with guest.fork() as (fork,), pytest.raises(InvalidInput, match="runs already"), fork:
        pass
