"""`inn disk` beside qemu-img: each makes images that the other takes, and finds them the same."""

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.conftest import Inn

QEMU_IMG = shutil.which("qemu-img")
needs_qemu_img = pytest.mark.skipif(QEMU_IMG is None, reason="qemu-img is not here: qemu-utils")


def qemu_img(*arguments: str | Path) -> str:
    assert QEMU_IMG is not None
    done = subprocess.run([QEMU_IMG, *arguments], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def said(inn: Inn, *arguments: str | Path) -> str:
    done = inn("disk", *arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def refused(inn: Inn, *arguments: str | Path) -> str:
    done = inn("disk", *arguments)
    words = done.stderr.decode()
    assert done.returncode == 2, words
    assert words.startswith("inn: "), words
    assert words.count("\n") == 1, words
    return words


def refused_by_host(inn: Inn, *arguments: str | Path) -> str:
    done = inn("disk", *arguments)
    words = done.stderr.decode()
    assert done.returncode == 1, words
    assert words.count("\n") == 1, words
    return words


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """3 MiB, the middle of which is a hole."""
    path = tmp_path / "content.raw"
    with path.open("wb") as file:
        file.write(random.Random(1).randbytes(1 << 20))
        file.seek(2 << 20)
        file.write(b"x" * (1 << 20))
    return path


@needs_qemu_img
def test_new_images_are_qemu_imgs(inn: Inn, tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    said(inn, "create", image, "3G", "--cluster-size", "4K", "--lazy-refcounts")
    qemu_img("check", image)
    theirs = json.loads(qemu_img("info", "--output=json", image))
    assert (theirs["virtual-size"], theirs["cluster-size"]) == (3 << 30, 4096)
    assert theirs["format-specific"]["data"]["lazy-refcounts"] is True
    ours = json.loads(said(inn, "info", image, "--json"))
    assert (ours["size"], ours["cluster_size"], ours["lazy_refcounts"]) == (3 << 30, 4096, True)
    assert "already" in refused(inn, "create", image, "1G")
    said(inn, "create", image, "1G", "--force")
    assert said(inn, "create", tmp_path / "b.img", "1M").strip().endswith("raw 1 MiB")


@needs_qemu_img
@pytest.mark.parametrize("options", [(), ("--compress",), ("--cluster-size", "512"), ("--to=raw",)])
def test_what_is_converted_is_the_same_to_qemu_img(
    inn: Inn, raw: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    said(inn, "convert", raw, tmp_path / "target", *options)
    qemu_img("compare", raw, tmp_path / "target")
    assert (tmp_path / "target").stat().st_blocks * 512 < 2.5 * (1 << 20)


@needs_qemu_img
@pytest.mark.parametrize("theirs", ["qcow2", "vmdk", "vdi", "vpc", "vhdx"])
def test_what_qemu_img_writes_is_imported(inn: Inn, raw: Path, tmp_path: Path, theirs: str) -> None:
    options = ("-o", "force_size=on") if theirs == "vpc" else ()
    qemu_img("convert", "-O", theirs, *options, raw, tmp_path / "theirs")
    found = json.loads(said(inn, "info", tmp_path / "theirs", "--json"))
    assert found["format"] == {"vpc": "vhd"}.get(theirs, theirs)
    said(inn, "convert", tmp_path / "theirs", tmp_path / "ours.qcow2")
    qemu_img("check", tmp_path / "ours.qcow2")
    qemu_img("compare", raw, tmp_path / "ours.qcow2")


@needs_qemu_img
def test_backing_files_and_whom_to_trust(inn: Inn, raw: Path, tmp_path: Path) -> None:
    top = tmp_path / "top.qcow2"
    said(inn, "create", top, "--backing", raw.name)
    qemu_img("compare", raw, top)
    said(inn, "convert", top, tmp_path / "flat.qcow2")
    (tmp_path / "elsewhere").mkdir()
    far = tmp_path / "elsewhere" / "far.qcow2"
    said(inn, "create", far, "--backing", raw)
    assert "trust-backing" in refused(inn, "convert", far, tmp_path / "no.qcow2")
    said(inn, "convert", far, tmp_path / "yes.qcow2", "--trust-backing")
    qemu_img("compare", raw, tmp_path / "yes.qcow2")
    # What it names is told all the same.
    assert json.loads(said(inn, "info", far, "--json"))["backing"] == str(raw)


@needs_qemu_img
def test_sizes_and_snapshots(inn: Inn, raw: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    said(inn, "convert", raw, image)
    said(inn, "snapshot", "create", image, "before")
    assert "--shrink" in refused(inn, "resize", image, "2M")
    said(inn, "resize", image, "+1M")
    said(inn, "snapshot", "create", image, "grown")
    assert "before" in qemu_img("snapshot", "-l", image)
    assert [it["name"] for it in json.loads(said(inn, "snapshot", "ls", image, "--json"))] == [
        "before",
        "grown",
    ]
    said(inn, "snapshot", "apply", image, "before")
    qemu_img("compare", raw, image)
    assert json.loads(said(inn, "info", image, "--json"))["size"] == 3 << 20
    for name in ("before", "grown"):
        said(inn, "snapshot", "rm", image, name)
        qemu_img("check", image)
    assert "no snapshot 'x'" in refused_by_host(inn, "snapshot", "apply", image, "x").replace(
        '"', "'"
    )
    assert "vdi" not in refused(inn, "snapshot", "create", raw, "x")


def test_a_damaged_image_is_found_and_mended(inn: Inn, raw: Path, tmp_path: Path) -> None:
    image = tmp_path / "a.qcow2"
    said(inn, "convert", raw, image)
    bytes_ = bytearray(image.read_bytes())
    # A count too many, for the last cluster of the first block of counts.
    bytes_[2 * 65536 + 65535] = 1
    image.write_bytes(bytes_)
    done = inn("disk", "check", image, "--json")
    assert (done.returncode, json.loads(done.stdout)["leaks"]) == (3, 1)
    assert "1 of 1 put right" in said(inn, "check", image, "--repair", "leaks")
    assert "nothing wrong" in said(inn, "check", image)


def test_bad_input_is_one_sentence(inn: Inn, raw: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused(inn, "info", tmp_path / "none")
    assert "needs a size" in refused(inn, "create", tmp_path / "x.qcow2")
    assert "power of two" in refused(inn, "create", tmp_path / "x", "1G", "--cluster-size", "3K")
    assert "backing file" in refused(inn, "create", tmp_path / "x.raw", "--backing", raw)
    assert "no compression" in refused(inn, "convert", raw, tmp_path / "x.raw", "-c")
    assert "into itself" in refused(inn, "convert", raw, raw, "--force")
    assert "directory" in refused(inn, "info", tmp_path)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["content.raw"]


def test_what_is_interrupted_leaves_nothing_behind(inn: Inn, tmp_path: Path) -> None:
    source = tmp_path / "large.raw"
    with source.open("wb") as file:
        for _ in range(64):
            file.write(random.Random(2).randbytes(1 << 20))
    running = inn.start("disk", "convert", source, tmp_path / "target.qcow2", "-c")
    # It has begun when its unfinished file is there.
    while not list(tmp_path.glob(".target.qcow2.*")) and running.poll() is None:
        pass
    running.send_signal(signal.SIGTERM)
    running.communicate()
    assert running.returncode in (143, 0)
    left = {it.name for it in tmp_path.iterdir()} - {"large.raw"}
    assert left == (set() if running.returncode else {"target.qcow2"})


def test_a_disk_is_served_to_others(inn: Inn, raw: Path, tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    server = inn.start("disk", "serve", raw, "--socket", socket)
    assert server.stdout is not None
    uri = server.stdout.readline().decode().strip()
    assert uri.startswith("nbd+unix:///?socket=")
    said(inn, "convert", uri, tmp_path / "copy.qcow2")
    server.send_signal(signal.SIGTERM)
    server.communicate()
    assert server.returncode == 143
    assert not socket.exists()
    if QEMU_IMG is not None:
        qemu_img("compare", raw, tmp_path / "copy.qcow2")
    assert "cannot use nbd" in refused_by_host(inn, "convert", uri, tmp_path / "more.qcow2")


@pytest.mark.skipif(shutil.which("nbdcopy") is None, reason="nbdcopy is not here: libnbd-bin")
def test_nbdcopy_writes_to_what_is_served(inn: Inn, raw: Path, tmp_path: Path) -> None:
    said(inn, "create", tmp_path / "a.qcow2", "3M")
    server = inn.start("disk", "serve", tmp_path / "a.qcow2", "--port", "0", "--once")
    assert server.stdout is not None
    uri = server.stdout.readline().decode().strip()
    assert uri.startswith("nbd://127.0.0.1:")
    subprocess.run(["nbdcopy", "--flush", raw, uri], check=True)
    server.communicate()
    assert server.returncode == 0
    if QEMU_IMG is not None:
        qemu_img("check", tmp_path / "a.qcow2")
        qemu_img("compare", raw, tmp_path / "a.qcow2")


def test_addresses_of_servers_are_checked(inn: Inn, tmp_path: Path) -> None:
    assert "no host" in refused(inn, "convert", "nbd:///x", tmp_path / "x.qcow2")
    assert "no socket=" in refused(inn, "convert", "nbd+unix:///x", tmp_path / "x.qcow2")
    words = refused_by_host(inn, "convert", "nbd+unix:///?socket=/none", tmp_path / "x.qcow2")
    assert "No such file" in words


def test_a_new_image_takes_no_pipes_place(inn: Inn, tmp_path: Path) -> None:
    pipe, source = tmp_path / "pipe", tmp_path / "source.qcow2"
    os.mkfifo(pipe)
    said(inn, "create", source, "1M")
    for words in (("create", pipe, "1M"), ("convert", source, pipe)):
        assert "no file" in refused(inn, *words, "--force")
    assert pipe.is_fifo()


@pytest.mark.parametrize("suffix", [".vdi", ".vhd", ".VHDX"])
def test_a_name_is_not_given_to_another_format(inn: Inn, tmp_path: Path, suffix: str) -> None:
    path, source = tmp_path / f"disk{suffix}", tmp_path / "source.qcow2"
    said(inn, "create", source, "1M")
    for words in (("create", path, "1M"), ("convert", source, path)):
        assert "only read" in refused(inn, *words)
        assert not path.exists()
        said(inn, *words, "--to", "raw")
        path.unlink()


def test_a_servers_disk_is_no_file(inn: Inn) -> None:
    for uri in ("nbd://127.0.0.1:1/x", "nbd+unix:///?socket=/nothing"):
        assert "an NBD server's disk" in refused(inn, "info", uri)
