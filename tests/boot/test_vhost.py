"""The host kernel's service for network cards, in a guest that plays the host: tests of it need a
kernel with vhost-net that lets them make interfaces, which is not to be had everywhere.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from innkeeper import Guest
from innkeeper.images import Image

_ROOT = Path(__file__).parents[2]
# In each crate's own tests, those that ask the kernel.
_TESTS = {
    "netio": (
        "vhost::tests::kernel::the_kernel_moves_frames_and_gives_the_rings_back",
        "vhost::tests::kernel::a_ring_that_makes_no_sense_is_told_and_reaches_nothing",
    ),
    "devices": (
        "virtio::net::kernel_path::tests::kernel::a_guest_does_not_see_who_moves_its_frames",
    ),
}


def _built() -> dict[str, Path]:
    """The programs with the tests of these crates."""
    command = ["cargo", "test", "--no-run", "--quiet", "--locked", "--profile", "guest", "--lib"]
    command += [word for crate in _TESTS for word in ("-p", crate)]
    command += ["--message-format", "json"]
    home = Path.home() / ".cargo" / "bin"
    environment = {**os.environ, "PATH": f"{home}:{os.environ['PATH']}"}
    made = subprocess.run(command, cwd=_ROOT, env=environment, check=True, capture_output=True)
    told = [json.loads(line) for line in made.stdout.splitlines()]
    found = {it["target"]["name"]: it["executable"] for it in told if it.get("executable")}
    return {crate: Path(found[crate]) for crate in _TESTS}


@pytest.mark.long_guest(reason="two crates' tests are compiled for it, a minute at first")
def test_the_kernel_serves_rings_as_we_ask_it_to(debian: Image, tmp_path: Path) -> None:
    for crate, program in _built().items():
        shutil.copy(program, tmp_path / crate)
    with Guest(debian.name, memory="512M", volumes=[f"{tmp_path}:/tests:ro"]) as guest:
        guest.run(["modprobe", "-a", "vhost_net", "tun"], check=True)
        for crate, names in _TESTS.items():
            words = ["--nocapture", "--exact", *names]
            ran = guest.run([f"/tests/{crate}", *words], timeout=120)
            assert ran.returncode == 0, ran.stdout + ran.stderr
            assert f"test result: ok. {len(names)} passed" in ran.stdout
            assert "skipped" not in ran.stderr
