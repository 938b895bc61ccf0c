"""Unmodified kernels of others, each to the line that shows that it is well.

All of them run on both software engines: the interpreter has to know every instruction, and the
translator every way from one to the next.
"""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from tests.boot import packages
from tests.boot.initrd import busybox
from tests.boot.kernel_log import troubled
from tests.conftest import PATIENCE, Inn, wait_for

from innkeeper.images import kernel

# busybox as process 1: says what it sees, and switches off.
INIT = """\
memory=$(busybox awk '/^MemTotal/{print $2}' /proc/meminfo)
busybox echo "init runs on $(busybox uname -m) with $(busybox nproc) processors, $memory KiB"
busybox poweroff -f
"""
LONG_UNPACKING = "unpacking its xz in the guest is four thousand million instructions"
LIKE_CLOUD = "boots as the cloud kernel does, with more drivers"
LONG_SELF_TEST = "its 32-bit RSA self-test is three thousand million instructions"
INTERPRETED = "it takes the interpreter half a minute, which boots another"


@dataclass(frozen=True)
class Linux:
    """A kernel package, and the machine that its kernel is to boot on. `memory` is in MiB; `why` it
    takes long, where it does.
    """

    package: str
    architecture: str = "amd64"
    as_elf: bool = False
    cpus: int = 1
    memory: int = 256
    append: str = ""
    why: str = ""

    def __str__(self) -> str:
        form = "elf" if self.as_elf else "bzimage"
        return f"{self.package}-{form}-{self.cpus}x{self.memory}M"

    @property
    def machine(self) -> str:
        return {"amd64": "x86_64", "i386": "i686"}[self.architecture]


LINUX = [
    Linux("linux-image-cloud-amd64"),
    Linux("linux-image-cloud-amd64", as_elf=True, cpus=4),
    # RAM on both sides of the hole below 4 GiB.
    Linux("linux-image-cloud-amd64", as_elf=True, cpus=2, memory=5120),
    Linux("linux-image-cloud-amd64", as_elf=True, memory=128, append="nolapic no-kvmclock"),
    Linux("linux-image-cloud-amd64", as_elf=True, cpus=2, append="nox2apic lapic=notscdeadline"),
    Linux(
        "linux-image-686-pae",
        "i386",
        as_elf=True,
        cpus=2,
        memory=5120,
        append="cryptomgr.notests",
    ),
    Linux("linux-image-686-pae", "i386", cpus=2, why=LONG_UNPACKING),
    Linux("linux-image-686", "i386", why=LONG_UNPACKING),
    Linux("linux-image-686-pae", "i386", as_elf=True, memory=1024, why=LONG_SELF_TEST),
    Linux("linux-image-amd64", why=LONG_UNPACKING),
    Linux("linux-image-amd64", as_elf=True, cpus=2, memory=512, why=LIKE_CLOUD),
    Linux("linux-image-rt-amd64", why=LONG_UNPACKING),
    Linux("linux-image-rt-amd64", as_elf=True, cpus=4, memory=512, why=LIKE_CLOUD),
]
# That which the interpreter always boots: two processors, with RAM on both sides of the hole.
BY_BOTH = LINUX[2]


ENGINES = ["interpreter", "translator"]


def boot(linux: Linux, engine: str) -> object:
    why = linux.why or (INTERPRETED if engine == "interpreter" and linux is not BY_BOTH else "")
    marks = [pytest.mark.long_guest(reason=why)] if why else []
    return pytest.param(linux, engine, marks=marks, id=f"{linux}-{engine}")


@pytest.mark.parametrize(("linux", "engine"), [boot(*pair) for pair in product(LINUX, ENGINES)])
def test_linux_runs_its_init(inn: Inn, engine: str, linux: Linux, tmp_path: Path) -> None:
    image = packages.file(linux.package, "boot/vmlinuz-*", linux.architecture)
    if linux.as_elf:
        elf = tmp_path / "vmlinux"
        elf.write_bytes(kernel.bootable(image.read_bytes()))
        image = elf
    initrd = busybox(tmp_path / "initrd", INIT, architecture=linux.architecture)
    result = inn(
        "run",
        *("--kernel", image, "--initrd", initrd, "--engine", engine),
        *("--cpus", str(linux.cpus), "--memory", f"{linux.memory}M"),
        *("--append", f"console=ttyS0 panic=-1 {linux.append}"),
    )
    said = re.search(rb"init runs on (\S+) with (\d+) processors, (\d+) KiB", result.stdout)
    assert said, result.stdout[-2000:]
    cpus = 1 if "nolapic" in linux.append.split() else linux.cpus
    assert (said[1].decode(), int(said[2])) == (linux.machine, cpus)
    # The rest is the kernel's own.
    assert 0.7 * linux.memory < int(said[3]) / 1024 < linux.memory
    assert result.returncode == 0
    assert troubled(result.stdout) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("variant", ["x64", "ia32"])
def test_memtest_finds_the_memory_sound(inn: Inn, engine: str, variant: str) -> None:
    # Test 0 is over when another runs; the screen does not show each of them.
    screen = memtest(inn, engine, variant, re.compile(rb"#[1-9]\d* +\[\w"))
    assert b"#0  [Address test, walking ones" in screen


@pytest.mark.long_guest(reason="one of its tests lets bits fade for minutes")
@pytest.mark.parametrize("variant", ["x64", "ia32"])
def test_memtest_does_a_full_pass(inn: Inn, variant: str) -> None:
    memtest(inn, "translator", variant, re.compile(rb"Pass: +1 "))


def memtest(inn: Inn, engine: str, variant: str, awaited: re.Pattern[bytes]) -> bytes:
    """What Memtest86+ shows up to there, which is no error."""
    image = packages.file("memtest86+", f"boot/memtest86+{variant}.bin")
    options = ("--engine", engine, "--append", "console=ttyS0", "--memory", "8M")
    with inn.start("run", "--kernel", image, *options) as process:
        assert process.stdout is not None
        # Bits are left to fade for five minutes.
        screen = wait_for(process.stdout.fileno(), awaited, 4 * PATIENCE)
        process.terminate()
        process.wait(timeout=PATIENCE)
    assert b"Memtest86+" in screen
    assert set(re.findall(rb"Errors: +(\d+)", screen)) == {b"0"}
    return screen


@pytest.mark.long_guest(reason="its packed initrd has 130 MB, which the guest unpacks and reads")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_debian_installer_shows_its_menu(inn: Inn, engine: str) -> None:
    package = "debian-installer-12-netboot-amd64"
    where = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
    image = packages.file(package, f"{where}/linux")
    initrd = packages.file(package, f"{where}/initrd.gz")
    options = ("--engine", engine, "--append", "console=ttyS0", "--memory", "1G")
    with inn.start("run", "--kernel", image, "--initrd", initrd, *options) as process:
        assert process.stdout is not None
        screen = wait_for(process.stdout.fileno(), b"Select a language")
        process.terminate()
        process.wait(timeout=PATIENCE)
    assert troubled(screen) == []
