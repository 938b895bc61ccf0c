"""Guests whose snapshots were kept, for each version of Innkeeper that wrote them otherwise.

`python -m tests.run.kept_guests INN GUEST COMMIT` makes one, by the program INN of that version:
`tests/kept/GUEST-COMMIT.tar.xz`. tests/kept/README.md says who wrote which.
"""

import io
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests import tiny

KEPT = Path(__file__).parents[1] / "kept"
# Where all files of a kept guest were.
PLACE = Path("/srv/kept")


@dataclass(frozen=True)
class KeptGuest:
    """`options` name files in the directory where `inn run` works."""

    source: str
    options: tuple[str, ...]


GUESTS = {
    # All usual devices.
    "usual": KeptGuest(
        "pages.asm",
        (
            *("--kernel", "kernel", "--memory", "16M", "--max-memory", "144M", "--cpus", "2"),
            *("--disk", "disk.raw", "--network", "user"),
        ),
    ),
    # Devices of the old world.
    "old": KeptGuest(
        "firmware.asm",
        (
            *("--firmware", "firmware.bin", "--memory", "16M"),
            *("--disk", "disk.raw,bus=ide", "--cdrom", "disc.iso", "--floppy", "floppy.img"),
            *("--network", "user,model=e1000", "--display", "vga"),
            *("--sound", "wav=sound.wav"),
        ),
    ),
}


def files(guest: KeptGuest, directory: Path) -> None:
    """Those that its options name."""
    code = directory / guest.source.replace(".asm", ".bin")
    subprocess.run(["nasm", "-f", "bin", "-o", code, KEPT / guest.source], check=True)
    tiny.kernel(directory / "kernel", code.read_bytes())
    for name, size in (("disk.raw", 1 << 20), ("disc.iso", 1 << 16), ("floppy.img", 1440 << 10)):
        (directory / name).write_bytes(bytes(size))


def _make(inn: str, name: str, commit: str) -> None:
    guest = GUESTS[name]
    PLACE.mkdir()
    files(guest, PLACE)
    environment = {**os.environ, "INNKEEPER_HOME": str(PLACE / "home")}

    def run(*words: str) -> str:
        done = subprocess.run([inn, *words], env=environment, cwd=PLACE, stdout=-1, check=True)
        return done.stdout.decode()

    run("run", "--detach", "--name", "box", "--engine", "translator", *guest.options)
    for snapshot in ("first", "second"):
        before = run("logs", "box").count(".")
        deadline = time.monotonic() + 60
        while run("logs", "box").count(".") < before + 100:
            assert time.monotonic() < deadline, run("logs", "box")
            time.sleep(0.1)
        run("snapshot", "create", "box", snapshot)
    run("kill", "box")
    with tarfile.open(KEPT / f"{name}-{commit}.tar.xz", "w:xz", preset=9) as archive:
        kept = PLACE / "home/guests/box/snapshots/second"
        for path in sorted(kept.iterdir()):
            member = tarfile.TarInfo(path.name)
            content = path.read_bytes()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    run("rm", "box")


if __name__ == "__main__":
    _make(*sys.argv[1:])
