"""Guests that move while the disk of a host has no room: whatever does not fit, one runs."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.run.house import House
from tests.run.test_migration import Hosts, rounds

KIB, MIB = 1 << 10, 1 << 20


@contextlib.contextmanager
def small(house: House, size: int) -> Iterator[None]:
    """All of this home is on a disk of `size` bytes."""
    house.home.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", house.home],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        names = house("ps", "-aq").split()
        if names:
            house("rm", "--force", *names)
        # A template waits there for a while.
        shutil.rmtree(house.home / "templates", ignore_errors=True)
        subprocess.run(["umount", "--lazy", house.home], check=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    found = Hosts(tmp_path)
    yield found
    names = found.here("ps", "-aq").split()
    if names:
        found.here("rm", "--force", *names)
    assert found.here.processes() == set()


# The first has no room for the guest's kernel; the guest has 4 MiB of memory that is not zero.
@pytest.mark.parametrize("size", [64 * KIB, 1 * MIB, 3 * MIB])
def test_memory_that_has_no_room_stays_here(hosts: Hosts, tmp_path: Path, size: int) -> None:
    hosts.start(tmp_path)
    refuses(hosts, size)


@pytest.mark.parametrize("size", [1 * MIB, 12 * MIB])
def test_a_disk_that_has_no_room_stays_here(hosts: Hosts, tmp_path: Path, size: int) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(os.urandom(16 * MIB))
    hosts.start(tmp_path, "--disk", str(disk))
    refuses(hosts, size)


def refuses(hosts: Hosts, size: int) -> None:
    with small(hosts.there, size):
        said = hosts.breaking("").refuses("migrate", "box", hosts.target)
        assert "No space left on device" in said
        assert hosts.running() == [hosts.here]
        rounds(hosts.here, 2)
        # Nothing is left there, also no room that is taken.
        assert hosts.there("ps", "-aq") == ""
        left = os.statvfs(hosts.there.home)
        assert (left.f_blocks - left.f_bfree) * left.f_frsize < 64 * KIB
    # It can go where there is room.
    hosts.breaking("")("migrate", "box", hosts.target)
    try:
        rounds(hosts.there, 2)
    finally:
        hosts.there("rm", "--force", "box")


def test_a_source_without_room_for_a_fence_keeps_its_guest(hosts: Hosts, tmp_path: Path) -> None:
    with small(hosts.here, 32 * MIB):
        hosts.start(tmp_path)
        filler = hosts.here.home / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        said = hosts.breaking("").refuses("migrate", "box", hosts.target)
        assert "No space left on device" in said
        assert hosts.running() == [hosts.here]
        # Its own log has no room either.
        filler.unlink()
        rounds(hosts.here, 2)
        assert hosts.there("ps", "-aq") == ""
        hosts.breaking("")("migrate", "box", hosts.target)
        assert hosts.running() == [hosts.there]
        rounds(hosts.there, 2)
        hosts.there("rm", "--force", "box")
