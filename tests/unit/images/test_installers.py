"""What an installer is told, and where it comes from."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pycdlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.errors import ImageBuildFailed, InvalidInput
from innkeeper.images.apt import Archive
from innkeeper.images.installers import (
    Answers,
    Choices,
    Family,
    Mirror,
    from_disc,
    kickstart,
    kickstart_disk,
    preseed,
)
from innkeeper.images.installers.mirror import mirror_of, parse_mirror
from innkeeper.machine.spec import DiskBus


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
    # Those that the host takes, which are none.
    assert "d-i apt-setup/services-select multiselect " in lines


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


class HostsApt:
    """Of a host that takes updates, some of them from `security`."""

    def __init__(self, security: str) -> None:
        self.security = security

    def debian(self, release: str | None) -> list[Archive]:
        assert release is None
        return [
            Archive("http://mirror/debian/", "trixie", "main", "13.8"),
            Archive("http://mirror/debian/", "trixie-updates", "main", "13-updates"),
            Archive(self.security, "trixie-security", "main", "13"),
        ]

    def proxies(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("http://mirror:81/debian-security/", "mirror:81"),
        # An installer knows no other directory.
        ("http://mirror/security/", None),
        ("https://mirror/debian-security", None),
    ],
)
def test_what_is_installed_takes_the_updates_that_the_host_takes(
    uri: str, host: str | None
) -> None:
    mirror = mirror_of(HostsApt(uri), None)  # type: ignore[arg-type]
    assert mirror.release == "13"
    text = preseed(Answers(hostname="web", password="x", mirror=mirror))
    assert "d-i apt-setup/services-select multiselect security, updates\n" in text
    # Without, it asks Debian's own.
    told = re.search(r"^d-i apt-setup/security_host string (.*)$", text, re.MULTILINE)
    assert (told and told[1]) == host


def choose(**others: object) -> Choices:
    usual = {"hostname": "web", "password": "x", "bus": DiskBus.VIRTIO, "from_disc": True}
    return Choices(**{**usual, **others})  # type: ignore[arg-type]


def commands(text: str) -> dict[str, list[str]]:
    """The words of each line of a kickstart, as its reader splits them."""
    lines = (shlex.split(line, comments=True) for line in text.splitlines())
    return {words[0]: words[1:] for words in lines if words}


@pytest.mark.parametrize("password", ["a b", "it's", 'two"', "#5 $x \\"])
def test_a_kickstart_has_any_password_as_it_is(password: str) -> None:
    found = commands(kickstart(choose(password=password)))
    assert found["rootpw"] == ["--plaintext", password]
    assert found["network"] == ["--bootproto=dhcp", "--hostname=web"]
    # Nothing is asked of whoever is not there, and the guest ends.
    assert {"text", "zerombr", "autopart", "poweroff"} <= set(found)


def test_a_kickstart_names_the_disk_that_is_installed_to() -> None:
    for bus, name in (
        (DiskBus.VIRTIO, "vda"),
        (DiskBus.NVME, "nvme0n1"),
        (DiskBus.SATA, "sda"),
        (DiskBus.USB, "sda"),
    ):
        found = commands(kickstart(choose(bus=bus)))
        assert found["ignoredisk"] == [f"--only-use={name}"]
        assert f"--drives={name}" in found["clearpart"]
        assert f"--boot-drive={name}" in found["bootloader"]


def test_a_kickstart_takes_packages_from_a_disc_that_has_them() -> None:
    assert "cdrom" in commands(kickstart(choose(from_disc=True)))
    assert "cdrom" not in commands(kickstart(choose(from_disc=False)))
    text = kickstart(choose(packages=("openssh-server", "@development", "-vim")))
    assert text.endswith("\n%packages\n@core\nopenssh-server\n@development\n-vim\n%end\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "a\n%post"},
        {"password": ""},
        {"hostname": "a\nb"},
        {"packages": ("%end",)},
        {"packages": ("vim\n%post",)},
        {"packages": ("# vim",)},
    ],
)
def test_what_would_become_another_line_of_a_kickstart_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        kickstart(choose(**wrong))


def test_a_kickstart_is_on_a_disk_where_anaconda_looks_for_it() -> None:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(kickstart_disk("text\n")))
    assert iso.pvd.volume_identifier.rstrip() == b"OEMDRV"
    found = io.BytesIO()
    iso.get_file_from_iso_fp(found, rr_path="/ks.cfg")
    assert found.getvalue() == b"text\n"
    iso.close()


def disc(path: Path, files: dict[str, bytes], label: str = "") -> Path:
    """A disc with these files, by their paths."""
    iso = pycdlib.PyCdlib()
    iso.new(rock_ridge="1.09", vol_ident=label)
    made = {"": ""}
    for number, (name, content) in enumerate(files.items()):
        above = ""
        for part in name.split("/")[:-1]:
            below = f"{above}/{part}"
            if below not in made:
                made[below] = f"{made[above]}/D{len(made)}"
                iso.add_directory(made[below], rr_name=part)
            above = below
        place = f"{made[above]}/F{number}.;1"
        iso.add_fp(io.BytesIO(content), len(content), place, rr_name=name.rpartition("/")[2])
    iso.write(str(path))
    iso.close()
    return path


DEBIAN = {"install.amd/vmlinuz": b"kernel", "install.amd/initrd.gz": b"initrd"}
ANACONDA = {"images/pxeboot/vmlinuz": b"kernel", "images/pxeboot/initrd.img": b"initrd"}


@pytest.mark.parametrize(
    ("files", "family"), [(DEBIAN, Family.DEBIAN), (ANACONDA, Family.ANACONDA)]
)
def test_a_disc_is_known_by_where_it_has_its_installer(
    tmp_path: Path, files: dict[str, bytes], family: Family
) -> None:
    found = from_disc(disc(tmp_path / "iso", files), tmp_path)
    assert found.family is family
    assert found.installer.kernel.read_bytes() == b"kernel"
    assert found.installer.initrd.read_bytes() == b"initrd"


@pytest.mark.parametrize("place", ["repodata", "BaseOS/repodata"])
def test_a_disc_with_packages_is_told_from_one_for_the_network(tmp_path: Path, place: str) -> None:
    assert not from_disc(disc(tmp_path / "net", ANACONDA), tmp_path).has_packages
    full = disc(tmp_path / "full", {**ANACONDA, f"{place}/repomd.xml": b"<repomd/>"})
    assert from_disc(full, tmp_path).has_packages


def test_a_discs_label_is_one_word_for_a_kernel(tmp_path: Path) -> None:
    for label, written in (
        ("Fedora-S-dvd-x86_64-39", "Fedora-S-dvd-x86_64-39"),
        ("CentOS 8 x86_64", r"CentOS\x208\x20x86_64"),
    ):
        assert from_disc(disc(tmp_path / "iso", ANACONDA, label), tmp_path).label == written


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A disc, which has the time in it: one for all examples."""
    return disc(tmp_path_factory.mktemp("whole") / "iso", ANACONDA, "A Label").read_bytes()


# Of the primary volume descriptor: where the path table is, and where the root directory is.
@pytest.mark.parametrize("place", [140, 158])
def test_a_disc_that_leads_nowhere_is_refused(whole: bytes, tmp_path: Path, place: int) -> None:
    image = bytearray(whole)
    image[16 * 2048 + place] = 0
    (tmp_path / "iso").write_bytes(image)
    with pytest.raises(InvalidInput, match="cannot read the disc"):
        from_disc(tmp_path / "iso", tmp_path)


@given(data=st.data())
def test_a_damaged_disc_is_read_or_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damaged")
    image = bytearray(whole)
    places = [place for place, byte in enumerate(whole) if byte]
    damage = st.lists(st.tuples(st.sampled_from(places), st.integers(0, 255)), min_size=1)
    for place, byte in data.draw(damage):
        image[place] = byte
    (directory / "iso").write_bytes(image)
    with contextlib.suppress(InvalidInput):
        from_disc(directory / "iso", directory)


def test_what_is_no_installers_disc_is_said(tmp_path: Path) -> None:
    other = disc(tmp_path / "iso", {"readme": b"text"})
    with pytest.raises(InvalidInput, match="has no installer that is known"):
        from_disc(other, tmp_path)
    (tmp_path / "none").write_bytes(b"no disc" * 9000)
    with pytest.raises(InvalidInput, match="cannot read the disc"):
        from_disc(tmp_path / "none", tmp_path)
