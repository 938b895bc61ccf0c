"""Sound files of guests that are forked."""

from pathlib import Path

import pytest
from tests.run.house import House


@pytest.mark.parametrize("model", ["ac97", "virtio", "sb16", "speaker"])
def test_a_fork_leaves_its_parents_file_alone(
    house: House, halting: Path, tmp_path: Path, model: str
) -> None:
    heard = tmp_path / "heard.wav"
    house.start("box", halting, "--memory", "16M", "--sound", f"wav={heard},model={model}")
    # Whoever began it anew would cut this off.
    with heard.open("ab") as file:
        file.write(b"heard")
    house("fork", "box", "copy")
    house("stop", "-t", "0", "copy")
    house("start", "copy")
    assert house.inspect("copy")["state"] == "running"
    assert heard.read_bytes().endswith(b"heard")
