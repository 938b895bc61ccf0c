"""Guests with kernels of a few bytes in a repository of backups, and what cannot be done."""

import json
import os
from pathlib import Path

import pytest
from tests.conftest import Inn
from tests.run.house import House

SECRET = "INNKEEPER_BACKUP_PASSPHRASE"


@pytest.fixture
def vault(house: House, tmp_path: Path) -> House:
    house.inn = Inn({**house.inn.environment, SECRET: "secret"})
    house("backup", "init", tmp_path / "vault")
    return house


def test_a_guest_without_an_agent_and_with_a_disk_of_its_own(
    vault: House, halting: Path, tmp_path: Path
) -> None:
    disk, where = tmp_path / "data.img", tmp_path / "vault"
    content = os.urandom(300_000) + bytes(700_000)
    disk.write_bytes(content)
    vault.start("tiny", halting, "--disk", str(disk), "--network", "none")
    done = vault.inn("backup", "create", where, "tiny")
    assert done.returncode == 0
    assert b"no agent answers in tiny" in done.stderr
    first = done.stdout.decode().strip()
    vault("stop", "--timeout", "0", "tiny")
    variables = vault.home / "guests" / "tiny" / "run" / "variables.fd"
    variables.write_bytes(b"firmware's")
    (off,) = vault("backup", "create", where, "tiny").split()
    found = json.loads(vault("backup", "ls", where, "--json"))
    assert [each["disks"] for each in found] == ["power cut", "off"]
    assert found[1]["added"] < 5000
    # Elsewhere, the old place of the disk is not there.
    disk.unlink()
    for backup, name in ((first, "one"), (off, "two")):
        vault("backup", "restore", where, backup, "--name", name, "--start")
        saved = vault.home / "guests" / name / "saved" / "disk0.0.raw"
        assert saved.read_bytes() == content
        assert vault.inspect(name)["state"] == "running"
    kept = vault.home / "guests" / "two" / "run" / "variables.fd"
    assert kept.read_bytes() == b"firmware's"
    # What is changed while it runs leaves it its disk, for when it is started again.
    vault("set", "one", "--disk-limit", "50M")
    order = json.loads((vault.home / "guests" / "one" / "order.json").read_text())
    assert [each["path"] for each in order["spec"]["disks"]] == [
        str(vault.home / "guests" / "one" / "saved" / "disk0.0.raw")
    ]
    # And again, of what was restored.
    vault("backup", "create", where, "two")
    vault("backup", "restore", where, "two", "--force", "--start")
    assert vault.inspect("two")["state"] == "running"
    vault("rm", "--force", "one", "two")
    halting.rename(tmp_path / "elsewhere")
    said = vault.refuses("backup", "restore", where, off, "--force", status=2)
    assert f"the guest needs {halting}, which is not here" in said
    halting.with_name("elsewhere").rename(halting)


def test_a_guest_that_cannot_be_put_back_is_not_replaced(
    vault: House, halting: Path, tmp_path: Path
) -> None:
    disk, where = tmp_path / "data.img", tmp_path / "vault"
    disk.write_bytes(os.urandom(300_000))
    vault.start("tiny", halting, "--disk", str(disk), "--network", "none")
    vault("backup", "create", where, "tiny")
    (pack,) = (where / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[1000] ^= 1
    pack.write_bytes(content)
    assert pack.name in vault.refuses("backup", "restore", where, "tiny", "--force")
    said = vault("backup", "verify", where, status=1)
    assert pack.name in said
    assert "is broken: disk0.0.raw" in said
    assert vault.states() == {"tiny": "running"}
    assert not list((vault.home / "restoring").iterdir())
    # What is there of it is written anew, for the older one as well.
    assert "damaged-" in vault("backup", "repair", where, status=1)
    vault("backup", "create", where, "tiny")
    assert "are what they were" in vault("backup", "verify", where)


def test_one_sentence_for_what_cannot_be(vault: House, halting: Path, tmp_path: Path) -> None:
    where = tmp_path / "vault"
    vault("create", "--name", "tiny", "--kernel", halting)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "wrong").write_text("wrong\n")
    for words, status, part in (
        (("init", where), 2, "there is a repository of backups"),
        (("create", tmp_path, "tiny"), 2, "there are no backups in"),
        (("create", where, "nobody"), 1, "there is no guest 'nobody'"),
        (("restore", where, "tiny"), 1, "there is no backup 'tiny'"),
        (("prune", where), 2, "how many backups"),
        (("prune", where, "--keep-last", "-1"), 2, "how many backups"),
        (("verify", where, "--check", "true"), 2, "--check is for --boot"),
        (("ls", where, "--passphrase-file", tmp_path / "none"), 2, "cannot read the passphrase"),
        (("ls", where, "--passphrase-file", tmp_path / "empty"), 2, "is empty"),
        (("ls", where, "--passphrase-file", tmp_path / "wrong"), 2, "not the passphrase"),
        (("schedule", where, "nobody", "--passphrase-file", "f"), 1, "there is no guest"),
        (("schedule", where, "tiny", "--passphrase-file", "f", "--every", "a\nb"), 2, "no time"),
    ):
        assert part in vault.refuses("backup", *words, status=status)
    nobody = House(vault.home)
    nobody.inn.environment.pop(SECRET, None)
    assert "say where the passphrase is" in nobody.refuses("backup", "ls", where, status=2)


def test_a_schedule_is_two_units(vault: House, halting: Path, tmp_path: Path) -> None:
    where, units = tmp_path / "vault", tmp_path / "units"
    vault("create", "--name", "tiny", "--kernel", halting)
    words = ("schedule", where, "tiny", "--passphrase-file", tmp_path / "100% secret")
    made = vault("backup", *words, "--keep-daily", "7", "--directory", units).split("\n")
    assert made[:2] == [f"{units}/inn-backup-tiny.service", f"{units}/inn-backup-tiny.timer"]
    service, timer = (Path(name).read_text() for name in made[:2])
    assert "OnCalendar=daily\n" in timer
    assert f'inn" backup create --passphrase-file "{tmp_path}/100%% secret" ' in service
    assert " --keep-daily 7 --guest tiny " in service
    assert vault("backup", *words, "--every", "Mon..Fri 02:30").count("Mon..Fri 02:30") == 1


def names(vault: House, where: Path) -> list[str]:
    return [each["name"] for each in json.loads(vault("backup", "ls", where, "--json"))]


def test_backups_that_no_rule_keeps_go(vault: House, halting: Path, tmp_path: Path) -> None:
    where = tmp_path / "vault"
    for guest in ("tiny", "other"):
        vault("create", "--name", guest, "--kernel", halting)
    made = [vault("backup", "create", where, "tiny").strip() for _ in range(3)]
    (kept,) = vault("backup", "create", where, "other").split()
    vault.refuses("backup", "prune", where, status=2)
    would = vault("backup", "prune", where, "--keep-last", "1", "--guest", "tiny", "--dry-run")
    assert all(name in would for name in made[:2])
    assert names(vault, where) == [*made, kept]
    vault("backup", "prune", where, "--keep-last", "1", "--guest", "tiny")
    assert names(vault, where) == [made[2], kept]
    vault("backup", "rm", where, made[2])
    assert names(vault, where) == [kept]
    assert "there is no backup" in vault.refuses("backup", "rm", where, made[2])
    assert "is what it was" in vault("backup", "verify", where)


def test_a_repository_opens_by_its_new_passphrase_alone(
    vault: House, halting: Path, tmp_path: Path
) -> None:
    where, new = tmp_path / "vault", tmp_path / "new"
    vault("create", "--name", "tiny", "--kernel", halting)
    (made,) = vault("backup", "create", where, "tiny").split()
    new.write_text("another secret\n")
    vault("backup", "passphrase", where, "--new-file", new)
    assert "passphrase" in vault.refuses("backup", "ls", where, status=2)
    found = json.loads(vault("backup", "ls", where, "--json", "--passphrase-file", new))
    assert [each["name"] for each in found] == [made]
