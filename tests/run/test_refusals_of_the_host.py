"""What the host refuses is one sentence and exit status 1, whatever the command was."""

import os
import subprocess
from pathlib import Path

import pytest
from tests import tiny
from tests.conftest import INN, Inn

LISTING = (
    ("ps",),
    ("ps", "--all", "--json"),
    ("image", "ls"),
    ("network", "ls"),
    ("events", "--no-follow"),
    ("stats",),
)


@pytest.fixture
def nowhere(tmp_path: Path) -> Inn:
    """Its home is a file."""
    (tmp_path / "home").touch()
    return Inn({**os.environ, "INNKEEPER_HOME": str(tmp_path / "home")})


def assert_one_sentence(done: subprocess.CompletedProcess[bytes], words: str) -> None:
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (1, 1), said
    assert said.startswith("inn: ")
    assert words in said


def test_a_home_that_is_a_file(nowhere: Inn) -> None:
    for words in LISTING:
        assert_one_sentence(nowhere(*words), "Not a directory")
    assert b"bad   image store" in nowhere("doctor").stdout


def test_completion_says_nothing_of_it(nowhere: Inn) -> None:
    asked = {"_INN_COMPLETE": "complete_bash", "COMP_WORDS": "inn rm ", "COMP_CWORD": "2"}
    done = Inn({**nowhere.environment, **asked})()
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_output_that_cannot_be_written(tmp_path: Path, redirection: str) -> None:
    environment = {**os.environ, "INNKEEPER_HOME": str(tmp_path)}
    environment.pop("PYTHONUNBUFFERED", None)
    for words in (("ps", "--json"), ("doctor",), ("version",)):
        command = ["sh", "-c", f'exec "$0" "$@" {redirection}', INN, *words]
        done = subprocess.run(command, capture_output=True, check=False, env=environment)
        assert_one_sentence(done, "cannot write to standard output: ")


def test_a_stream_that_is_closed_is_no_files(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" "$@" 2>&-', INN, "inspect", "nobody"]
    environment = {**os.environ, "INNKEEPER_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_guest_needs_no_current_directory(tmp_path: Path) -> None:
    kernel = tiny.kernel(tmp_path / "kernel", tiny.out_byte(0xF4, 3) + tiny.HALT)
    gone = tmp_path / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$0" "$@"', INN, "run", "--kernel", kernel]
    done = subprocess.run(command, capture_output=True, check=False, cwd=gone)
    assert done.returncode == 7, done.stderr
    command[-1] = "kernel"
    gone.mkdir()
    done = subprocess.run(command, capture_output=True, check=False, cwd=gone)
    assert done.returncode == 2
    assert done.stderr.startswith(b"inn: cannot open kernel")
