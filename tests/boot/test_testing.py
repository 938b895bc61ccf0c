"""The pytest plugin, used by a pytest of its own, as docs/guides/test-inside-guests.md shows it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import PATIENCE

from innkeeper.images import Image

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "test-inside-guests.md"

FAILING = """
def test_fails(guest):
    guest.run(["sh", "-c", "echo '<1>said by the kernel' > /dev/kmsg"])
    while "said by the kernel" not in guest.console_log:
        pass
    assert guest.run(["uname"]).stdout == "Hurd"


def test_finds_nothing_of_the_other(guest):
    assert guest.run(["dmesg"]).stdout.count("said by the kernel") == 0
"""


def run_pytest(directory: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout


def test_the_guides_tests_pass(debian: Image, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "test_guide.py").write_text(block)
    status, told = run_pytest(tmp_path, "--strict-markers")
    assert (status, re.findall(r"(\d+) passed", told)) == (0, [str(block.count("def test_"))]), told


def test_a_failed_tests_report_has_its_console(debian: Image, tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING)
    status, told = run_pytest(tmp_path)
    assert (status, re.findall("1 failed, 1 passed", told)) == (1, ["1 failed, 1 passed"]), told
    _, console = told.split("console of guest")
    assert "said by the kernel" in console


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ("'debian'", "the mark guest takes options by name"),
        ("memory='a lot'", "a lot"),
    ],
)
def test_a_mark_that_says_nothing_is_an_error(tmp_path: Path, mark: str, sentence: str) -> None:
    (tmp_path / "test_mark.py").write_text(
        f"import pytest\n\n@pytest.mark.guest({mark})\ndef test_nothing(guest):\n    pass\n"
    )
    status, told = run_pytest(tmp_path)
    assert status == 1
    assert sentence in told


def test_an_engine_can_be_chosen_for_all(tmp_path: Path) -> None:
    (tmp_path / "test_engine.py").write_text("def test_nothing(guest):\n    pass\n")
    status, told = run_pytest(tmp_path, "--guest-engine", "abacus")
    assert status == 1
    assert "abacus" in told
