"""Programs in a Debian guest that do their worst to its host, beside a guest that goes on."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import PATIENCE
from tests.run.hostile import taken
from tests.run.house import House, wait

from innkeeper.vm.ending import GUEST_LOST, TIMED_OUT

pytestmark = pytest.mark.long_guest(reason="two guests boot, and one of them works hard")

MIB = 1 << 20
# What a process may gain while its guest does its worst, beside the guest's own memory: code, above
# all. In bytes.
GAIN = 192 * MIB

FORKS = r"""
while (1) { my $child = fork; last unless defined $child; }
sleep 1 while 1;
"""
# In the agent's own place: rubbish, frames of no kind and of any length, and nothing is ever read.
# Its descriptor comes by pidfd_open and pidfd_getfd.
FRAMES = r"""
srand(SEED);
my ($held) = grep { (readlink || "") =~ m{/dev/vport} } glob("/proc/[0-9]*/fd/*");
my ($agent, $number) = $held =~ m{(\d+)/fd/(\d+)};
kill STOP => $agent if $agent != 1;
my $fd = syscall(438, syscall(434, $agent + 0, 0), $number + 0, 0);
open(my $port, ">&=", $fd) or die "no port: $!";
open(my $line, ">", "/dev/ttyS0") or die "no line: $!";
syswrite($line, "rubbish begins\n");
for (1 .. 300) {
    my $frame = join "", map { chr int rand 256 } 1 .. int rand 4000;
    $frame = pack("VC", int rand 1 << (4 * int rand 9), int rand 32) . $frame if rand() < 0.7;
    syswrite($port, $frame);
}
"""
# Connections to the host's ports, the agent's own among them: rubbish, and none is read from.
SOCKETS = r"""
use Socket; srand(SEED); system("modprobe vmw_vsock_virtio_transport");
my @kept;
for (1 .. 3000) {
    my $port = (1024, 1, 2, 3, int rand 65536)[int rand 5];
    socket(my $call, 40, SOCK_STREAM | 04000, 0) or last;
    connect($call, pack("SSLLx4", 40, 0, $port, 2));
    syswrite($call, join "", map { chr int rand 256 } 1 .. int rand 2000);
    push @kept, $call if @kept < 500;
}
print "done\n";
"""


@pytest.fixture(autouse=True)
def guests(house: House) -> Iterator[None]:
    for name in ("hostile", "neighbour"):
        house("run", "--detach", "--name", name, "--memory", "256M", "debian")
    yield
    house("rm", "-f", *house("ps", "-aq").split())


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--hostile-seed"))


def answers(house: House) -> None:
    """The neighbour computes, and writes to its disk."""
    script = "head -c 20000000 /dev/zero | sha256sum; dd if=/dev/zero of=/file bs=1M count=4 2>&1"
    assert "4194304 bytes" in house("exec", "neighbour", "sh", "-c", script)


def ended(house: House, before: int) -> None:
    """The guest has not grown its process, and goes when it is told to."""
    found = house.inspect("hostile")
    assert found["state"] == "running"
    assert taken(found["pid"]).memory < before + 256 * MIB + GAIN
    errors = (Path(found["directory"]) / "errors.log").read_text()
    assert re.search("panicked|Traceback", errors) is None, errors
    house("stop", "-t", "0", "hostile")
    house("rm", "hostile")
    assert [one["name"] for one in json.loads(house("ps", "-a", "--json"))] == ["neighbour"]


def test_a_fork_bomb(house: House) -> None:
    found = house.inspect("hostile")
    before = taken(found["pid"])
    with house.inn.start("exec", "hostile", "perl", "-e", FORKS) as bomb:
        for _ in range(3):
            answers(house)
        now = taken(found["pid"])
        assert (now.threads, now.descriptors) <= (before.threads + 4, before.descriptors + 8)
        ended(house, before.memory)
        bomb.wait(timeout=PATIENCE)


def test_rubbish_in_the_agents_place(house: House, seed: str) -> None:
    before = taken(house.inspect("hostile")["pid"])
    script = FRAMES.replace("SEED", seed)
    # What it says is lost with the agent's own words.
    with house.inn.start("exec", "hostile", "perl", "-e", script) as process:
        wait(lambda: house("logs", "hostile"), lambda said: "rubbish begins" in said)
        answers(house)
        # It is told to end, where it is told anything.
        done = house.inn("exec", "--timeout", "10s", "hostile", "echo", "here")
        if done.returncode == 0:
            assert done.stdout == b"here\n", done
        else:
            assert done.returncode in (TIMED_OUT, GUEST_LOST), done
            assert re.fullmatch(rb"inn: [^\n]+\n", done.stderr), done
        answers(house)
        ended(house, before.memory)
        process.wait(timeout=PATIENCE)


def test_calls_without_end(house: House, seed: str) -> None:
    found = house.inspect("hostile")
    before = taken(found["pid"])
    script = SOCKETS.replace("SEED", seed)
    said = house.inn("exec", "hostile", "timeout", "60", "perl", "-e", script)
    assert b"done" in said.stdout, said
    answers(house)
    # What was opened for the guest's calls is closed when its program has ended.
    after = wait(
        lambda: taken(found["pid"]),
        lambda now: now.descriptors <= before.descriptors + 8,
    )
    assert after.threads <= before.threads + 4
    assert house("exec", "hostile", "echo", "here") == "here\n"
    ended(house, before.memory)
