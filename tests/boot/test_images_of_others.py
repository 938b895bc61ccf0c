"""A guest that is none of our images: Debian with systemd, and qemu-guest-agent in it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot import roots
from tests.conftest import Inn

from innkeeper import Guest
from innkeeper.errors import CommandNotStarted
from innkeeper.guest.errands import ThawedTooSoon
from innkeeper.images import kernel
from innkeeper.images.bootstrap import Bootstrap

pytestmark = pytest.mark.long_guest(reason="installing Debian takes minutes, and booting it one")

PACKAGES = ("systemd-sysv", "udev", "linux-image-cloud-amd64", "qemu-guest-agent", "passwd")
SYSTEM = """\
cp root/boot/vmlinuz-* kernel
cp root/boot/initrd.img-* initrd
"""
ROOT = roots.Root(
    name="guest-agent", bootstrap=Bootstrap(packages=PACKAGES), change=SYSTEM, size=2 << 30
)
PATIENCE = "120s"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inn]:
    """`inn` with a home where the guest `theirs` runs."""
    home = tmp_path_factory.mktemp("house")
    made = roots.make(ROOT)
    image = home / "vmlinux"
    image.write_bytes(kernel.bootable((made / "kernel").read_bytes()))
    inn = Inn({**os.environ, "INNKEEPER_HOME": str(home / "home")})
    begun = inn(
        *("run", "--detach", "--name", "theirs", "--memory", "512M"),
        *("--kernel", image, "--initrd", made / "initrd"),
        *("--disk", f"{made / 'root.img'},temporary"),
        *("--append", "console=ttyS0 root=/dev/vda rw"),
    )
    assert begun.returncode == 0, begun.stderr
    yield inn
    inn("rm", "--force", "theirs")


@pytest.fixture(scope="module")
def guest(house: Inn) -> Iterator[Guest]:
    patch = pytest.MonkeyPatch()
    patch.setenv("INNKEEPER_HOME", house.environment["INNKEEPER_HOME"])
    with Guest.attach("theirs", boot_timeout=120) as found:
        yield found
    patch.undo()


def said(guest: Guest, script: str, user: str = "root") -> str:
    return guest.run(["sh", "-c", script], user=user, check=True).stdout.strip()


def test_it_answers_by_the_agent_that_it_has(house: Inn) -> None:
    ready = house("wait", "--ready", "--timeout", PATIENCE, "theirs")
    assert ready.returncode == 0, ready.stderr
    (listed,) = json.loads(house("ps", "--json").stdout)
    assert (listed["name"], listed["image"], listed["ready"]) == ("theirs", None, True)


def test_commands_run_as_in_any_guest(house: Inn, guest: Guest) -> None:
    done = house("exec", "theirs", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
    done = house("exec", "-i", "theirs", "wc", "-c", stdin=bytes(300_000))
    assert (done.returncode, done.stdout) == (0, b"300000\n")
    assert said(guest, "seq 1 60000") == "\n".join(str(number) for number in range(1, 60_001))
    assert house("exec", "theirs", "no-such-program").returncode == 127
    assert said(guest, "useradd -m ann; id -un; pwd") == "root\n/root"
    assert said(guest, 'id -un; pwd; echo "$HOME"', user="ann") == "ann\n/home/ann\n/home/ann"
    with guest.start(["sleep", "1000"]) as sleeping:
        sleeping.end_input()
        sleeping.kill()
        assert sleeping.wait(60) == 128 + 9
    # Nothing is left of all that.
    assert said(guest, "ls -d /tmp/innkeeper.* | wc -l") == "1"


def test_files_are_copied_both_ways(guest: Guest, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(400_000))
    guest.copy_to(source, "/srv")
    guest.copy_from("/srv/source", tmp_path / "back")
    assert (tmp_path / "back" / "noise").read_bytes() == (source / "noise").read_bytes()


def test_its_file_systems_are_frozen(house: Inn, guest: Guest) -> None:
    done = house("freeze", "--limit", "120s", "theirs")
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    process = guest.start(["sh", "-c", "echo x > /root/file; echo after"])
    process.end_input()
    with pytest.raises(TimeoutError):
        process.stdout.read(0.5)
    done = house("thaw", "theirs")
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    assert process.stdout.read(60) == b"after\n"
    done = house("thaw", "theirs")
    assert done.returncode == 1
    assert b"not frozen any more" in done.stderr
    with pytest.raises(ThawedTooSoon), guest.frozen(limit=0.01):
        time.sleep(0.1)


def test_its_clock_is_set(guest: Guest) -> None:
    said(guest, "date -s '2001-02-03 04:05:06'")
    assert guest.set_time() < -20 * 365 * 86400
    assert abs(int(said(guest, "date +%s")) - time.time()) < 60


def test_it_takes_our_agent_as_a_package(house: Inn, guest: Guest, tmp_path: Path) -> None:
    made = house("agent", "package", "--output", tmp_path)
    package = Path(made.stdout.decode().strip())
    guest.copy_to(package, "/tmp/agent.deb")
    # From now on it is the one that answers, and it has terminals.
    said(guest, "dpkg -i /tmp/agent.deb")
    said(guest, "systemctl is-active --wait innkeeper-agent || systemctl start innkeeper-agent")
    until = time.monotonic() + 60
    while (told := terminal(guest)) is None:
        assert time.monotonic() < until, said(guest, "systemctl status innkeeper-agent")
    assert told.startswith("/dev/pts/")
    assert json.loads(house("inspect", "theirs").stdout)["agent"] == "vsock"
    # Whoever has it started anew, by itself, loses only that command.
    with pytest.raises(CommandNotStarted, match="began anew"):
        guest.run(["systemctl", "restart", "innkeeper-agent"])
    until = time.monotonic() + 60
    while json.loads(house("inspect", "theirs").stdout)["agent"] != "console":
        assert time.monotonic() < until
    assert said(guest, "echo on") == "on"
    done = house("freeze", "theirs")
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    assert house("thaw", "theirs").returncode == 0
    assert said(guest, "dpkg --verify innkeeper-agent; ls /tmp/innkeeper.* 2>&1 | wc -l") == "1"


def terminal(guest: Guest) -> str | None:
    """The name of one; nothing where the agent has none."""
    with guest.start(["tty"], terminal=(80, 24)) as process:
        try:
            process.wait(60)
        except CommandNotStarted:
            return None
        return b"".join(process.stdout).decode().strip()


def test_it_ends_by_its_agent_where_its_button_does_nothing(house: Inn) -> None:
    # Nobody here listens to it: that would be logind.
    assert house("stop", "--timeout", PATIENCE, "theirs").returncode == 0
    assert "reboot: Power down" in house("logs", "theirs").stdout.decode()
