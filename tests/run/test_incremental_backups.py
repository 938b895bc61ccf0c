"""Backups of disks that know what changed since the last one: what they read, and when they do not
believe it.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Inn
from tests.run.house import House
from tests.unit.services.backups import shelf
from tests.unit.services.backups.shelf import PASSPHRASE

from innkeeper.machine.new_image import ExistingImage
from innkeeper.services import backups, disks
from innkeeper.services.backups import content
from innkeeper.services.backups.packs import CHUNK

SIZE = 8 << 20
SECRET = "INNKEEPER_BACKUP_PASSPHRASE"
# What is always read: the image's own tables, and what changed, each in whole pieces.
LITTLE = 12 * CHUNK

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="compared with qemu-img, which is not installed"
)


class Vault(House):
    """A house with a guest whose disk is a qcow2 of its own, and repositories."""

    def __init__(self, home: Path, kernel: Path) -> None:
        super().__init__(home)
        self.inn = Inn({**self.inn.environment, SECRET: PASSPHRASE})
        self.place = home.parent
        self.disk = self.place / "disk.qcow2"
        qemu("qemu-img", "create", "-q", "-f", "qcow2", str(self.disk), str(SIZE))
        self.write(0, SIZE)
        for name in ("one", "two"):
            shelf.make(self.place / name)
        self("create", "--name", "tiny", "--kernel", kernel, "--disk", self.disk)

    def write(self, offset: int, size: int) -> None:
        """Something new, by a program that keeps the image's books."""
        pattern = str(random.Random(os.urandom(8)).randrange(1, 255))
        command = f"write -q -P {pattern} {offset} {size}"
        qemu("qemu-io", "-f", "qcow2", "-c", command, str(self.disk))

    def back_up(self, repository: str = "one") -> int:
        """Bytes that were read for it."""
        read: list[int] = []
        where = self.place / repository
        made = backups.create(where, PASSPHRASE, "tiny", progress=read.append)
        assert made.read == sum(read)
        return made.read

    def comes_back(self, repository: str = "one", *, leaks: bool = False) -> None:
        """What was stored is what the disk is."""
        copy = self.place / "copy.qcow2"
        with shelf.opened(self.place / repository) as found, copy.open("wb") as file:
            (disk,) = found.backups()[0][-1].files
            content.load(found, disk, file.fileno(), lambda _: None)
        qemu("qemu-img", "compare", "-q", "-U", str(self.disk), str(copy))
        done = subprocess.run(["qemu-img", "check", "-q", copy], capture_output=True, check=False)
        assert done.returncode in ((0, 3) if leaks else (0,)), done


def patch(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def qemu(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def vault(tmp_path: Path, halting: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    shelf.cheap(monkeypatch)
    monkeypatch.setenv("INNKEEPER_HOME", str(tmp_path / "home"))
    return Vault(tmp_path / "home", halting)


def test_what_did_not_change_is_not_read(vault: Vault) -> None:
    assert vault.back_up() >= SIZE
    assert "innkeeper-" in qemu("qemu-img", "info", str(vault.disk))
    qemu("qemu-img", "check", "-q", str(vault.disk))
    assert vault.back_up() < LITTLE
    vault.comes_back()
    vault.write(5 << 20, 4096)
    vault.write(6 << 20, 70_000)
    assert vault.back_up() < LITTLE + 3 * CHUNK
    vault.comes_back()
    # Each repository has its own.
    assert vault.back_up("two") >= SIZE
    vault.write(1 << 20, 4096)
    assert vault.back_up() < LITTLE
    assert vault.back_up("two") < LITTLE
    for repository in ("one", "two"):
        vault.comes_back(repository)
    qemu("qemu-img", "check", "-q", str(vault.disk))
    assert "are what they were" in vault("backup", "verify", vault.place / "one")
    vault("backup", "restore", vault.place / "one", "tiny", "--name", "again")
    again = vault.home / "guests" / "again" / "saved" / "disk0.0.qcow2"
    qemu("qemu-img", "compare", "-q", str(vault.disk), str(again))


def test_a_guest_that_runs_reads_what_changed_as_well(vault: Vault) -> None:
    assert vault.back_up() >= SIZE
    vault("start", "tiny")
    assert vault.back_up() < LITTLE
    vault("stop", "--timeout", "0", "tiny")
    # It wrote nothing, and its process has closed the image.
    vault.write(3 << 20, 4096)
    assert vault.back_up() < LITTLE
    vault.comes_back()


def in_use(vault: Vault) -> None:
    """As if whoever had it open had been killed: of each bitmap in the directory."""
    raw = vault.disk.read_bytes()
    extension = raw.index(0x23852875.to_bytes(4, "big"))
    count = int.from_bytes(raw[extension + 8 : extension + 12], "big")
    at = int.from_bytes(raw[extension + 24 : extension + 32], "big")
    for _ in range(count):
        flags = int.from_bytes(raw[at + 12 : at + 16], "big")
        patch(vault.disk, at + 12, (flags | 1).to_bytes(4, "big"))
        at += -(-(24 + int.from_bytes(raw[at + 18 : at + 20], "big")) // 8) * 8
    assert "in-use" in qemu("qemu-img", "info", str(vault.disk))


def written_by_who_knows_no_bitmaps(vault: Vault) -> None:
    patch(vault.disk, 88, bytes(8))


def resized(vault: Vault) -> None:
    disks.resize(ExistingImage(path=vault.disk), "+1M")


def reverted(vault: Vault) -> None:
    disks.create_snapshot(vault.disk, "inside")
    vault.write(7 << 20, 4096)
    disks.apply_snapshot(vault.disk, "inside")


def replaced(vault: Vault) -> None:
    copy = vault.place / "other.qcow2"
    qemu("qemu-img", "convert", "-O", "qcow2", str(vault.disk), str(copy))
    copy.replace(vault.disk)


def gone_from_the_repository(vault: Vault) -> None:
    for each in backups.listed(vault.place / "one", PASSPHRASE)[0]:
        backups.remove(vault.place / "one", PASSPHRASE, [each.name])


@pytest.mark.parametrize(
    "change",
    [
        in_use,
        written_by_who_knows_no_bitmaps,
        resized,
        reverted,
        replaced,
        gone_from_the_repository,
    ],
)
def test_what_nobody_vouches_for_is_read_as_a_whole(
    vault: Vault, change: Callable[[Vault], None]
) -> None:
    vault.back_up()
    vault.write(2 << 20, 4096)
    assert vault.back_up() < LITTLE
    change(vault)
    assert vault.back_up() >= SIZE
    leaks = change is written_by_who_knows_no_bitmaps
    vault.comes_back(leaks=leaks)
    vault.write(2 << 20, 4096)
    assert vault.back_up() < LITTLE
    vault.comes_back(leaks=leaks)


def test_a_copy_that_was_put_back_is_not_mixed_with_what_came_after_it(vault: Vault) -> None:
    vault.back_up()
    old = vault.place / "old.qcow2"
    shutil.copy(vault.disk, old)
    vault.write(4 << 20, 1 << 20)
    assert vault.back_up() < LITTLE + (1 << 20) + 2 * CHUNK
    old.replace(vault.disk)
    assert vault.back_up() >= SIZE
    vault.comes_back()


def test_an_image_in_a_plain_disk_is_its_guest_s(
    house: House, halting: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.raw"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", str(disk), str(SIZE))
    before = disk.read_bytes()
    house("create", "--name", "tiny", "--kernel", halting, "--disk", f"{disk},format=raw")
    shelf.make(tmp_path / "repository")
    environment = {**house.inn.environment, SECRET: PASSPHRASE}
    for _ in range(2):
        done = Inn(environment)("backup", "create", tmp_path / "repository", "tiny")
        assert done.returncode == 0, done.stderr
        assert disk.read_bytes() == before
