"""Several guests on one network of the user's own, which needs no privilege."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.boot.test_network import SERVER
from tests.conftest import PATIENCE, Inn

from innkeeper import Guest
from innkeeper.images import Image, Network, Networks

NETWORK = "testing-lab"
ASK = "exec 3<>/dev/tcp/{name}/80 && cat <&3"


@pytest.fixture
def network() -> Iterator[str]:
    networks = Networks()
    if NETWORK in [known.name for known in networks.all()]:
        networks.remove(NETWORK)
    networks.create(Network(name=NETWORK, isolated=True))
    yield NETWORK
    networks.remove(NETWORK)


def test_guests_reach_each_other_by_name_and_nothing_else(debian: Image, network: str) -> None:
    names = ("web1", "web2", "db")
    with ExitStack() as stack:
        guests = {
            name: stack.enter_context(Guest(debian.name, memory="256M", name=name, network=network))
            for name in names
        }
        for name, guest in guests.items():
            address = next(it.address for it in Networks().members(network) if it.name == name)
            assert f"inet {address}/24" in guest.run(["ip", "-4", "-o", "addr"]).stdout
            assert guest.run(["getent", "hosts", name], check=True).stdout.split()[0] == address
        serve = ["sh", "-c", 'perl -MSocket -e "$0" > /tmp/log 2>&1 &', SERVER]
        for asker, server in (("web1", "db"), ("db", "web2"), ("web2", "web1")):
            guests[server].run(serve, check=True, timeout=PATIENCE)
            listening = "until grep -q listening /tmp/log; do sleep 0.05; done"
            guests[server].run(["sh", "-c", listening], check=True, timeout=PATIENCE)
            asked = guests[asker].run(["bash", "-c", ASK.format(name=server)], timeout=PATIENCE)
            assert asked.stdout == "served\n", asked.stderr
        assert guests["db"].run(["getent", "hosts", "no-such-guest"]).returncode == 2
        # What one of them throws at another is whole, and as large as it is.
        send = "head -c 30M /dev/urandom > /tmp/big; sha256sum < /tmp/big; "
        send += "exec 3<>/dev/tcp/db.inn/80; cat /tmp/big >&3"
        script = SERVER.replace('print C "served\\n";', "print while <C>;")
        take = '(perl -MSocket -e "$0" | sed 1d | sha256sum > /tmp/sum) 2> /dev/null &'
        guests["db"].run(["sh", "-c", take, script], check=True, timeout=PATIENCE)
        sent = guests["web1"].run(
            ["bash", "-c", f"until ({send}) 2>/dev/null; do sleep 0.1; done"], timeout=PATIENCE
        )
        wait = "until grep -q . /tmp/sum; do sleep 0.05; done; cat /tmp/sum"
        got = guests["db"].run(["sh", "-c", wait], timeout=PATIENCE)
        assert got.stdout == sent.stdout.splitlines(keepends=True)[-1]


def test_networks_are_made_listed_and_removed(inn: Inn) -> None:
    name = "testing-made"
    assert inn("network", "create", name, "--isolated").stdout == f"{name}\n".encode()
    again = inn("network", "create", name)
    assert (again.returncode, again.stderr) == (
        1,
        b"inn: there is a network testing-made already\n",
    )
    listed = json.loads(inn("network", "ls", "--json").stdout)
    assert name in [network["name"] for network in listed]
    assert b"itself" in inn("network", "ls").stdout
    document = json.loads(inn("network", "inspect", name).stdout)
    assert (document["isolated"], document["members"]) == (True, [])
    assert inn("network", "rm", name).returncode == 0
    gone = inn("network", "inspect", name)
    assert (gone.returncode, b"there is no network" in gone.stderr) == (1, True)


@pytest.mark.parametrize("name", ["user", "none", "tap", "Lab", "", "a/b", "-a"])
def test_names_that_networks_cannot_have(inn: Inn, name: str) -> None:
    result = inn("network", "create", "--", name)
    assert result.returncode == 2
    assert b"is no name for a network" in result.stderr


def test_a_network_that_does_not_exist_is_told_before_anything_else(inn: Inn) -> None:
    result = inn("run", "no-such-image", "--network", "no-such-network")
    assert result.returncode == 1
    assert b"there is no network 'no-such-network'" in result.stderr


def test_guests_that_stay_share_a_network_from_inside_their_jails(
    inn: Inn, debian: Image, network: str
) -> None:
    names = ("testing-shared-a", "testing-shared-b")
    try:
        for name in names:
            options = ["--name", name, "--memory", "256M", "--network", network]
            started = inn("run", "--detach", *options, debian.name)
            assert started.returncode == 0, started.stderr
        present = [it.name for it in Networks().members(network) if it.present]
        assert present == list(names)
        for name, other in (names, names[::-1]):
            found = inn("exec", name, "getent", "hosts", other)
            assert (found.returncode, other.encode() in found.stdout) == (0, True), found.stderr
        refused = inn("network", "rm", network)
        assert (refused.returncode, b"guests are in the network" in refused.stderr) == (2, True)
    finally:
        inn("rm", "--force", *names)
