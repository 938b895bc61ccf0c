"""A guest's network, with the programs that people use it by."""

import contextlib
import http.server
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import PATIENCE, Inn, wait_for

from innkeeper import Guest
from innkeeper.images import Image
from innkeeper.machine import mac_of

# Asks 10.0.2.2 for a page with nothing but a shell.
ASK = "exec 3<>/dev/tcp/10.0.2.2/{port} && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && cat <&3"
# What minimal images have to serve with.
SERVER = """
socket(S, PF_INET, SOCK_STREAM, 0);
setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in(80, INADDR_ANY));
listen(S, 5);
$| = 1;
print "listening\\n";
accept(C, S);
print C "served\\n";
"""
# Servers and clients out of Debian's packages, by the host's own network.
PACKAGES = "curl dropbear-bin iputils-ping nginx-light"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[int]:
    """A web server on the host's loopback."""

    def handler(*arguments: object) -> http.server.BaseHTTPRequestHandler:
        return http.server.SimpleHTTPRequestHandler(*arguments, directory=directory)  # type: ignore[arg-type]

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def guest(debian: Image, ports: tuple[int, int]) -> Iterator[Guest]:
    published = [f"127.0.0.1:{ports[0]}:80", f"127.0.0.1:{ports[1]}:22"]
    with Guest(debian.name, cpus=2, memory="768M", name="web1", ports=published) as running:
        install = f"apt-get update && apt-get install -y --no-install-recommends {PACKAGES}"
        running.run(["sh", "-c", f"({install}) </dev/null"], check=True, timeout=PATIENCE)
        yield running


def test_a_guest_has_an_address_a_route_and_a_resolver_when_it_is_ready(
    inn: Inn, debian: Image
) -> None:
    script = "cat /sys/class/net/eth0/address; ip -4 -o addr; ip route; cat /etc/resolv.conf"
    result = inn("run", "debian", "--name", "web1", "--", "sh", "-c", script)
    words = result.stdout.decode()
    assert words.startswith(mac_of("web1"))
    assert "eth0    inet 10.0.2.15/24" in words
    assert "default via 10.0.2.2 dev eth0" in words
    assert "nameserver 10.0.2.3" in words


def test_without_a_network_there_is_no_card(inn: Inn, debian: Image) -> None:
    result = inn("run", "debian", "--network", "none", "--", "ls", "/sys/class/net")
    assert result.stdout == b"lo\n"


def test_the_host_s_services_are_out_of_reach_unless_allowed(
    inn: Inn, debian: Image, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("a page of the host\n")
    with serving(tmp_path) as port:
        for network, status in (("user", 1), ("user,host", 0)):
            command = ["bash", "-c", ASK.format(port=port)]
            result = inn("run", "debian", "--network", network, "--", *command)
            assert result.returncode == status
            assert (b"a page of the host" in result.stdout) == (status == 0)


def test_a_port_that_is_taken_is_told(inn: Inn, debian: Image) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = inn("run", "debian", "-p", f"127.0.0.1:{port}:80", "--", "true")
    assert result.returncode == 1
    words = f"cannot publish port {port} of 127.0.0.1: Address already in use"
    assert words in result.stderr.decode()


def test_the_host_s_curl_gets_a_page_of_the_guest_s_nginx(
    guest: Guest, ports: tuple[int, int]
) -> None:
    guest.run(["sh", "-c", "echo hello from nginx > /var/www/html/index.html"], check=True)
    guest.run(["nginx"], check=True)
    url = f"http://127.0.0.1:{ports[0]}/"
    page = subprocess.check_output(["curl", "--silent", "--show-error", url], timeout=PATIENCE)
    assert page == b"hello from nginx\n"
    # A file of some size, by several connections at a time.
    guest.run(["sh", "-c", "head -c 20M /dev/urandom > /var/www/html/big"], check=True)
    digest = guest.run(["sha256sum", "/var/www/html/big"], check=True).stdout.split()[0]
    fetch = f"curl --silent {url}big | sha256sum"
    clients = [
        subprocess.Popen(["sh", "-c", fetch], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for client in clients:
        words, _ = client.communicate(timeout=PATIENCE)
        assert words.split()[0] == digest


def test_ssh_into_the_guest(guest: Guest, ports: tuple[int, int], tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text()
    guest.run(["mkdir", "-p", "/root/.ssh", "/etc/dropbear"], check=True)
    guest.run(["tee", "/root/.ssh/authorized_keys"], stdin=public, check=True)
    guest.run(["dropbear", "-R", "-p", "22"], check=True)
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
    command = ["ssh", "-F", "none", "-i", str(key), "-p", str(ports[1])]
    command += [word for option in options for word in ("-o", option)]
    words = subprocess.check_output(
        [*command, "root@127.0.0.1", "hostname; cat"],
        input=b"and back\n",
        timeout=PATIENCE,
        stderr=subprocess.DEVNULL,
    )
    assert words == b"web1\nand back\n"


def test_the_gateway_answers_pings_and_names_are_resolved(guest: Guest) -> None:
    for address in ("10.0.2.2", "fd69:6e6e::2"):
        guest.run(["ping", "-c", "3", "-i", "0.2", "-W", "20", address], check=True)
    answer = guest.run(["getent", "hosts", "no-such-name.invalid"], timeout=PATIENCE)
    assert answer.returncode == 2


def test_the_guest_has_an_ipv6_address(guest: Guest) -> None:
    words = guest.run(["ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"]).stdout
    assert "fd69:6e6e::" in words


def test_a_published_port_leads_to_the_guest(inn: Inn, debian: Image) -> None:
    port = free_port()
    command = [
        "run",
        "debian",
        "-p",
        f"127.0.0.1:{port}:80",
        "--",
        "perl",
        "-MSocket",
        "-e",
        SERVER,
    ]
    with inn.start(*command) as process:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"listening")
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            assert client.makefile().readline() == "served\n"
        assert process.wait(timeout=PATIENCE) == 0
