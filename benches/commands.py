"""Who is measured, and the command that starts each."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PEER: Final = "qemu-system-x86_64"
TCG: Final = "QEMU TCG"
# Guests use other instructions on each (REP MOVSB above all), and neither is the faster for all.
PEER_CPUS: Final = ("max", "qemu64")
# As on most hosts, huge pages are for those who ask for them.
APPEND: Final = "console=ttyS0 quiet panic=-1 transparent_hugepage=madvise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a guest is given. `memory` is in MiB."""

    kernel: Path
    initrd: Path
    append: str = APPEND
    memory: int = 1024
    vcpus: int = 1
    disk: Path | None = None


def innkeeper(engine: str, hardware: Hardware) -> list[str]:
    command = [str(Path(sys.executable).parent / "inn"), "run", "--engine", engine]
    command += ["--kernel", str(hardware.kernel), "--initrd", str(hardware.initrd)]
    command += ["--append", hardware.append, "--memory", f"{hardware.memory}M"]
    command += ["--cpus", str(hardware.vcpus)]
    if hardware.disk is not None:
        command += ["--disk", f"{hardware.disk},ro"]
    return command


def qemu(cpu: str, hardware: Hardware) -> list[str]:
    command = [PEER, "-accel", "tcg", "-cpu", cpu, "-nographic", "-no-reboot"]
    command += ["-kernel", str(hardware.kernel), "-initrd", str(hardware.initrd)]
    command += ["-append", hardware.append, "-m", str(hardware.memory), "-smp", str(hardware.vcpus)]
    if hardware.disk is not None:
        drive = f"file={hardware.disk},if=virtio,format=raw,readonly=on"
        command += ["-drive", drive]
    return command


def peer_is_here() -> bool:
    return shutil.which(PEER) is not None
