"""The interpreter and Unicorn agree on random instructions, but for what is known of Unicorn."""

import shutil

import pytest

pytest.importorskip("unicorn", reason="the package unicorn, the other opinion, is not installed")

from tests.conformance.with_unicorn import compare_all


@pytest.mark.skipif(shutil.which("cargo") is None, reason="the cases are made by a cargo example")
def test_unicorn_gives_the_interpreters_results() -> None:
    report = compare_all(count=500, seed=1)

    assert not report.differing, str(report)
    assert report.equal > 250, str(report)
