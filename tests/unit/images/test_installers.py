"""What an installer is told, and where it comes from."""

from pathlib import Path

import pytest

from innkeeper.errors import ImageBuildFailed, InvalidInput
from innkeeper.images.installers import Answers, Mirror, from_disc, preseed
from innkeeper.images.installers.mirror import parse_mirror


def test_the_hosts_mirror_is_told_in_the_installers_words() -> None:
    mirror = Mirror(
        protocol="http", host="mirror:8080", directory="/debian", suite="bookworm", proxy=""
    )
    lines = preseed(Answers(hostname="web", password="a b", mirror=mirror)).splitlines()
    assert "d-i mirror/http/hostname string mirror:8080" in lines
    assert "d-i mirror/http/directory string /debian" in lines
    assert "d-i mirror/suite string bookworm" in lines
    assert "d-i passwd/root-password password a b" in lines
    assert "d-i netcfg/get_hostname string web" in lines


def test_ones_own_answers_come_last_and_packages_are_named() -> None:
    answers = Answers(hostname="web", password="x", packages=("openssh-server", "vim"))
    text = preseed(answers, "d-i time/zone string Europe/Zurich\n")
    assert text.endswith("\nd-i time/zone string Europe/Zurich\n")
    assert "d-i pkgsel/include string openssh-server vim\n" in text
    assert "d-i apt-setup/use_mirror boolean false\n" in text


@pytest.mark.parametrize("password", ["", "two\nlines", "a\x00"])
def test_a_password_that_would_become_another_answer_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput, match="a password has one line"):
        preseed(Answers(hostname="web", password=password))


def test_mirrors_are_read_from_apts_settings() -> None:
    proxies = 'Acquire::http::Proxy "http://proxy:3128";\nAcquire::https::Proxy "DIRECT";\n'
    found = parse_mirror("http://user@mirror.example/debian/", "bookworm", proxies)
    assert found == Mirror(
        protocol="http",
        host="mirror.example",
        directory="/debian",
        suite="bookworm",
        proxy="http://proxy:3128",
    )
    assert parse_mirror("https://mirror.example/", "trixie", proxies).proxy == ""
    with pytest.raises(ImageBuildFailed, match="file"):
        parse_mirror("file:///srv/debian", "bookworm", "")


def disc(path: Path, files: dict[str, bytes]) -> Path:
    import io

    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(rock_ridge="1.09")
    iso.add_directory("/INSTALL", rr_name="install.amd")
    for number, (name, content) in enumerate(files.items()):
        place = f"/INSTALL/F{number}.;1"
        iso.add_fp(io.BytesIO(content), len(content), place, rr_name=name)
    iso.write(str(path))
    iso.close()
    return path


def test_a_disc_has_its_installer_where_debians_have_it(tmp_path: Path) -> None:
    iso = disc(tmp_path / "iso", {"vmlinuz": b"kernel", "initrd.gz": b"initrd"})
    found = from_disc(iso, tmp_path)
    assert found.kernel.read_bytes() == b"kernel"
    assert found.initrd.read_bytes() == b"initrd"


def test_what_is_no_installers_disc_is_said(tmp_path: Path) -> None:
    other = disc(tmp_path / "iso", {"readme": b"text"})
    with pytest.raises(InvalidInput, match="has no installer of Debian"):
        from_disc(other, tmp_path)
    (tmp_path / "none").write_bytes(b"no disc" * 9000)
    with pytest.raises(InvalidInput, match="cannot read the disc"):
        from_disc(tmp_path / "none", tmp_path)
