"""Networks on bridges, in a namespace that plays the host, beside one that plays the world."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.boot.namespaces import Namespace, namespace, needs_namespaces
from tests.conftest import PATIENCE

from innkeeper.images import Image

NETWORK = "testing-bridge"
OTHER = "testing-lonely"
GUESTS = ("testing-br-a", "testing-br-b")
LONELY = "testing-br-c"
LIVE = ("running", "paused", "starting", "restarting")
WORLD = "192.0.2.2"
WORLD6 = "2001:db8::2"
# Answers each client with the address that it came from.
SERVER = """
import socket, sys, threading
def serve(family, address, port):
    listener = socket.create_server((address, port), family=family)
    while True:
        client, peer = listener.accept()
        client.sendall(f"{peer[0]}\\n".encode())
        client.close()
threading.Thread(target=serve, args=(socket.AF_INET6, "::", 80)).start()
threading.Thread(target=serve, args=(socket.AF_INET, "0.0.0.0", 80)).start()
print("listening", flush=True)
"""
GUEST_SERVER = """
socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(80, INADDR_ANY)); listen(S, 5);
open(READY, ">/tmp/listening"); close(READY);
while (accept(C, S)) { print C "served\\n"; close(C); }
"""


class Place:
    """Two hosts with a wire between: ours, on which guests run, and the world."""

    def __init__(self, host: Namespace, world: Namespace) -> None:
        self.host = host
        self.world = world

    def ask(self, guest: str, address: str, port: int = 80) -> str:
        """What a guest hears there; empty when it is refused."""
        script = f"exec 3<>/dev/tcp/{address}/{port} && cat <&3"
        return self.host.inn("exec", guest, "timeout", "60", "bash", "-c", script).stdout.strip()

    def answers(self, guest: str, command: str) -> bool:
        return self.host.inn("exec", guest, "sh", "-c", command).returncode == 0

    def inspect(self, network: str) -> dict[str, object]:
        found = self.host.inn("network", "inspect", network)
        document: dict[str, object] = json.loads(found.stdout)
        return document

    def address(self, network: str, guest: str) -> str:
        members = self.inspect(network)["members"]
        assert isinstance(members, list)
        (found,) = (it["address"] for it in members if it["name"] == guest)
        return str(found)


@pytest.fixture(scope="module")
def place(debian: Image) -> Iterator[Place]:
    needs_namespaces()
    with ExitStack() as stack:
        host, world = stack.enter_context(namespace()), stack.enter_context(namespace())
        host.ip(f"link add uplink type veth peer name wire netns {world.name}")
        for side, link, last in ((host, "uplink", 1), (world, "wire", 2)):
            side.ip(f"address add 192.0.2.{last}/24 dev {link}")
            side.ip(f"address add 2001:db8::{last}/64 dev {link} nodad")
            side.ip(f"link set {link} up")
        host.ip(f"route add default via {WORLD}")
        for side in (host, world):
            serve(stack, side)
        place = Place(host, world)
        stack.callback(host.inn, "network", "rm", NETWORK, OTHER)
        for network, option in ((NETWORK, ()), (OTHER, ("--isolated",))):
            made = host.inn("network", "create", network, "--bridge", *option)
            assert made.returncode == 0, made.stderr
        stack.callback(host.inn, "rm", "--force", *GUESTS, LONELY)
        for name, network, options in (
            (GUESTS[0], NETWORK, ("-p", "8080:80", "--cpus", "2")),
            (GUESTS[1], NETWORK, ()),
            (LONELY, OTHER, ()),
        ):
            words = ("--name", name, "--memory", "256M", "--network", network, *options)
            started = host.inn("run", "--detach", *words, debian.name)
            assert started.returncode == 0, started.stderr
        for name in (*GUESTS, LONELY):
            start = 'perl -MSocket -e "$0" > /dev/null 2>&1 &'
            # Its kernel looks for a second or so whether its IPv6 address is another's.
            settled = "ip -6 address show scope global -tentative dev eth0 | grep -q inet6"
            wait = f"until test -e /tmp/listening && {settled}; do sleep 0.05; done"
            host.inn("exec", name, "sh", "-c", start + wait, GUEST_SERVER)
        yield place


def serve(stack: ExitStack, side: Namespace) -> None:
    server = stack.enter_context(
        subprocess.Popen(side.command("python3", "-c", SERVER), stdout=subprocess.PIPE, text=True)
    )
    stack.callback(server.kill)
    assert server.stdout is not None
    assert server.stdout.readline() == "listening\n"


def test_guests_have_addresses_of_the_network_and_find_each_other(place: Place) -> None:
    for guest, other in (GUESTS, GUESTS[::-1]):
        address = place.address(NETWORK, other)
        found = place.host.inn("exec", guest, "getent", "hosts", f"{other}.inn")
        assert found.stdout.split()[0] == address
        assert place.ask(guest, other) == "served"


def test_the_world_is_reached_behind_the_host_s_addresses(place: Place) -> None:
    assert place.ask(GUESTS[0], WORLD) == "192.0.2.1"
    assert place.ask(GUESTS[0], WORLD6) == "2001:db8::1"


def test_the_host_and_other_networks_are_out_of_reach(place: Place) -> None:
    gateway = str(place.inspect(NETWORK)["bridge"]["gateway"])  # type: ignore[index]
    for address in (gateway, "192.0.2.1", "2001:db8::1", place.address(OTHER, LONELY)):
        assert place.ask(GUESTS[0], address) == "", address


def test_an_isolated_network_leads_nowhere(place: Place) -> None:
    for address in (WORLD, WORLD6, "192.0.2.1", place.address(NETWORK, GUESTS[0])):
        assert place.ask(LONELY, address) == "", address


def test_a_published_port_leads_to_the_guest(place: Place) -> None:
    for side, address in (
        (place.host, "127.0.0.1"),
        (place.host, "192.0.2.1"),
        (place.world, "192.0.2.1"),
    ):
        client = side.run("curl", "--silent", "--http0.9", f"http://{address}:8080/")
        assert client.stdout == "served\n", client.stderr
    # What nobody published stays shut, also to those who know the way.
    place.world.ip("route replace 10.105.0.0/16 via 192.0.2.1")
    direct = f"http://{place.address(NETWORK, GUESTS[0])}/"
    refused = place.world.run("curl", "--silent", "--http0.9", "--max-time", "3", direct)
    assert refused.stdout == ""


def test_a_guest_says_nothing_in_another_s_name(place: Place) -> None:
    """It takes the other's address as its own; what it then sends is seen by nobody."""
    liar, victim = GUESTS[1], place.address(NETWORK, GUESTS[0])
    bridge = place.inspect(NETWORK)["bridge"]
    assert isinstance(bridge, dict)
    lie = f"ip addr add {victim}/32 dev eth0; exec 3<>/dev/tcp/{{}}/80"
    # `ip` names the source for what goes to the gateway.
    send = f"ip route add {WORLD} via {bridge['gateway']} src {victim}; "
    script = lie.format(WORLD).replace("exec", send + "timeout 2 bash -c 'exec", 1) + "'"
    refused = place.host.inn("exec", liar, "bash", "-c", script)
    assert refused.returncode != 0
    neighbours = place.host.ip(f"neigh show {victim} dev {bridge['interface']}")
    mac = place.host.inn("exec", liar, "cat", "/sys/class/net/eth0/address").stdout.strip()
    assert mac not in neighbours
    place.host.inn("exec", liar, "ip", "addr", "del", f"{victim}/32", "dev", "eth0")
    place.host.inn("exec", liar, "ip", "route", "del", WORLD)


def test_a_guest_that_is_killed_leaves_nothing_and_comes_back(place: Place) -> None:
    name = GUESTS[0]
    assert place.host.ip("link").count("innt") == 3
    pid = json.loads(place.host.inn("inspect", name, "--json").stdout)["pid"]
    place.host.run("kill", "-9", str(pid), check=True)
    until_ended(place, name)
    assert place.host.ip("link").count("innt") == 2
    interface = place.inspect(NETWORK)["bridge"]["interface"]  # type: ignore[index]
    assert "8080" not in place.host.run("nft", "list", "table", "inet", str(interface)).stdout
    assert place.ask(GUESTS[1], WORLD) == "192.0.2.1"
    started = place.host.inn("start", name)
    assert started.returncode == 0, started.stderr
    assert "8080" in place.host.run("nft", "list", "table", "inet", str(interface)).stdout
    assert place.host.inn("exec", name, "getent", "hosts", GUESTS[1]).returncode == 0
    assert place.host.ip("link").count("innt") == 3


def until_ended(place: Place, name: str) -> None:
    """Until its supervisor has written down how it ended, after which it has tidied up."""
    deadline = time.monotonic() + PATIENCE
    while (document := json.loads(place.host.inn("inspect", name, "--json").stdout))[
        "state"
    ] in LIVE:
        assert time.monotonic() < deadline
    assert "SIGKILL" in json.dumps(document)
