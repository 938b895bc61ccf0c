"""`inn debug lockstep`: a guest whose translations are checked ends as it does anywhere else."""

from pathlib import Path

from tests import tiny
from tests.conftest import Inn


def test_a_guest_in_lockstep_runs_to_its_end(inn: Inn, tmp_path: Path) -> None:
    code = tiny.say("hello\n") + tiny.out_byte(0xF4, 1) + tiny.HALT
    kernel = tiny.kernel(tmp_path / "k", code)
    plain = inn("run", "--kernel", kernel)
    checked = inn("debug", "lockstep", "--kernel", kernel)
    assert checked.stdout == plain.stdout == b"hello\n"
    assert checked.returncode == plain.returncode


def test_debug_is_not_among_what_people_are_offered(inn: Inn) -> None:
    assert b"debug" not in inn("--help").stdout
    assert b"lockstep" in inn("debug", "--help").stdout
