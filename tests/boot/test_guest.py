"""The SDK against one Debian that all of these tests share."""

from collections.abc import Iterator

import pytest

from innkeeper import CommandFailed, Guest
from innkeeper.errors import CommandNotStarted, GuestNotRunning
from innkeeper.images import Image

MEMORY_MIB = 768


@pytest.fixture(scope="module")
def guest(debian: Image) -> Iterator[Guest]:
    with Guest(debian.name, memory=f"{MEMORY_MIB}M", cpus=2, name="web1") as running:
        yield running


def test_it_is_debian_with_its_own_kernel(guest: Guest, debian: Image) -> None:
    release = guest.run(["uname", "-r"], check=True).stdout.strip()
    assert release == debian.manifest.kernel_release
    assert "ID=debian" in guest.run(["cat", "/etc/os-release"]).stdout.splitlines()


def test_it_has_the_hardware_that_was_asked_for(guest: Guest) -> None:
    assert guest.run(["nproc"]).stdout == "2\n"
    total = next(
        int(line.split()[1]) / 1024
        for line in guest.run(["cat", "/proc/meminfo"]).stdout.splitlines()
        if line.startswith("MemTotal:")
    )
    # The kernel keeps its own code and page structures out of MemTotal.
    assert MEMORY_MIB * 0.88 < total < MEMORY_MIB


def test_it_suspends_to_ram_and_wakes_by_its_clock(guest: Guest) -> None:
    suspend = "echo +2 >/sys/class/rtc/rtc0/wakealarm && echo mem >/sys/power/state"
    before = guest.run(["cat", "/sys/power/suspend_stats/success"]).stdout
    guest.run(["sh", "-c", suspend], check=True)
    after = guest.run(["cat", "/sys/power/suspend_stats/success"]).stdout
    assert (int(after), guest.run(["nproc"]).stdout) == (int(before) + 1, "2\n")
    # The disk works again.
    guest.run(["sh", "-c", "cp /bin/sh /var/tmp && sync && cmp /bin/sh /var/tmp/sh"], check=True)


def test_it_is_named_and_root_and_has_a_loopback(guest: Guest) -> None:
    assert guest.run(["hostname"]).stdout == "web1\n"
    assert guest.run(["id", "-u"]).stdout == "0\n"
    assert "LOOPBACK,UP" in guest.run(["ip", "link", "show", "lo"]).stdout


def test_streams_are_apart_and_the_status_is_kept(guest: Guest) -> None:
    result = guest.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_input_environment_and_directory_reach_the_command(guest: Guest) -> None:
    script = 'printf "%s " "$WHO" "$PWD"; wc -c'
    result = guest.run(
        ["sh", "-c", script], stdin="x" * 200_000, env={"WHO": "us"}, cwd="/usr/share"
    )
    assert result.stdout == "us /usr/share 200000\n"


def test_a_command_that_reads_no_input_does_not_outlast_its_time(guest: Guest) -> None:
    with pytest.raises(TimeoutError):
        guest.run(["sleep", "600"], stdin=b"x" * 10_000_000, timeout=0.5)


def test_megabytes_come_through_unharmed(guest: Guest) -> None:
    result = guest.run(
        ["sh", "-c", "seq 1 200000 | tee /tmp/numbers; sha256sum < /tmp/numbers >&2"]
    )
    assert result.stdout.splitlines() == [str(n) for n in range(1, 200_001)]


def test_a_signal_ends_a_command_as_in_a_shell(guest: Guest) -> None:
    assert guest.run(["sh", "-c", "kill -TERM $$"]).returncode == 143


def test_what_cannot_start_says_so(guest: Guest) -> None:
    with pytest.raises(CommandNotStarted, match="No such file"):
        guest.run(["no-such-program"])
    with pytest.raises(CommandNotStarted, match="Not a directory"):
        guest.run(["true"], cwd="/no/such/directory")


def test_check_raises_with_the_last_words(guest: Guest) -> None:
    with pytest.raises(CommandFailed, match="ended with status 3: oh no"):
        guest.run(["sh", "-c", "echo oh no >&2; exit 3"], check=True)


def test_a_command_that_takes_too_long_is_ended(guest: Guest) -> None:
    with pytest.raises(TimeoutError):
        guest.run(["sleep", "1000"], timeout=1)
    assert guest.run(["pgrep", "-c", "sleep"]).stdout == "0\n"


def test_orphans_do_not_stay_as_zombies(guest: Guest) -> None:
    guest.run(["sh", "-c", "for i in 1 2 3; do (sh -c 'true' &) ; done"])
    result = guest.run(
        ["sh", "-c", "while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo clean"],
        timeout=60,
    )
    assert result.stdout == "clean\n"


def test_the_disk_is_writable_and_the_image_is_not_written(guest: Guest, debian: Image) -> None:
    before = debian.root.stat().st_mtime_ns
    guest.run(["sh", "-c", "dd if=/dev/urandom of=/root/big bs=1M count=8 && sync"], check=True)
    assert guest.run(["stat", "-c", "%s", "/root/big"]).stdout == f"{8 << 20}\n"
    assert debian.root.stat().st_mtime_ns == before


def test_it_tells_its_statistics_while_it_runs(guest: Guest) -> None:
    first = guest.stats()
    assert len(first.vcpus) == 2
    guest.run(["true"])
    second = guest.stats()
    assert sum(second.exits.values()) > sum(first.exits.values())
    # Nobody asked for them.
    assert second.seconds == {}


def test_a_guest_that_does_not_run_has_no_statistics() -> None:
    with pytest.raises(GuestNotRunning):
        Guest().stats()
