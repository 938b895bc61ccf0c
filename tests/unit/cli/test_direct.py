"""`inn exec` without options, which parses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from innkeeper.cli import direct


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["exec", "web", "true"], ("web", ("true",))),
        (["exec", "web", "ls", "-l", "--", "-i"], ("web", ("ls", "-l", "--", "-i"))),
        # All else is left to who knows options, and what is wrong with them.
        (["exec", "-i", "web", "cat"], None),
        (["exec", "--help"], None),
        (["exec", "web", "--", "ls"], None),
        (["exec", "web", "-it", "sh"], None),
        (["exec", "", "true"], None),
        (["exec", "web"], None),
        (["exec"], None),
        (["ps"], None),
        ([], None),
    ],
)
def test_only_a_guest_and_a_command_is_recognized(
    words: list[str], command: tuple[str, tuple[str, ...]] | None
) -> None:
    assert direct.command(words) == command


def test_what_parses_command_lines_is_not_loaded(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['inn', 'exec', 'nobody', 'true']\n"
        "from innkeeper.cli.start import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'typer' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"INNKEEPER_HOME": str(tmp_path)},
    )
    assert ran.stdout == "1 False\n"
    assert ran.stderr == "inn: there is no guest 'nobody'\n"
