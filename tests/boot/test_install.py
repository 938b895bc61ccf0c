"""Debian by its own installer, onto an empty disk, and what starts from there."""

import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot import mirror_server, mirrors, packages
from tests.boot.kernel_log import troubled
from tests.boot.test_firmware import seabios
from tests.conftest import PATIENCE, Inn, wait_for

from innkeeper.images.apt import Apt
from innkeeper.images.cpio import archive

# It takes a quarter of an hour where nothing else runs.
INSTALLING = 8 * PATIENCE
PASSWORD = "of the installed"
# How an installer ends, and what it says when it has been asked something that nobody answered.
ENDED = re.compile(rb"reboot: Power down|Prompt: '\?' for help|Press enter to continue")
ASK = (
    b"test -d /sys/firmware/efi && by=UEFI || by=BIOS; "
    b'echo "$(uname -m) by $by is $(systemctl is-system-running --wait)"; systemctl --failed\n'
)
ANSWER = re.compile(rb"(\S+) by (BIOS|UEFI) is (\w+)\r?\n([^#]*)# ")
MACHINES = {"amd64": b"x86_64", "i386": b"i686"}

pytestmark = pytest.mark.long_guest(reason="Debian's installer takes a quarter of an hour")


@pytest.fixture(scope="module")
def kept() -> Iterator[Path]:
    """Where the installers' packages are."""
    with tempfile.TemporaryDirectory(prefix="innkeeper-mirror-") as directory:
        yield Path(directory)


@functools.cache
def completed(kept: Path, release: str, architecture: str) -> mirrors.Completed | str:
    """What there is to install from, or what is missing."""
    directory = kept / f"{release}-{architecture}"
    directory.mkdir()
    try:
        return mirrors.complete(hosts_mirror(kept), release, architecture, directory)
    except mirrors.LacksComponents as lacking:
        return str(lacking)


@functools.cache
def hosts_mirror(kept: Path) -> mirrors.Upstream:
    apt = Apt(kept / "apt")
    apt.update()
    return mirrors.Upstream(apt.debian()[0].uri.rstrip("/"))


@pytest.mark.parametrize(
    ("release", "architecture", "firmware"),
    [
        ("13", "amd64", "seabios"),
        ("13", "amd64", "ovmf"),
        ("12", "amd64", "seabios"),
        # There is no firmware of 32 bits here.
        ("12", "i386", "seabios"),
    ],
)
def test_debian_is_installed_and_starts_from_its_disk(
    inn: Inn, kept: Path, release: str, architecture: str, firmware: str, tmp_path: Path
) -> None:
    found = completed(kept, release, architecture)
    if isinstance(found, str):
        pytest.skip(found)
    disk = tmp_path / "disk.qcow2"
    # A system that a BIOS starts is installed without firmware.
    uefi = _uefi(tmp_path) if firmware == "ovmf" else ()
    with mirror_server.served(hosts_mirror(kept), found.files) as port:
        host = mirror_server.host_of(found, mirrors.CODENAMES[release], port, tmp_path)
        installed = Inn(inn.environment | {"APT_CONFIG": os.fspath(host)})
        _install(installed, (release, architecture), port, found, (disk, *uefi))
    answer = _log_in(inn, (disk, *(uefi or ("--firmware", seabios()))))
    starter = b"UEFI" if uefi else b"BIOS"
    assert answer.groups()[:3] == (MACHINES[architecture], starter, b"running"), answer[4]


def _uefi(directory: Path) -> tuple[str | Path, ...]:
    code = packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")
    template = packages.file("ovmf", "usr/share/OVMF/OVMF_VARS_4M.fd")
    variables = shutil.copy(template, directory / "variables")
    return ("--firmware", code, "--firmware-variables", variables)


def _install(
    inn: Inn,
    which: tuple[str, str],
    port: int,
    found: mirrors.Completed,
    options: tuple[str | Path, ...],
) -> None:
    release, architecture = which
    disk, *others = options
    scratch = Path(disk).parent
    answers, password, added = scratch / "own.cfg", scratch / "password", scratch / "added.cpio"
    # The host's loopback has another name in the guest.
    answers.write_text(f"d-i mirror/http/hostname string 10.0.2.2:{port}\n")
    password.write_text(PASSWORD)
    added.write_bytes(archive(found.added))
    with inn.start(
        *("install", "debian", "--release", release, "--architecture", architecture),
        *("--disk", disk, "--preseed", answers, "--password", password, "--initrd", added),
        *("--network", "user,host", "--engine", "translator", *others),
    ) as process:
        assert process.stdout is not None
        said = wait_for(process.stdout.fileno(), ENDED, INSTALLING)
        if b"Power down" not in said:
            process.terminate()
            pytest.fail(f"the installer asks: {said[-3000:].decode(errors='replace')}")
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert troubled(said) == []


def _log_in(inn: Inn, options: tuple[str | Path, ...]) -> re.Match[bytes]:
    """What the system says of itself."""
    with inn.start(
        "run", "--boot", "disk", "--engine", "translator", "--disk", *options
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        keyboard, screen = process.stdin.fileno(), process.stdout.fileno()
        said = wait_for(screen, b"debian login: ")
        os.write(keyboard, b"root\n")
        said += wait_for(screen, b"Password: ")
        os.write(keyboard, PASSWORD.encode() + b"\n")
        said += wait_for(screen, b"# ")
        os.write(keyboard, ASK)
        said += wait_for(screen, ANSWER)
        os.write(keyboard, b"systemctl poweroff\n")
        rest, _ = process.communicate(timeout=PATIENCE)
    assert b"Power down" in rest
    assert troubled(said + rest) == []
    answer = ANSWER.search(said)
    assert answer is not None
    return answer
