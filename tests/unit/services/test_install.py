"""Installing: what is refused before anything is fetched."""

from pathlib import Path

import pytest
from tests.unit.images.test_installers import disc

from innkeeper.errors import InvalidInput
from innkeeper.images import Report
from innkeeper.machine.spec import DiskSpec
from innkeeper.services import guests
from innkeeper.services.install import InstallOrder, install
from innkeeper.services.request import GuestRequest
from innkeeper.vm.ending import Ending


def order(system: str | None, disk: Path, **others: object) -> InstallOrder:
    spec = DiskSpec(path=disk)
    return InstallOrder(system=system, disk=spec, size=1 << 20, guest=GuestRequest(), **others)  # type: ignore[arg-type]


def refuse(wanted: InstallOrder) -> str:
    with pytest.raises(InvalidInput) as caught:
        install(wanted, lambda step, _share: pytest.fail(f"went on to {step}"))
    return str(caught.value)


def test_a_disk_that_is_there_is_not_installed_over_unasked(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"of value")
    assert "--replace" in refuse(order("debian", disk))
    assert disk.read_bytes() == b"of value"


def test_what_is_wrong_is_said_first(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    assert "'plan9'" in refuse(order("plan9", disk))
    missing = order("debian", disk, preseed=tmp_path / "missing")
    assert "cannot read the answers" in refuse(missing)
    assert not disk.exists()


def test_answers_are_for_the_installer_that_knows_them(tmp_path: Path) -> None:
    disk, answers = tmp_path / "disk.img", tmp_path / "answers"
    answers.write_text("text\n")
    iso = tmp_path / "iso"
    for system, options, said in (
        (None, {}, "say what to install"),
        ("fedora", {}, "--iso"),
        ("fedora", {"iso": iso, "preseed": answers}, "takes --kickstart"),
        ("debian", {"kickstart": answers}, "takes --preseed"),
        (None, {"iso": iso, "kickstart": answers, "preseed": answers}, "for Anaconda"),
        ("rocky", {"iso": iso, "kickstart": answers, "packages": ("vim",)}, "as it is"),
    ):
        assert said in refuse(order(system, disk, **options)), (system, options)
    assert not disk.exists()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[GuestRequest, list[bytes]]]:
    """Instead of guests: what they would be, and what is on their disks."""
    found = []

    def run(request: GuestRequest, _report: Report) -> Ending:
        found.append((request, [disk.path.read_bytes() for disk in request.disks]))
        return Ending(0)

    monkeypatch.setattr(guests, "run", run)
    return found


def anaconda(path: Path) -> Path:
    files = {"images/pxeboot/vmlinuz": b"kernel", "images/pxeboot/initrd.img": b"initrd"}
    return disc(path, files, "A Label")


def test_anaconda_has_a_kickstart_on_a_disk(
    started: list[tuple[GuestRequest, list[bytes]]], tmp_path: Path
) -> None:
    iso, disk = anaconda(tmp_path / "iso"), tmp_path / "disk.img"
    installed = install(order(None, disk, iso=iso, hostname="web"), lambda _step, _share: None)
    [(guest, contents)] = started
    assert guest.disks[0].path == disk
    assert guest.disks[1].path == iso
    assert [spec.read_only for spec in guest.disks] == [False, True, True]
    assert b"OEMDRV" in contents[2]
    assert f"rootpw --plaintext {installed.password}\n".encode() in contents[2]
    assert b"--hostname=web\n" in contents[2]
    # A blank would end the word.
    assert r"inst.stage2=hd:LABEL=A\x20Label" in guest.append.split()
    assert "console=ttyS0" in guest.append.split()
    assert guest.memory == 3 << 30


def test_a_kickstart_of_ones_own_is_taken_as_it_is(
    started: list[tuple[GuestRequest, list[bytes]]], tmp_path: Path
) -> None:
    own, iso = tmp_path / "own.cfg", anaconda(tmp_path / "iso")
    own.write_text("# of my own\n")
    wanted = order("fedora", tmp_path / "disk.img", iso=iso, kickstart=own, memory=4 << 30)
    installed = install(wanted, lambda _step, _share: None)
    [(guest, contents)] = started
    assert b"# of my own\n" in contents[2]
    assert b"rootpw" not in contents[2]
    assert installed.password is None
    assert guest.memory == 4 << 30


def test_a_disc_of_another_family_is_not_taken_for_what_was_said(
    started: list[tuple[GuestRequest, list[bytes]]], tmp_path: Path
) -> None:
    disk = tmp_path / "disk.img"
    with pytest.raises(InvalidInput, match="another installer"):
        install(order("debian", disk, iso=anaconda(tmp_path / "iso")), lambda _step, _share: None)
    assert not started
    assert not disk.exists()
