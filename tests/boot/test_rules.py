"""Rules of guests' networks, and the programs that people use networks by: ping, curl, iperf3 and
ssh of Debian's packages, between guests on a bridge and from a user network outward. In a namespace
that plays the host, beside one that plays the world.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.boot import packages
from tests.boot.namespaces import Namespace, namespace, needs_namespaces

from innkeeper.images import Image

NETWORK = "testing-rules"
A, B = GUESTS = ("testing-rules-a", "testing-rules-b")
WORLD = "192.0.2.2"
TOOLS = "/opt/tools"
# What runs where nothing of it is installed, with the libraries that it takes.
PROGRAMS = (
    "iputils-ping",
    "libcap2",
    "libidn2-0",
    "libunistring2",
    "ethtool",
    "libmnl0",
    "iperf3",
    "libiperf0",
    "libsctp1",
    "libssl3",
    "dropbear-bin",
    "libtomcrypt1",
    "libtommath1",
    "libgmp10",
    "libcrypt1",
    "zlib1g",
)


class Place:
    """The host, its two guests, and what is done in them."""

    def __init__(self, host: Namespace, tools: Path) -> None:
        self.host = host
        self.tools = tools

    def run(self, guest: str, script: str) -> subprocess.CompletedProcess[str]:
        return self.host.inn("exec", guest, "sh", "-c", f"{environment(TOOLS)} {script}")

    def reaches(self, guest: str, address: str) -> bool:
        """By ping, whose answer comes or does not."""
        script = f"ping -n -q -c 3 -i 0.2 -W 60 {address}"
        return self.run(guest, script).returncode == 0

    def hears_nothing(self, guest: str, address: str) -> bool:
        return self.run(guest, f"ping -n -q -c 1 -W 2 {address}").returncode == 1

    def connects(self, guest: str, address: str, port: int) -> bool:
        script = f"timeout 60 bash -c 'exec 3<>/dev/tcp/{address}/{port}'"
        return self.host.inn("exec", guest, "bash", "-c", script).returncode == 0

    def rule(self, guest: str, *words: str) -> None:
        done = self.host.inn("network", "rule", *words[:1], guest, *words[1:])
        assert done.returncode == 0, done.stderr

    def address(self, guest: str) -> str:
        document = json.loads(self.host.inn("network", "inspect", NETWORK).stdout)
        return next(str(it["address"]) for it in document["members"] if it["name"] == guest)


def environment(tools: str) -> str:
    libraries = f"{tools}/usr/lib/x86_64-linux-gnu:{tools}/lib/x86_64-linux-gnu"
    path = ":".join(f"{tools}/{name}" for name in ("usr/bin", "bin", "usr/sbin", "sbin"))
    return f"export LD_LIBRARY_PATH={libraries} PATH={path}:$PATH;"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tools")
    packages.fetch(PROGRAMS)
    for package in PROGRAMS:
        shutil.copytree(packages.files(package, "*"), place, symlinks=True, dirs_exist_ok=True)
    for libraries in place.glob("**/x86_64-linux-gnu"):
        # By the names that programs ask for.
        subprocess.run(["/sbin/ldconfig", "-n", libraries], check=True)
    return place


@pytest.fixture(scope="module")
def place(debian: Image, tools: Path) -> Iterator[Place]:
    needs_namespaces()
    with ExitStack() as stack:
        host, world = stack.enter_context(namespace()), stack.enter_context(namespace())
        host.ip(f"link add uplink type veth peer name wire netns {world.name}")
        for side, link, last in ((host, "uplink", 1), (world, "wire", 2)):
            side.ip(f"address add 192.0.2.{last}/24 dev {link}")
            side.ip(f"link set {link} up")
        host.ip(f"route add default via {WORLD}")
        place = Place(host, tools)
        stack.callback(host.inn, "network", "rm", NETWORK)
        made = host.inn("network", "create", NETWORK, "--bridge")
        assert made.returncode == 0, made.stderr
        stack.callback(host.inn, "rm", "--force", *GUESTS)
        for name in GUESTS:
            words = ("--name", name, "--memory", "256M", "--cpus", "2", "--network", NETWORK)
            folder = ("-v", f"{tools}:{TOOLS}:ro")
            started = host.inn("run", "--detach", *words, *folder, debian.name)
            assert started.returncode == 0, started.stderr
        for name in GUESTS:
            # It is ready.
            assert host.inn("exec", name, "true").returncode == 0
        yield place


def test_ping_curl_and_iperf3_between_guests_on_a_bridge(place: Place) -> None:
    assert place.reaches(A, B)
    assert place.reaches(A, WORLD)
    assert place.run(B, "iperf3 --server --daemon --one-off").returncode == 0
    # The server has forked before it listens, at port 5201.
    listens = "cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':1451 '"
    assert place.run(B, f"until {listens}; do sleep 0.05; done").returncode == 0
    told = place.run(A, f"iperf3 --json --time 1 --parallel 2 --client {B}")
    assert told.returncode == 0, told.stdout + told.stderr
    assert json.loads(told.stdout)["end"]["sum_received"]["bits_per_second"] > 0
    page = "(echo 'HTTP/1.0 200 OK'; echo; echo of the guest) > /tmp/page"
    script = """use Socket; socket(S,PF_INET,SOCK_STREAM,0);
        setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1);
        bind(S,sockaddr_in(80,INADDR_ANY)); listen(S,9); open(R,">/tmp/ready"); close(R);
        while (accept(C,S)) { sysread(C,$x,9999); open(P,"/tmp/page"); print C <P>; close(C) }"""
    wait = "until test -e /tmp/ready; do sleep 0.05; done"
    start = f"{page}; perl -e '{script}' >/dev/null 2>&1 & {wait}"
    assert place.host.inn("exec", B, "sh", "-c", start).returncode == 0
    got = place.host.run("curl", "--silent", "--show-error", f"http://{place.address(B)}/")
    assert got.stdout == "of the guest\n", got.stderr


def test_ssh_from_the_host_over_a_bridge(place: Place, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    keys = f"mkdir -p /root/.ssh /etc/dropbear; echo '{public}' > /root/.ssh/authorized_keys"
    started = place.run(A, f"{keys}; dropbear -R -p 22")
    assert started.returncode == 0, started.stderr
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
    words = [word for option in options for word in ("-o", option)]
    login = ["ssh", "-F", "none", "-i", str(key), *words, f"root@{place.address(A)}"]
    assert place.host.run(*login, "hostname").stdout == f"{A}\n"


def test_rules_of_a_running_guest_hold_at_once(place: Place) -> None:
    """On the bridge, whose frames between guests the host's firewall does not see."""
    assert place.connects(A, B, 80)
    place.rule(B, "add", "in", "accept", "tcp", "port", "80")
    place.rule(B, "default", "--in", "drop")
    assert place.connects(A, B, 80)
    assert place.hears_nothing(A, B)
    # What the guest itself begins has its answers.
    assert place.reaches(B, A)
    # They are those of all its cards, and another one has none of its own.
    assert place.host.inn("network", "attach", B, "user", "--id", "more").returncode == 0
    assert place.hears_nothing(A, B)
    assert place.host.inn("network", "detach", B, "more").returncode == 0
    place.rule(B, "add", "in reject tcp from", place.address(A), "--at", "1")
    assert not place.connects(A, B, 80)
    listed = place.host.inn("network", "rule", "ls", B, "--json")
    assert json.loads(listed.stdout) == {
        "in": "drop",
        "out": "accept",
        "rules": [f"in reject tcp from {place.address(A)}", "in accept tcp port 80"],
    }
    place.rule(B, "rm", "1")
    assert place.connects(A, B, 80)
    # They are the guest's for its next run, too.
    assert place.host.inn("restart", B).returncode == 0
    assert place.run(B, "true").returncode == 0
    assert place.hears_nothing(A, B)
    place.rule(B, "rm", "--all")
    place.rule(B, "default", "--in", "accept")
    assert place.reaches(A, B)


def test_ping_outward_from_a_user_network_and_rules_there(place: Place, debian: Image) -> None:
    place.host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    script = f"{environment(TOOLS)} ping -n -q -c 2 -i 0.2 -W 9 {WORLD}"

    def pings(*options: str) -> subprocess.CompletedProcess[str]:
        folder = ("-v", f"{place.tools}:{TOOLS}:ro", "--memory", "256M")
        return place.host.inn("run", *folder, *options, debian.name, "--", "sh", "-c", script)

    open_ = pings()
    assert open_.returncode == 0, open_.stdout + open_.stderr
    assert "2 received" in open_.stdout
    refused = pings("--firewall", "out=reject", "--rule", "out accept icmp to 192.0.2.9")
    assert refused.returncode != 0
    assert "2 received" not in refused.stdout
    assert pings("--rule", f"out accept icmp to {WORLD}", "--firewall", "out=drop").returncode == 0


def test_the_queues_that_a_guest_uses_are_those_of_its_interface(place: Place) -> None:
    """A frame that came by another one would be lost."""
    bridge = json.loads(place.host.inn("network", "inspect", NETWORK).stdout)["bridge"]
    mac = place.run(A, "cat /sys/class/net/eth0/address").stdout.strip()
    seen = json.loads(place.host.ip(f"-json link show master {bridge['interface']}"))
    neighbours = place.host.run("bridge", "-json", "fdb", "show", "br", bridge["interface"]).stdout
    (tap,) = {it["ifname"] for it in json.loads(neighbours) if it["mac"] == mac}
    assert tap in {it["ifname"] for it in seen}
    for count in (2, 1, 2):
        done = place.run(A, f"ethtool -L eth0 combined {count}")
        assert done.returncode == 0 or "no channel parameters changed" in done.stderr, done.stderr
        queues = place.host.run("sh", "-c", f"ls -d /sys/class/net/{tap}/queues/tx-*")
        assert len(queues.stdout.split()) == count
        assert place.reaches(A, B)
