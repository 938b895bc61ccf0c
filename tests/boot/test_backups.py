"""Debian guests in a repository of backups: while they run, and back as guests."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.run.house import House

from innkeeper.images import Image, Store


class Vault(House):
    """`inn` with a home and a repository of backups."""

    def __init__(self, home: Path, repository: Path) -> None:
        super().__init__(home, INNKEEPER_BACKUP_PASSPHRASE="as long as it is secret")
        self.repository = repository

    def backup(self, command: str, *words: str, status: int = 0) -> str:
        return self("backup", command, str(self.repository), *words, status=status)

    def listed(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.backup("ls", "--json"))
        return found


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, debian: Image) -> Iterator[Vault]:
    place = tmp_path_factory.mktemp("backups")
    furnish(place / "home", debian)
    found = Vault(place / "home", place / "repository")
    found.backup("init")
    yield found
    if names := found("ps", "-aq").split():
        found("rm", "-f", *names)


@pytest.fixture(scope="module")
def box(vault: Vault) -> str:
    vault("run", "--detach", "--name", "box", "--memory", "192M", "debian")
    vault("wait", "--ready", "box")
    return "box"


def write(vault: Vault, guest: str, text: str) -> None:
    vault("exec", guest, "sh", "-c", f"echo {text} > /root/note; echo {text} > /run/note")


def note(vault: Vault, guest: str, path: str = "/root/note") -> str:
    vault("wait", "--ready", guest)
    return vault("exec", guest, "cat", path)


def test_a_running_guest_is_backed_up_and_comes_back_beside_it(vault: Vault, box: str) -> None:
    # Nothing is synced: that is the freeze's.
    write(vault, box, "first")
    (first,) = vault.backup("create", box).split()
    write(vault, box, "second")
    (second,) = vault.backup("create", box).split()
    assert note(vault, box) == "second\n"
    found = {str(each["name"]): each for each in vault.listed()}
    assert [found[name]["disks"] for name in (first, second)] == ["frozen", "frozen"]
    # The image is in the first one, and nothing but what changed in the second.
    assert int(str(found[first]["added"])) > 50_000_000
    assert int(str(found[second]["added"])) < 2_000_000
    assert vault.backup("restore", first, "--name", "older", "--start") == "older\n"
    assert note(vault, "older") == "first\n"
    assert vault("exec", "older", "hostname") == "older\n"
    # Nothing was lost that the journal would have had to find.
    log = vault("exec", "older", "dmesg")
    assert "recovery" not in log
    assert (
        "there is a guest 'box' already"
        in vault.inn("backup", "restore", str(vault.repository), "box").stderr.decode()
    )
    vault("rm", "--force", "older")


def test_a_guest_is_replaced_and_goes_on_with_its_memory(vault: Vault, box: str) -> None:
    write(vault, box, "remembered")
    (name,) = vault.backup("create", box, "--memory").split()
    write(vault, box, "lost")
    vault.backup("restore", name, "--force")
    assert note(vault, box, "/run/note") == "remembered\n"
    assert note(vault, box) == "remembered\n"
    # It can be saved again, and booted cold.
    (name,) = vault.backup("create", box).split()
    vault.backup("restore", name, "--force", "--start")
    assert note(vault, box) == "remembered\n"


def test_a_guest_that_does_not_run_comes_back_without_its_image(
    vault: Vault, tmp_path: Path, debian: Image
) -> None:
    vault("run", "--detach", "--name", "still", "--memory", "192M", "debian")
    vault("wait", "--ready", "still")
    write(vault, "still", "kept")
    vault("stop", "still")
    vault.backup("create", "still")
    vault("rm", "still")
    bare = Vault(tmp_path / "bare", vault.repository)
    assert bare.backup("restore", "still", "--start") == "still\n"
    try:
        assert note(bare, "still") == "kept\n"
        store = Store(bare.home)
        image = store.base("still")
        assert image is not None
        assert image.digest == debian.digest
        # It is nobody's but the guest's.
        assert store.names() == []
    finally:
        bare("rm", "--force", "still")
    assert list((bare.home / "images").iterdir()) == []


def test_a_backup_is_booted_to_see_whether_it_is_well(vault: Vault, box: str) -> None:
    write(vault, box, "well")
    (name,) = vault.backup("create", box).split()
    well = vault.backup("verify", name, "--boot", "--check", "grep -q well /root/note")
    assert f"{name} is up and well" in well
    said = vault.backup("verify", name, "--boot", "--check", "echo oh; exit 3", status=1)
    assert f"{name} is not well: the check ended with status 3: oh" in said
    assert not [guest for guest in vault("ps", "-aq").split() if guest.startswith("backup-")]


def test_one_that_is_killed_leaves_what_was_there(vault: Vault, box: str) -> None:
    vault.backup("create", box)
    before = len(vault.listed())
    words = ("backup", "create", str(vault.repository), box)
    vault("exec", box, "sh", "-c", "head -c 150000000 /dev/urandom > /root/random; sync")
    packs = vault.repository / "packs"
    for count in (1, 3):
        there = len(list(packs.iterdir()))
        process = vault.inn.start(*words)
        while len(list(packs.iterdir())) < there + count and process.poll() is None:
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
        # The guest does not stand still for it.
        vault("exec", box, "touch", "/root/touched")
        assert len(vault.listed()) == before
    # Two at once, and both are whole.
    both = [vault.inn.start(*words) for _ in range(2)]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert len(vault.listed()) == before + 2
    assert "are what they were" in vault.backup("verify")
    vault.backup("prune", "--keep-last", "1")
    assert "are what they were" in vault.backup("verify")
    assert not list(packs.glob(".*"))
