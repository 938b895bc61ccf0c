"""Folders of the host in guests, with Debian's kernel: attended, and in the jail."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.conftest import Inn
from tests.run.house import House

from innkeeper import Guest
from innkeeper.images import Image


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def guest(debian: Image, shared: Path) -> Iterator[Guest]:
    volumes = [f"{shared}:/mnt/a b", f"{shared}:/ro:ro,uid=1234"]
    with Guest(debian.name, volumes=volumes, cpus=2) as running:
        yield running


def sh(guest: Guest, script: str) -> str:
    done = guest.run(["sh", "-ec", script], cwd="/mnt/a b")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_both_sides_see_what_the_other_writes(guest: Guest, shared: Path) -> None:
    (shared / "from the host").write_text("host\n")
    assert sh(guest, "cat 'from the host'") == "host\n"
    sh(guest, "mkdir -p d/e; echo guest > d/e/f; chmod 640 d/e/f; ln d/e/f d/g; ln -s g d/h")
    assert (shared / "d" / "h").read_text() == "guest\n"
    found = (shared / "d" / "e" / "f").stat()
    assert (found.st_mode & 0o7777, found.st_nlink, found.st_uid) == (0o640, 2, os.geteuid())
    sh(guest, "mv d/e/f d/e/moved; rm d/g")
    assert sorted(path.name for path in (shared / "d").rglob("*")) == ["e", "h", "moved"]
    # What the guest's kernel believes of a file, it believes for a second.
    (shared / "from the host").write_text("changed meanwhile\n")
    deadline = "for i in $(seq 1200); do grep -q meanwhile 'from the host' && exit; sleep 0.1; done"
    sh(guest, f"{deadline}; exit 1")


def test_a_tree_survives_being_unpacked_and_compared(guest: Guest, shared: Path) -> None:
    sh(guest, "cp -r /etc/apt /etc/skel . && diff -r /etc/apt apt && rm -r apt")
    sh(guest, "dd if=/dev/urandom of=big bs=64k count=100 2>&1 && cp big big2 && cmp big big2")
    sh(guest, "seq 2000 | split -l 1 -a 4 - many. && cat many.* | wc -l | grep -q 2000")
    assert len(list(shared.glob("many.*"))) == 2000
    sh(guest, "rm many.*; truncate -s 3 big; fallocate -l 100000 grown; sync .")
    assert (shared / "big").stat().st_size == 3
    assert (shared / "grown").stat().st_size == 100_000


def test_one_to_read_is_not_written_and_has_another_owner(guest: Guest, shared: Path) -> None:
    (shared / "a").write_text("a")
    assert sh(guest, "stat -c %u:%g /ro/a") == "1234:1234\n"
    for command in ("touch /ro/b", "rm /ro/a", "mkdir /ro/d", "mount -o remount,rw /ro; rm /ro/a"):
        assert guest.run(["sh", "-c", command]).returncode != 0
    assert (shared / "a").read_text() == "a"


def test_nothing_of_the_host_is_reached_through_a_link(guest: Guest, shared: Path) -> None:
    secret = shared.parent / "secret"
    secret.write_text("secret")
    (shared / "out").symlink_to(shared.parent)
    # In the guest, a link leads to where it leads in the guest.
    assert guest.run(["ls", "/mnt/a b/out/secret"]).returncode != 0
    for command in ("mknod n c 1 3", "mkfifo f", "chown 5 a", "chmod 4755 out/secret"):
        assert guest.run(["sh", "-c", command], cwd="/mnt/a b").returncode != 0
    assert secret.read_text() == "secret"


def test_in_the_jail_and_through_a_restart(debian: Image, tmp_path: Path) -> None:
    source, other = tmp_path / "src", tmp_path / "other"
    source.mkdir()
    other.mkdir()
    (other / "a").write_text("a")
    furnish(tmp_path / "home", debian)
    house = House(tmp_path / "home")
    script = "cd /src && mkdir -p d && echo 1 >> d/f && mv d/f d/g && mv d/g d/f && chmod 600 d/f"
    try:
        folders = ("-v", f"{source}:/src", "-v", f"{other}:/other:ro")
        house("run", "-d", "--name", "a", *folders, "debian")
        house("exec", "a", "sh", "-ec", f"{script} && ln -s d l && cat /other/a")
        house("restart", "a")
        house("exec", "a", "sh", "-ec", f"{script} && rm l && tar cf - -C /etc apt | tar xf -")
    finally:
        house("rm", "-f", "a")
    assert (source / "d" / "f").read_text() == "1\n1\n"
    assert (source / "apt").is_dir()


def test_a_folder_that_is_not_there_is_one_sentence(inn: Inn, tmp_path: Path) -> None:
    done = inn("run", "-v", f"{tmp_path}/none:/src", "debian", "--", "true")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"inn: the folder {tmp_path}/none does not exist\n"
