"""The agent's package, as the tools see it that will unpack it."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from innkeeper.guest.package import archives
from innkeeper.guest.package.contents import PROGRAM, UNIT, contents


def test_it_has_a_static_program_and_a_unit() -> None:
    made = contents()
    program = made[PROGRAM]
    assert program.content[:4] == b"\x7fELF"
    assert program.mode == 0o755
    # No interpreter: it needs nothing of the guest.
    assert b"/lib64/ld-linux" not in program.content[:4096]
    assert b"innkeeper-agent serve" in made[UNIT].content


def test_an_archive_has_the_directories_of_its_files_before_them() -> None:
    packed = archives.tar_gz(contents())
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        names = tar.getnames()
        assert all(member.uname == "root" for member in tar)
    seen: set[str] = set()
    for name in names:
        parent = name.rpartition("/")[0]
        assert parent in seen | {"."}
        seen.add(name)
    assert packed == archives.tar_gz(contents())


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_dpkg_reads_what_was_made_without_it(tmp_path: Path) -> None:
    package = tmp_path / "agent.deb"
    package.write_bytes(archives.deb(contents()))
    told = subprocess.run(
        ["dpkg-deb", "--field", package], check=True, capture_output=True, text=True
    ).stdout
    assert "Package: innkeeper-agent\n" in told
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path / "root"], check=True)
    subprocess.run(["dpkg-deb", "--control", package, tmp_path / "control"], check=True)
    for script in ("postinst", "prerm"):
        subprocess.run(["sh", "-n", tmp_path / "control" / script], check=True)
    program = tmp_path / "root" / PROGRAM
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    assert version.stdout.startswith("innkeeper-agent ")
    assert subprocess.run([program], capture_output=True, check=False).returncode == 2
