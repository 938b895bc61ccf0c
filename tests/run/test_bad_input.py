"""Whatever is wrong with what the user gives: one sentence, exit status 2, no traceback."""

import struct
from pathlib import Path

import pytest
from tests import tiny
from tests.conftest import Inn
from tests.run.house import House

from innkeeper.images import Image


def assert_one_sentence(inn: Inn, *arguments: str | Path) -> str:
    result = inn("run", "--timeout", "20", *arguments)
    words = result.stderr.decode()
    assert result.returncode == 2, words
    assert words.startswith("inn: ")
    assert words.count("\n") == 1, words
    assert "Traceback" not in words
    assert result.stdout == b""
    return words


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    return tiny.kernel(tmp_path / "kernel", tiny.HALT)


def bzimage(length: int) -> bytes:
    """The start of a bzImage of many sectors, cut at `length`."""
    image = bytearray(8192)
    image[0x1F1] = 39
    struct.pack_into("<H", image, 0x1FE, 0xAA55)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    image[0x211] = 1
    return bytes(image[:length])


def qcow2(**fields: int) -> bytes:
    """A version 2 header. Spec: QEMU docs/interop/qcow2.txt, "Header"."""
    values = {
        "version": 2,
        "backing_offset": 0,
        "backing_size": 0,
        "cluster_bits": 16,
        "size": 1 << 20,
        "crypt": 0,
        "l1_size": 1,
        "l1_offset": 3 << 16,
        "refcount_offset": 1 << 16,
        "refcount_clusters": 1,
        "snapshots": 0,
        "snapshots_offset": 0,
    }
    values.update(fields)
    header = b"QFI\xfb" + struct.pack(">IQIIQIIQQIIQ", *values.values())
    return header + bytes((4 << 16) - len(header))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"#!/bin/sh\necho no kernel\n",
        bytes(1 << 20),
        b"\x7fELF",
        b"\x7fELF" + b"\xff" * 4096,
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\xff" * 200,
        bzimage(0x1FF),
        bzimage(0x210),
        bzimage(8192),
        b"MZ" + bytes(100),
    ],
)
def test_what_is_no_kernel_is_refused(inn: Inn, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(content)
    assert_one_sentence(inn, "--kernel", path)


@pytest.mark.parametrize("keep", [100, 5000, 1 << 20, 30 << 20])
def test_a_truncated_linux_is_refused(inn: Inn, debian: Image, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "kernel"
    path.write_bytes(debian.kernel.read_bytes()[:keep])
    assert_one_sentence(inn, "--kernel", path)


def test_an_initrd_larger_than_memory_is_refused(inn: Inn, kernel: Path, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(100 << 20)
    words = assert_one_sentence(inn, "--kernel", kernel, "--initrd", initrd, "--memory", "64M")
    assert "initrd" in words


def test_an_initrd_that_does_not_fit_beside_the_kernel_is_refused(
    inn: Inn, debian: Image, tmp_path: Path
) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(60 << 20)
    assert_one_sentence(inn, "--kernel", debian.kernel, "--initrd", initrd, "--memory", "64M")


@pytest.mark.parametrize("memory", ["1M", "0", "99999T", "-5", "lots", "512.0001M", "0.5K"])
def test_impossible_memory_is_refused(inn: Inn, kernel: Path, memory: str) -> None:
    assert_one_sentence(inn, "--kernel", kernel, f"--memory={memory}")


@pytest.mark.parametrize("memory", ["4M", "48M", "64M"])
def test_a_linux_with_too_little_memory_is_refused(inn: Inn, debian: Image, memory: str) -> None:
    words = assert_one_sentence(inn, "debian", "--memory", memory, "--", "true")
    assert "of memory to boot" in words
    assert str(debian.directory) not in words


@pytest.mark.parametrize(
    "arguments",
    [
        ["--kernel", "/no/such/file"],
        ["--kernel", "/"],
        ["--kernel", "/dev/null"],
        ["--kernel", "K", "--initrd", "/no/such/file"],
        ["--kernel", "K", "--initrd", "/"],
        ["--kernel", "K", "--disk", "/no/such/file"],
        ["--kernel", "K", "--disk", "/tmp"],
        ["--kernel", "K", "--disk", "/dev/null"],
        ["--kernel", "K", "--disk", "K,colour=red"],
        ["--kernel", "K", "--cpus", "0"],
        ["--kernel", "K", "--cpus", "100000"],
        ["--kernel", "K", "--cpu-model", "z80"],
        ["--kernel", "K", "--device", "warp-drive"],
        ["--kernel", "K", "--append", "x" * 5000],
        ["--kernel", "K", "debian"],
        ["--kernel", "K", "--keep"],
        ["debian", "--initrd", "K"],
        ["../../etc"],
        ["debian", "--name", "not a name", "--", "true"],
        [],
    ],
)
def test_what_makes_no_sense_is_refused(inn: Inn, kernel: Path, arguments: list[str]) -> None:
    named = [str(kernel) if word == "K" else word.replace("K,", f"{kernel},") for word in arguments]
    assert_one_sentence(inn, *named)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 99},
        {"cluster_bits": 0},
        {"cluster_bits": 63},
        {"size": 1 << 63},
        {"l1_offset": 1 << 62},
        {"l1_offset": 12345},
        {"l1_size": 0xFFFF_FFFF},
        {"l1_size": 0},
        {"refcount_offset": 1 << 62},
        {"refcount_clusters": 0xFFFF_FFFF},
        {"backing_offset": 1 << 62, "backing_size": 1000},
        {"backing_offset": 200, "backing_size": 0xFFFF_FFFF},
        {"crypt": 7},
    ],
)
def test_a_qcow2_with_wild_fields_is_refused(
    inn: Inn, kernel: Path, tmp_path: Path, fields: dict[str, int]
) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(qcow2(**fields))
    assert_one_sentence(inn, "--kernel", kernel, "--disk", disk)


def test_a_truncated_qcow2_is_refused(inn: Inn, kernel: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(qcow2()[:50])
    assert_one_sentence(inn, "--kernel", kernel, "--disk", disk)


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], ["run", "--cpus", "many"], ["run", "--engine", "warp"]]
)
def test_wrong_options_are_told_as_such(inn: Inn, arguments: list[str]) -> None:
    result = inn(*arguments)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr
    assert result.stderr


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_guest_is_not_made_of_what_is_missing(
    house: House, kernel: Path, tmp_path: Path, verb: str
) -> None:
    nothing = str(tmp_path / "nothing")
    for words, expected in (
        (("--kernel", nothing), f"cannot open kernel {nothing}: No such file"),
        (("--kernel", str(kernel), "--initrd", nothing), f"cannot open initrd {nothing}"),
        (("--name", "", "--kernel", str(kernel)), "'' is no guest name"),
    ):
        detached = ("--detach",) if verb == "run" else ()
        assert expected in house.refuses(verb, *detached, *words, status=2)
    assert house.states() == {}


def test_two_disks_of_a_guest_are_two_files(house: House, kernel: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    twice = ("--disk", f"{disk},format=raw", "--disk", f"{disk},format=raw,ro")
    said = house.refuses("run", "--detach", "--kernel", kernel, *twice, status=2)
    assert f"two disks of a guest cannot be {disk}" in said
    house("create", "--name", "box", "--kernel", kernel)
    house("disk", "attach", "box", disk, "--format", "raw")
    said = house.refuses("disk", "attach", "box", disk, "--format", "raw", status=2)
    assert f"two disks of a guest cannot be {disk}" in said
    reading = ("--disk", f"{disk},format=raw,ro", "--disk", f"{disk},format=raw,temporary")
    house("create", "--name", "reads", "--kernel", kernel, *reading)
