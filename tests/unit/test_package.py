"""The package's face: names that are loaded when they are asked for."""

import subprocess
import sys

import pytest

import innkeeper


@pytest.mark.parametrize("name", innkeeper.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(innkeeper, name) is getattr(innkeeper, name)
    assert name in dir(innkeeper)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Hotel'"):
        _ = innkeeper.Hotel  # type: ignore[attr-defined]


def test_the_command_line_hears_ctrl_c_before_it_loads_the_rest() -> None:
    code = "import sys, innkeeper.cli.start; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    loaded = said.decode().split()
    assert "innkeeper.cli.start" in loaded
    assert not {"innkeeper._core", "typer", "rich", "innkeeper.sdk.guest"} & set(loaded)
