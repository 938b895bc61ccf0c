"""The program with the measures, built for the host and packed for a guest."""

import os
import subprocess
from pathlib import Path
from typing import Final

from innkeeper.images.cpio import archive
from innkeeper.images.store import Image

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "benches" / "guest"
BUILT: Final = ROOT / "target" / "bench"
BUSYBOX: Final = Path("/bin/busybox")
DISK_MIB: Final = 256


def build() -> Path:
    """The program `measures`, static, so that host and guest run the very same one."""
    command = ["make", "--silent", "-C", str(SOURCES), f"BUILD={BUILT}", f"-j{os.cpu_count()}"]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        raise SystemExit(f"{made.stdout}\ncannot build the measures; scripts/setup-bench first")
    return BUILT / "measures"


def names(program: Path) -> list[str]:
    return subprocess.check_output([program, "-l"], text=True).split()


def initrd(image: Image, program: Path) -> Path:
    """The image's own initrd for its modules, and behind it our init and the program."""
    ours = archive(
        {
            "init": (SOURCES / "init").read_bytes(),
            "bin/busybox": BUSYBOX.read_bytes(),
            "bin/measures": program.read_bytes(),
            # Mount points; an archive of files has no empty directories.
            **{f"{directory}/.here": b"" for directory in ("proc", "sys", "dev", "tmp")},
        }
    )
    path = BUILT / "initrd"
    path.write_bytes(image.initrd.read_bytes() + ours)
    return path


def disk() -> Path:
    """A disk of random bytes, all of which the page cache holds by now."""
    path = BUILT / "disk"
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(DISK_MIB):
                file.write(os.urandom(1 << 20))
    # Piece by piece: what this process once held counts as its children's peak memory.
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
    return path
