"""A TPM 2.0: Linux finds it, firmware measures into it, and what it keeps stays with its guest."""

import contextlib
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from tests.boot import initrd, packages
from tests.boot.homes import furnish
from tests.conftest import INN, Inn, wait_for
from tests.run.house import House, wait

from innkeeper._core import Machine
from innkeeper.errors import InvalidInput
from innkeeper.images import Image
from innkeeper.machine.spec import EngineChoice, MachineSpec
from innkeeper.vm import tpm
from innkeeper.vm.wiring import Tpm, Wiring

LINUX = "linux-image-cloud-amd64"
pytestmark = pytest.mark.skipif(shutil.which("swtpm") is None, reason="swtpm is not installed")

# Asks for random bytes by the device itself: a header of ten bytes, a count of two.
LOOK = """\
busybox mkdir -p /sys /dev
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
echo "version $(busybox cat /sys/class/tpm/tpm0/tpm_version_major)"
for index in 0 4 14; do
    echo "pcr$index $(busybox cat /sys/class/tpm/tpm0/pcr-sha256/$index)"
done
exec 3<>/dev/tpm0
busybox printf '\\200\\001\\000\\000\\000\\014\\000\\000\\001\\173\\000\\020' >&3
busybox dd bs=4096 count=1 <&3 2>/dev/null | busybox od -An -v -tx1 | busybox tr -d ' \\n' > /answer
echo "random $(busybox cat /answer)"
"""
SECTOR = """\
bits 16
org 7c00h
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 7c00h
        sti
        mov ax, 0bb02h
        mov ebx, 41504354h
        xor ecx, ecx
        xor edx, edx
        mov di, input
        mov si, output
        int 1ah
        mov si, output
        mov cx, 66
next:   lodsb
        mov bl, al
        shr al, 4
        call digit
        mov al, bl
        call digit
        loop next
        mov dx, 604h
        mov ax, 3400h
        out dx, ax
        hlt
digit:  and al, 15
        add al, '0'
        cmp al, '9'
        jbe put
        add al, 'a' - '0' - 10
put:    mov dx, 3f8h
        out dx, al
        ret
input:  dw 8 + 20, 0, 4 + 62, 0
; TPM2_PCR_Read of PCR 0 in the bank of SHA-256.
        db 80h, 1, 0, 0, 0, 20, 0, 0, 1, 7eh, 0, 0, 0, 1, 0, 0bh, 3, 1, 0, 0
        times 510-($-$$) db 0
        dw 0aa55h
output  equ 8000h
"""
OFF = "busybox poweroff -f\n"
ZEROS = "0" * 64


def kernel() -> Path:
    return packages.file(LINUX, "boot/vmlinuz-*")


def look(inn: Inn, directory: Path, *words: str | Path, script: str = LOOK) -> dict[str, str]:
    """What the guest says, by the words before."""
    own = initrd.busybox(directory / "initrd", script + OFF)
    result = inn(
        *("run", "--memory", "512M", "--network", "none", "--tpm"),
        *("--kernel", kernel(), "--initrd", own, "--append", "console=ttyS0 quiet"),
        *words,
    )
    assert result.returncode == 0, result.stderr
    lines = re.findall(rb"^(version|pcr\d+|random|before|after) (\w+)", result.stdout, re.MULTILINE)
    return {what.decode(): value.decode() for what, value in lines}


def swtpms(process: int) -> set[int]:
    """Processes of swtpm among those that `process` has begun, and that these have."""
    names: dict[int, str] = {}
    children: defaultdict[int, set[int]] = defaultdict(set)
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                # The name is in brackets and may hold some itself; a state and the parent follow.
                before, _, after = (entry / "stat").read_text().rpartition(")")
                names[int(entry.name)] = before.partition("(")[2]
                children[int(after.split()[1])].add(int(entry.name))
    found: set[int] = set()
    new = {process}
    while new:
        found |= new
        new = set().union(*(children[parent] for parent in new)) - found
    return {number for number in found if names.get(number) == "swtpm"}


def lives(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text() == "swtpm\n"
    return False


@pytest.mark.parametrize("engine", ["translator", "interpreter"])
def test_linux_has_a_tpm(inn: Inn, engine: str, tmp_path: Path) -> None:
    found = look(inn, tmp_path, "--engine", engine)
    assert found["version"] == "2"
    # Nobody has measured anything.
    assert found["pcr0"] == ZEROS
    # A header without an error, and sixteen bytes behind their number.
    assert re.fullmatch(r"80010000001c00000000" r"0010" r"(?!0{32})\w{32}", found["random"])


def test_uefi_measures_itself_and_the_kernel(inn: Inn, tmp_path: Path) -> None:
    code = packages.file("ovmf", "usr/share/OVMF/OVMF_CODE_4M.fd")
    found = look(inn, tmp_path, "--firmware", code)
    assert found["version"] == "2"
    assert found["pcr0"] != ZEROS
    assert found["pcr4"] != ZEROS
    assert found["pcr14"] == ZEROS


def test_seabios_measures_itself(inn: Inn, tmp_path: Path) -> None:
    source, disk = tmp_path / "sector.asm", tmp_path / "disk.img"
    source.write_text(SECTOR)
    subprocess.run(["nasm", "-f", "bin", "-o", disk, source], check=True)
    with disk.open("r+b") as file:
        file.truncate(1 << 20)
    result = inn(
        *("run", "--engine", "translator", "--memory", "64M", "--network", "none", "--tpm"),
        *("--firmware", packages.file("seabios", "usr/share/seabios/bios-256k.bin")),
        *("--boot", "disk", "--disk", disk),
    )
    assert result.returncode == 0, result.stderr
    answer = re.search(rb"80010000003e00000000\w{36}0020(\w{64})", result.stdout)
    assert answer is not None, result.stdout
    assert answer[1].decode() != ZEROS


def test_a_sleep_keeps_what_was_measured(inn: Inn, tmp_path: Path) -> None:
    extend = "".join(f"\\{byte:03o}" for byte in EXTEND)
    sleep = f"""\
busybox printf '{extend}' >&3
busybox dd bs=4096 count=1 <&3 >/dev/null 2>&1
exec 3>&-
echo "before $(busybox cat /sys/class/tpm/tpm0/pcr-sha256/14)"
echo +5 > /sys/class/rtc/rtc0/wakealarm
echo mem > /sys/power/state
echo "after $(busybox cat /sys/class/tpm/tpm0/pcr-sha256/14)"
"""
    found = look(inn, tmp_path, "--engine", "translator", script=LOOK + sleep)
    assert found["before"] == found["after"] != ZEROS


def test_swtpm_goes_with_its_guest_however_that_goes(inn: Inn, tmp_path: Path) -> None:
    own = initrd.busybox(tmp_path / "initrd", "echo here; while true; do busybox sleep 9; done\n")
    process = inn.start(
        *("run", "--memory", "256M", "--network", "none", "--tpm"),
        *("--kernel", kernel(), "--initrd", own, "--append", "console=ttyS0 quiet"),
    )
    try:
        assert process.stdout is not None
        wait_for(process.stdout.fileno(), b"here")
        (own_tpm,) = swtpms(process.pid)
    finally:
        process.kill()
        process.communicate()
    wait(lambda: lives(own_tpm), lambda left: not left)


def test_other_threads_go_on_while_a_machine_waits_for_its_tpm_to_end() -> None:
    (data, hears), (control, says) = socket.socketpair(), socket.socketpair()
    # It has power, and will not answer when it is to lose that.
    says.sendall(bytes(4))
    spec = MachineSpec(kernel=kernel(), engine=EngineChoice("interpreter"), devices=(), rng=False)
    wiring = Wiring(tpm=Tpm(data=data.fileno(), control=control.fileno()))
    machine = Machine(spec, wiring)
    done, ticks = threading.Event(), [time.monotonic()]

    def tick() -> None:
        while not done.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    del machine
    took = time.monotonic() - began
    done.set()
    thread.join()
    for end in (data, hears, control, says):
        end.close()
    assert took > 1
    assert max(later - earlier for earlier, later in pairwise(ticks)) < 1


# Bytes of a command to the TPM, as octal numbers, and its answer in hexadecimal.
ASK = """\
exec 3<>/dev/tpm0
printf "$1" >&3
dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'
"""
READ_CLOCK = bytes.fromhex("80010000000a00000181")
EXTEND = bytes.fromhex(
    "800200000041000001820000000e00000009400000090000000000" + "00000001000b" + "11" * 32
)


def ask(house: House, guest: str, command: bytes) -> bytes:
    words = "".join(f"\\{byte:03o}" for byte in command)
    answer = bytes.fromhex(house("exec", guest, "sh", "-c", ASK, "sh", words))
    assert answer[6:10] == bytes(4), answer.hex()
    return answer


def begun_anew(house: House, guest: str) -> int | None:
    """As `resets`, of one that is just being reset: an exec into it may be cut off."""
    try:
        return resets(house, guest)
    except (AssertionError, ValueError):
        return None


def resets(house: House, guest: str) -> int:
    """How often the TPM has begun anew, which it keeps."""
    return int.from_bytes(ask(house, guest, READ_CLOCK)[26:30], "big")


def register(house: House, guest: str) -> str:
    return house("exec", guest, "cat", "/sys/class/tpm/tpm0/pcr-sha256/14").strip()


@pytest.fixture
def safe(house: House) -> Iterator[str]:
    house("run", "-d", "--name", "safe", "--memory", "256M", "--tpm", "debian")
    yield "safe"
    if names := house("ps", "-aq").split():
        house("rm", "-f", *names)


def test_what_the_tpm_keeps_stays_with_its_guest(house: House, safe: str) -> None:
    begun = resets(house, safe)
    ask(house, safe, EXTEND)
    assert register(house, safe) != ZEROS
    house("stop", safe)
    house("start", safe)
    assert resets(house, safe) == begun + 1
    assert register(house, safe) == ZEROS
    # The same process, whose machine is made anew.
    house("exec", safe, "sh", "-c", "nohup reboot -f >/dev/null 2>&1 &")
    wait(lambda: house.inn("exec", safe, "true").returncode, lambda status: status == 0)
    wait(lambda: begun_anew(house, safe), lambda count: count == begun + 2)
    kept = house.home / "guests" / safe / "tpm" / "tpm2-00.permall"
    assert kept.stat().st_mode & 0o077 == 0
    house("rm", "-f", safe)
    assert not kept.exists()
    assert house.processes() == set()


def test_a_guest_goes_back_to_what_its_tpm_had_measured(house: House, safe: str) -> None:
    ask(house, safe, EXTEND)
    was = register(house, safe)
    house("snapshot", "create", safe, "before")
    ask(house, safe, EXTEND)
    assert register(house, safe) != was
    house("snapshot", "restore", safe, "before")
    assert register(house, safe) == was
    house("fork", safe, "other")
    ask(house, safe, EXTEND)
    assert register(house, "other") == was
    ask(house, "other", EXTEND)
    assert register(house, "other") == register(house, safe)


def test_a_guest_takes_its_tpm_to_another_host(
    house: House, safe: str, debian: Image, tmp_path: Path
) -> None:
    there = House(tmp_path / "there")
    furnish(there.home, debian)
    ask(house, safe, EXTEND)
    was, begun = register(house, safe), resets(house, safe)
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nfor last; do :; done\nexec env INNKEEPER_HOME={there.home} sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    here = House(house.home, INNKEEPER_SSH=str(ssh))
    try:
        here("migrate", safe, f"ssh://there{INN}")
        assert register(there, safe) == was
        assert resets(there, safe) == begun
        # It is there for good.
        there("stop", safe)
        there("start", safe)
        assert resets(there, safe) == begun + 1
    finally:
        there("rm", "-f", safe)


def test_a_backup_has_what_the_tpm_keeps(house: House, safe: str, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("correct horse")
    given = ("--passphrase-file", str(tmp_path / "words"))
    place = str(tmp_path / "repository")
    house("backup", "init", place, *given)
    begun = resets(house, safe)
    (name,) = house("backup", "create", place, safe, *given).split()
    house("backup", "restore", place, name, "--name", "later", "--start", *given)
    assert resets(house, "later") == begun + 1


def test_a_host_without_swtpm_says_which_package_has_it(
    inn: Inn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tpm, "_PLACES", str(tmp_path))
    with pytest.raises(InvalidInput, match="install the package swtpm"):
        tpm.require()
