"""`inn import` and `inn export`: packages of others and ours, disks compared by qemu-img."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.conftest import Inn

from innkeeper.services.ovf import writing
from innkeeper.services.ovf.descriptor import Appliance, Drive


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def here(tmp_path: Path, home: Path) -> Inn:
    inn = Inn()
    return Inn({**inn.environment, "INNKEEPER_HOME": str(home)})


def firmware(tmp_path: Path) -> Path:
    """It is never started here."""
    path = tmp_path / "bios.bin"
    path.write_bytes(b"\xf4" * (128 << 10))
    return path


def disk(tmp_path: Path, name: str = "disk") -> Path:
    """A raw disk and the stream of VMware that qemu-img makes of it."""
    raw = tmp_path / f"{name}.raw"
    raw.write_bytes(bytes(1 << 20) + bytes(range(256)) * 1024 + bytes(3 << 20))
    made = tmp_path / f"{name}.vmdk"
    options = ["-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run(["qemu-img", "convert", *options, raw, made], check=True)
    return made


def machine(*drives: Drive, name: str = "old box") -> Appliance:
    return Appliance(name=name, vcpus=2, memory=64 << 20, drives=drives, cards=("lan",))


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def package(tmp_path: Path, drive: Path) -> dict[str, bytes]:
    capacity = (tmp_path / "disk.raw").stat().st_size
    box = machine(
        Drive(file=drive.name, capacity=capacity, ide=True), Drive(file="", capacity=1024)
    )
    data = drive.read_bytes()
    document = writing.write(box, [len(data), 0]).replace(b'ovf:fileRef="file2" ', b"")
    digests = f"SHA256(box.ovf)= {hashlib.sha256(document).hexdigest()}\n"
    digests += f"SHA1({drive.name})= {hashlib.sha1(data, usedforsecurity=False).hexdigest()}\n"
    return {"box.ovf": document, "box.mf": digests.encode(), drive.name: data}


def test_an_ova_becomes_a_guest_and_that_an_ova(tmp_path: Path, here: Inn, home: Path) -> None:
    pack(tmp_path / "box.ova", package(tmp_path, disk(tmp_path)))
    bios = firmware(tmp_path)
    made = here("import", tmp_path / "box.ova", "--firmware", bios, "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["name"], told["cpus"], told["disks"]) == ("old-box", 2, [4456448, 1024])
    guest = home / "guests" / "old-box" / "run"
    compare = ["qemu-img", "compare", guest / "disk-1.qcow2", tmp_path / "disk.raw"]
    subprocess.run(compare, check=True, capture_output=True)
    assert not any((home / "importing").iterdir())
    # It can be called otherwise, and still finds its disks.
    assert here("rename", "old-box", "box").returncode == 0
    out = tmp_path / "out.ova"
    exported = here("export", "box", out)
    assert exported.returncode == 0, exported.stderr
    with tarfile.open(out) as archive:
        assert archive.getnames() == ["box.ovf", "box.mf", "box-disk1.vmdk", "box-disk2.vmdk"]
        archive.extractall(tmp_path / "unpacked", filter="data")
    written = tmp_path / "unpacked" / "box-disk1.vmdk"
    subprocess.run(["qemu-img", "check", written], check=True, capture_output=True)
    compare = ["qemu-img", "compare", written, tmp_path / "disk.raw"]
    subprocess.run(compare, check=True, capture_output=True)
    listed = (tmp_path / "unpacked" / "box.mf").read_text()
    assert hashlib.sha256(written.read_bytes()).hexdigest() in listed
    assert here("export", "box", out).returncode == 2
    # What we write, we read; and from a directory as well.
    again = here("import", tmp_path / "unpacked" / "box.ovf", "--name", "two", "--firmware", bios)
    assert (again.returncode, again.stdout) == (0, b"two\n"), again.stderr
    both = [home / "guests" / name / "run" / "disk-1.qcow2" for name in ("box", "two")]
    subprocess.run(["qemu-img", "compare", *both], check=True, capture_output=True)


def test_packages_that_are_refused(tmp_path: Path, here: Inn, home: Path) -> None:
    drive = disk(tmp_path)
    whole = package(tmp_path, drive)
    altered = bytearray(whole[drive.name])
    altered[-2000] ^= 1
    # A descriptor alone would have us read files of the host.
    plain = f'# Disk DescriptorFile\nversion=1\nRW 8 FLAT "{tmp_path}/disk.raw" 0\n'.encode()
    outside = {name: data for name, data in whole.items() if name != "box.mf"}
    for words, members in (
        ("is not what the package's manifest says", {**whole, drive.name: bytes(altered)}),
        ("is not what the package's manifest says", {**whole, "box.ovf": whole["box.ovf"] + b" "}),
        ("a line that says nothing", {**whole, "box.mf": b"nonsense\n"}),
        ("lacks disk.vmdk", {name: whole[name] for name in ("box.ovf", "box.mf")}),
        ("has no descriptor", {"x": b""}),
        ("disk.raw", {**outside, drive.name: plain}),
        ("no image of a disk", {**outside, drive.name: b"text"}),
    ):
        pack(tmp_path / "bad.ova", members)
        refused = here("import", tmp_path / "bad.ova", "--firmware", firmware(tmp_path))
        assert refused.returncode in (1, 2)
        assert words.encode() in refused.stderr
        assert refused.stderr.count(b"\n") == 1, refused.stderr
    (tmp_path / "cut.ova").write_bytes((tmp_path / "bad.ova").read_bytes()[:700])
    assert here("import", tmp_path / "cut.ova").returncode == 2
    assert here("ps", "--all", "--json").stdout == b"[]\n"
    assert not any((home / "importing").iterdir())


def test_names_in_a_descriptor_stay_beside_it(tmp_path: Path, here: Inn) -> None:
    disk(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("../disk.vmdk", f"{tmp_path}/disk.vmdk", "link.vmdk"):
        box = machine(Drive(file=name, capacity=4 << 20))
        (tmp_path / "sub" / "box.ovf").write_bytes(writing.write(box, [1]))
        (tmp_path / "sub" / "link.vmdk").unlink(missing_ok=True)
        (tmp_path / "sub" / "link.vmdk").symlink_to("../disk.vmdk")
        refused = here("import", tmp_path / "sub" / "box.ovf", "--firmware", firmware(tmp_path))
        assert refused.returncode == 2
        assert b"is no file beside the descriptor" in refused.stderr
