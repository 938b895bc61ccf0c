"""What is left open to a guest's process: its own, and no more than that."""

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from innkeeper._core import disk_create
from innkeeper.errors import InvalidInput
from innkeeper.machine import (
    DiskFormat,
    DiskSpec,
    EngineChoice,
    FolderSpec,
    MachineSpec,
    NetworkSpec,
    Overlay,
)
from innkeeper.machine.firmware import FirmwareSpec
from innkeeper.machine.network import NetworkKind
from innkeeper.machine.new_image import NewImage
from innkeeper.vm.jail import FIRST_USER, USERS, Needs, needs

OWN = Path("/home/me/guests/web/run")
EVENTS = Path("/home/me/guests/.events")
SPEC = MachineSpec(kernel=Path("/k"), initrds=(Path("/i"),), network=None)


def of(spec: MachineSpec, here: Path | None = None) -> Needs:
    return needs(spec, (OWN, EVENTS), here, "web")


def test_a_plain_guest_reads_its_kernel_and_writes_its_own() -> None:
    found = of(SPEC)
    assert {Path("/k"), Path("/i")} <= set(found.read)
    assert found.write == (OWN, EVENTS)
    assert (found.network, found.tap) == (False, False)
    # Nothing that holds other guests, or a person's files.
    for path in (*found.read, *found.write):
        assert not OWN.parent.is_relative_to(path), path
        assert path not in (Path("/"), Path("/etc"), Path("/proc"), Path("/home"))


def test_disks_are_open_as_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"x")
    disk_create(tmp_path / "qcow2", NewImage(backing=Path("raw"), backing_format=DiskFormat.RAW))
    read_only = DiskSpec(path=tmp_path / "raw", read_only=True)
    found = of(replace(SPEC, disks=(read_only,)))
    assert tmp_path / "raw" in found.read
    assert tmp_path / "raw" not in found.write
    found = of(replace(SPEC, disks=(DiskSpec(path=tmp_path / "raw"),)))
    assert tmp_path / "raw" in found.write
    assert tmp_path not in (*found.read, *found.write)
    # What lies behind a qcow2 image is to be read, and nothing else that lies there.
    found = of(replace(SPEC, disks=(DiskSpec(path=tmp_path / "qcow2"),)))
    assert {tmp_path / "qcow2", tmp_path / "raw"} <= set(found.read)
    assert tmp_path / "raw" not in found.write
    assert tmp_path not in (*found.read, *found.write)
    # One whose format was said is not looked into.
    raw = DiskSpec(path=tmp_path / "qcow2", format=DiskFormat.RAW, overlay=Overlay.TEMPORARY)
    found = of(replace(SPEC, disks=(raw,)))
    assert (tmp_path / "raw" in found.read, found.write[2:]) == (False, ())


def test_variables_are_open_and_not_what_lies_beside_them(tmp_path: Path) -> None:
    own = FirmwareSpec(image=Path("/bios"), variables=Path("/vars"), store=tmp_path / "own.fd")
    found = of(replace(SPEC, firmware=own))
    assert found.write == (OWN, EVENTS, tmp_path / "own.fd")
    assert tmp_path not in found.read


def test_folders_are_open_as_they_were_given() -> None:
    place = PurePosixPath("/src")
    read = FolderSpec(path=Path("/a"), target=place, tag="a", read_only=True)
    change = FolderSpec(path=Path("/b"), target=place, tag="b")
    found = of(replace(SPEC, folders=(read, change)))
    assert found.has_folders
    assert {Path("/a"), Path("/b")} <= set(found.read)
    assert found.folders == (Path("/b"),)
    assert not {Path("/a"), Path("/b")} & set(found.write)
    assert not of(SPEC).has_folders


@pytest.mark.parametrize(
    ("engine", "device"),
    [(EngineChoice.AUTO, True), (EngineChoice.KVM, True), (EngineChoice.TRANSLATOR, False)],
)
def test_kvm_is_for_those_who_may_use_it(engine: EngineChoice, device: bool) -> None:
    assert (Path("/dev/kvm") in of(replace(SPEC, engine=engine)).devices) == device


def test_a_network_is_for_those_who_have_one() -> None:
    user = of(replace(SPEC, network=NetworkSpec()))
    assert (user.network, user.tap) == (True, False)
    tap = of(replace(SPEC, network=NetworkSpec(kind=NetworkKind.TAP, interface="t")))
    assert (tap.network, tap.tap) == (False, True)
    assert Path("/dev/net/tun") in tap.devices


def test_a_devices_module_is_open_and_not_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "bell_of_a_test.py").write_text("def create(host): return []")
    found = of(replace(SPEC, devices=("bell_of_a_test:create",)), here=tmp_path)
    assert tmp_path / "bell_of_a_test.py" in found.read
    assert tmp_path not in found.read
    with pytest.raises(InvalidInput):
        of(replace(SPEC, devices=("no_such_module:create",)), here=tmp_path)


def test_guests_have_users_of_their_own() -> None:
    users = {needs(SPEC, (OWN,), None, f"guest {number}").user for number in range(100)}
    assert len(users) == 100
    assert all(FIRST_USER <= user < FIRST_USER + USERS for user in users)
    # Below those of which a program may have its doubts.
    assert FIRST_USER + USERS < 1 << 31


def test_python_is_there_for_those_who_have_devices_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "chime_of_a_test.py").write_text("def create(host): return []")
    library = Path(json.__file__).parent.parent
    assert library not in of(replace(SPEC, devices=("pvpanic",))).read
    assert library in of(replace(SPEC, devices=("chime_of_a_test:create",))).read
