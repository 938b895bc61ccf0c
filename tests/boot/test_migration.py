"""A Debian guest moves between two hosts, each a namespace with a home of its own and a bridge; a
cable is between the bridges, and a third namespace on it talks to the guest all the while.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.boot.namespaces import Namespace, namespace, needs_namespaces
from tests.conftest import INN
from tests.run.house import wait
from tests.run.test_migration import SLOW, Hosts

from innkeeper import _core
from innkeeper.images import Image

NETWORK = "moving"
# Sends each line back.
ECHO = """
socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(80, INADDR_ANY)); listen(S, 5);
open(READY, ">/tmp/listening"); close(READY);
accept(C, S); while (sysread(C, $line, 1000)) { syswrite(C, $line); }
"""
# Says numbers to it, one at a time, until it is told to end; prints how many came back.
TALK = """
import socket, sys, time, pathlib
line = socket.create_connection((sys.argv[1], 80), timeout=120)
count, last = 0, False
print("talking", flush=True)
# Once more after it was told to end: the guest is at the other host by then.
while not last:
    last = pathlib.Path(sys.argv[2]).exists()
    line.sendall(b"%d" % count)
    assert line.recv(1000) == b"%d" % count
    count += 1
    # Not as fast as can be: the guest has to get away.
    time.sleep(0.02)
print(count)
"""


# Writes all of its memory all the time, and tells how often it has.
WRITER = """
open(F, "/dev/urandom"); read(F, $x, 24e6);
for ($n = 1;; $n++) {
    for ($i = 0; $i < length($x); $i += 4096) { substr($x, $i, 1) = chr(rand(256)); }
    open(N, ">/tmp/rounds.new"); print N $n; close(N); rename("/tmp/rounds.new", "/tmp/rounds");
}
"""


@dataclass(frozen=True)
class Host:
    place: Namespace
    home: Path

    def inn(self, *words: str | Path, **more: str) -> str:
        environment = {**os.environ, "INNKEEPER_HOME": str(self.home), **more}
        done = subprocess.run(
            self.place.command(INN, *words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def hosts(debian: Image, tmp_path: Path) -> Iterator[tuple[Host, Host, Namespace]]:
    needs_namespaces()
    with ExitStack() as stack:
        found = []
        for name in ("here", "there"):
            home = tmp_path / name
            furnish(home, debian)
            host = Host(stack.enter_context(namespace()), home)
            host.inn("network", "create", NETWORK, "--bridge")
            stack.callback(host.inn, "network", "rm", NETWORK)
            stack.callback(end, host)
            found.append(host)
        here, there = found
        world = stack.enter_context(namespace())
        here.place.ip(f"link add cable type veth peer name cable netns {there.place.name}")
        here.place.ip(f"link add wire type veth peer name wire netns {world.name}")
        for host, link in ((here, "cable"), (there, "cable"), (here, "wire")):
            told = json.loads(host.inn("network", "inspect", NETWORK))
            host.place.ip(f"link set {link} master {told['bridge']['interface']} up")
        world.ip("address add 10.105.1.200/24 dev wire")
        world.ip("link set wire up")
        yield here, there, world


def end(host: Host) -> None:
    names = host.inn("ps", "-aq").split()
    if names:
        host.inn("rm", "--force", *names)


def test_a_connection_and_all_else_outlives_a_move(
    hosts: tuple[Host, Host, Namespace], debian: Image, tmp_path: Path
) -> None:
    here, there, world = hosts
    here.inn(
        *("run", "--detach", "--name", "box", "--memory", "256M", "--network", NETWORK, debian.name)
    )
    script = (
        'perl -MSocket -e "$0" > /dev/null 2>&1 & until test -e /tmp/listening; do sleep 0.05; done'
    )
    here.inn("exec", "box", "sh", "-c", script, ECHO)
    fill = "head -c 20M /dev/urandom > /dev/shm/m; head -c 5M /dev/urandom > /root/f; sync"
    here.inn("exec", "box", "sh", "-c", fill)
    sums = here.inn("exec", "box", "sha256sum", "/dev/shm/m", "/root/f")
    (member,) = json.loads(here.inn("network", "inspect", NETWORK))["members"]
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f"#!/bin/sh\nfor last; do :; done\n"
        f'exec ip netns exec {there.place.name} env INNKEEPER_HOME={there.home} sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    stop = tmp_path / "stop"
    words = world.command(sys.executable, "-c", TALK, member["address"], stop)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as talk:
        assert talk.stdout is not None
        assert talk.stdout.readline() == "talking\n"
        told = here.inn("migrate", "box", f"ssh://there{INN}", "--json", INNKEEPER_SSH=str(ssh))
        # It is spoken to there.
        there.inn("exec", "box", "true")
        stop.touch()
        assert int(talk.stdout.readline()) > 0
        assert talk.wait() == 0
    assert json.loads(told)["status"] == "completed"
    assert there.inn("exec", "box", "sha256sum", "/dev/shm/m", "/root/f") == sums
    (moved,) = json.loads(there.inn("network", "inspect", NETWORK))["members"]
    assert (moved["address"], moved["mac"]) == (member["address"], member["mac"])


@pytest.mark.long_guest(reason="memory comes late to small guests elsewhere")
def test_a_guest_works_while_its_memory_comes(debian: Image, tmp_path: Path) -> None:
    if (why := _core.post_copy_missing()) is not None:
        pytest.skip(f"userfaultfd: {why}")
    hosts = Hosts(tmp_path)
    here, there = hosts.here, hosts.there
    for house in (here, there):
        furnish(house.home, debian)
    try:
        here(
            *("run", "--detach", "--name", "box", "--memory", "256M", "--network", "none"), "debian"
        )
        fill = "head -c 20M /dev/urandom > /dev/shm/m; head -c 5M /dev/urandom > /root/f; sync"
        here("exec", "box", "sh", "-c", fill)
        sums = here("exec", "box", "sha256sum", "/dev/shm/m", "/root/f")
        writes = 'perl -e "$0" > /dev/null 2>&1 & until test -e /tmp/rounds; do sleep 0.1; done'
        here("exec", "box", "sh", "-c", writes, WRITER)
        words = ("migrate", "box", hosts.target, "--post-copy", "--no-compress", "--json")
        found = json.loads(hosts.breaking("", 2 * SLOW)(*words))
        assert found["status"] == "completed"
        assert found["ram"]["postcopy-requests"] > 0
        before = int(there("exec", "box", "cat", "/tmp/rounds"))
        assert there("exec", "box", "sha256sum", "/dev/shm/m", "/root/f") == sums
        there("exec", "box", "sh", "-c", "echo 3 > /proc/sys/vm/drop_caches; sha256sum /root/f")
        wait(lambda: int(there("exec", "box", "cat", "/tmp/rounds")), lambda now: now > before)
        there("snapshot", "create", "box")
    finally:
        for house in (here, there):
            if names := house("ps", "-aq").split():
                house("rm", "--force", *names)
