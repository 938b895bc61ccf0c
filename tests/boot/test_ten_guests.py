"""Ten Debian guests at once, on one network."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from tests.boot.homes import furnish
from tests.conftest import PATIENCE
from tests.run.house import House

from innkeeper.images import Image

SERVER = """
socket(S, PF_INET, SOCK_STREAM, 0);
bind(S, sockaddr_in(80, INADDR_ANY));
listen(S, 5);
$| = 1;
print "listening\\n";
while (accept(C, S)) { print C "served\\n"; close C }
"""
NAMES = [f"ten-{number}" for number in range(10)]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, debian: Image) -> Iterator[House]:
    home = tmp_path_factory.mktemp("ten") / "home"
    furnish(home, debian)
    found = House(home)
    found("network", "create", "lab")
    for name in NAMES:
        found("run", "-d", "--name", name, "--memory", "128M", "--network", "lab", "debian")
    for name in NAMES:
        found("wait", "--ready", name)
        serve(found, name)
    yield found
    if names := found("ps", "-aq").split():
        found("rm", "-f", *names)


def serve(house: House, name: str) -> None:
    """Says "served" to whoever connects, from then on."""
    script = 'perl -MSocket -e "$0" > /tmp/log 2>&1 &'
    wait = "until grep -q listening /tmp/log; do sleep 0.05; done"
    house("exec", name, "sh", "-c", f"setsid {script} {wait}", SERVER)


def reach_each_other(house: House, names: list[str]) -> None:
    """Each connects to the next one by its name."""
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        answer = house("exec", name, "bash", "-c", f"exec 3<>/dev/tcp/{other}/80 && cat <&3")
        assert answer == "served\n", (name, other, answer)


def test_all_answer_and_reach_each_other_by_name(house: House) -> None:
    assert [house("exec", name, "hostname").strip() for name in NAMES] == NAMES
    reach_each_other(house, NAMES)


def test_when_one_is_killed_nine_go_on_and_it_comes_back(house: House) -> None:
    boots = {name: house("exec", name, "cat", "/proc/sys/kernel/random/boot_id") for name in NAMES}
    victim, *others = NAMES
    os.kill(house.inspect(victim)["pid"], signal.SIGKILL)
    until = time.monotonic() + PATIENCE
    while house.inspect(victim)["state"] != "exited":
        assert time.monotonic() < until
    listed = {guest["name"]: guest for guest in json.loads(house("ps", "--all", "--json"))}
    assert "SIGKILL" in listed[victim]["sentence"]
    assert all(listed[name]["state"] == "running" for name in others)
    reach_each_other(house, others)
    house("start", victim)
    house("wait", "--ready", victim)
    serve(house, victim)
    reach_each_other(house, NAMES)
    now = {name: house("exec", name, "cat", "/proc/sys/kernel/random/boot_id") for name in NAMES}
    assert {name for name in NAMES if now[name] != boots[name]} == {victim}
