"""`inn disk convert` when the host's disk fails, at each call that could: the new image is there
whole or not at all. What changes an image in place is tested so in crates/block (power_tests.rs).
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import INN, PATIENCE

from innkeeper.machine.new_image import ExistingImage, NewImage
from innkeeper.machine.spec import DiskFormat
from innkeeper.services import disks

CALLS = ("pwrite64", "ftruncate", "fsync", "fdatasync", "renameat2")
# As strace has it: once, for good, and the end of the process.
FATES = {
    "no-room": "error=ENOSPC:when={}",
    "broken": "error=EIO:when={}+",
    "killed": "signal=KILL:when={}",
}
CONTENT = b"content of the disk".ljust(5000, b".").ljust(1 << 20, b"\0")


def convert(source: Path, target: Path, kind: DiskFormat) -> None:
    disks.convert(ExistingImage(path=source), target, NewImage(format=kind), lambda *_: None)


@pytest.mark.long_guest(reason="each call that fails is a process of its own")
@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_an_image_is_there_whole_or_not_at_all(tmp_path: Path, fate: str) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace, which has the calls fail, is not installed")
    (tmp_path / "raw.raw").write_bytes(CONTENT)
    convert(tmp_path / "raw.raw", tmp_path / "first.qcow2", DiskFormat.QCOW2)
    struck = 0
    for call in CALLS:
        at, failed = 0, True
        while failed:
            at += 1
            failed = strikes(tmp_path, call, fate.format(at))
            struck += failed
    assert struck > 10


def strikes(directory: Path, call: str, fate: str) -> bool:
    """Converts once; whether something failed."""
    log, place = directory / "log", directory / "place"
    place.mkdir()
    command = ["strace", "-f", "-o", log, "-e", f"trace={call}"]
    done = subprocess.run(
        [*command, "-e", f"inject={call}:{fate}", INN, "disk", "convert", "../first.qcow2", "new"],
        cwd=place,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    told = log.read_text()
    said = done.stderr.decode()
    left = sorted(it.name for it in place.iterdir())
    if "killed by SIGKILL" in told:
        # Who was killed leaves a file of another name.
        left = [name for name in left if name[0] != "."]
    else:
        assert (done.returncode, said.count("\n")) in ((0, 0), (1, 1)), said
    assert left == ["new"] or (left == [] and done.returncode != 0)
    if left:
        found = directory / "found.raw"
        convert(place / "new", found, DiskFormat.RAW)
        assert found.read_bytes() == CONTENT
        found.unlink()
        assert not disks.check(ExistingImage(path=place / "new")).errors
    shutil.rmtree(place)
    return "INJECTED" in told or "killed by SIGKILL" in told
