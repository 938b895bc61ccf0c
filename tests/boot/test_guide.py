"""What docs/guides/write-a-device.md shows does what it says."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.conftest import INN, PATIENCE

from innkeeper.images import Image

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "write-a-device.md"


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """A directory with the guide's files, made by its commands."""
    text = GUIDE.read_text()
    for language, name in (("python", "stopwatch.py"), ("c", "stopwatch.c")):
        (block,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert name in block
        (tmp_path / name).write_text(block)
    subprocess.run(["cc", "-static", "-o", "stopwatch", "stopwatch.c"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_program_in_the_guest_sees_the_guides_device(debian: Image, followed: Path) -> None:
    (command,) = re.findall(r"sh -c '(.*)' < stopwatch", GUIDE.read_text())
    with (followed / "stopwatch").open("rb") as program:
        result = subprocess.run(
            [INN, "run", "debian", "--device", "stopwatch:create", "--", "sh", "-c", command],
            cwd=followed,
            stdin=program,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, b"")
    assert re.fullmatch(rb"\d+ seconds\n", result.stdout)
