"""Files to and from a real guest, by the command line and from Python."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.boot.homes import furnish
from tests.conftest import Inn

from innkeeper import Guest
from innkeeper.errors import InvalidInput
from innkeeper.images import Image


@pytest.fixture(scope="module")
def inn(tmp_path_factory: pytest.TempPathFactory, debian: Image) -> Iterator[Inn]:
    home = tmp_path_factory.mktemp("house") / "home"
    furnish(home, debian)
    found = Inn({**os.environ, "INNKEEPER_HOME": str(home)})
    assert found("run", "--detach", "--name", "box", "--memory", "256M", "debian").returncode == 0
    yield found
    found("rm", "-f", "box")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with what directories have."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "large").write_bytes(os.urandom(3_000_001))
    (tree / "sub" / ("n" * 150)).write_text("long name")
    (tree / "sub" / "script").write_text("#!/bin/sh\n")
    (tree / "sub" / "script").chmod(0o755)
    (tree / "sub").chmod(0o750)
    (tree / "link").symlink_to("sub/script")
    (tree / os.fsdecode(b"no\xffutf8")).write_text("bytes")
    return tree


def same(one: Path, two: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*"))
    assert names == sorted(path.relative_to(two) for path in two.rglob("*"))
    for name in names:
        left, right = one / name, two / name
        assert left.lstat().st_mode == right.lstat().st_mode, name
        if left.is_symlink():
            assert left.readlink() == right.readlink()
        elif left.is_file():
            assert left.read_bytes() == right.read_bytes()


def copy(inn: Inn, *words: str | Path, stdin: bytes = b"") -> bytes:
    done = inn("cp", *words, stdin=stdin)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout


def test_a_directory_goes_there_and_comes_back(inn: Inn, tree: Path, tmp_path: Path) -> None:
    # As a new name, and into one that is there.
    copy(inn, tree, "box:/srv/new")
    copy(inn, tree, "box:/srv/new")
    copy(inn, "box:/srv/new/tree", tmp_path / "back")
    same(tree, tmp_path / "back")
    (tmp_path / "there").mkdir()
    copy(inn, "box:/srv/new/tree", tmp_path / "there")
    same(tree, tmp_path / "there" / "tree")
    copy(inn, "box:/srv/new/tree/.", tmp_path / "content")
    same(tree, tmp_path / "content")
    owner = inn("exec", "box", "stat", "-c", "%u:%g %a", "/srv/new/sub/script")
    assert owner.stdout == b"0:0 755\n"


def test_a_file_and_its_new_name(inn: Inn, tree: Path, tmp_path: Path) -> None:
    copy(inn, tree / "large", "box:/srv")
    copy(inn, tree / "large", "box:other")
    copy(inn, "box:/root/other", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == (tree / "large").read_bytes()
    copy(inn, f"{tree}/sub/.", "box:/srv/content")
    assert inn("exec", "box", "ls", "/srv/content").stdout.endswith(b"script\n")


def test_archives_on_standard_streams(inn: Inn) -> None:
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w") as tar:
        info = tarfile.TarInfo("piped")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"piped"))
    copy(inn, "-", "box:/srv", stdin=box.getvalue())
    out = copy(inn, "box:/srv/piped", "-")
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert content.read() == b"piped"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("/etc/hosts", "/etc/x"), b"one of the two is a guest's"),
        (("box:/etc/hosts", "box:/etc/x"), b"one of the two is a guest's"),
        (("/no/such", "box:/srv"), b"there is no /no/such"),
        (("box:/no/such", "."), b"there is no /no/such in the guest"),
        (("/etc/hosts", "box:/no/such/place"), b"there is no directory /no/such in the guest"),
        (("box:", "."), b"no path"),
        (("/etc", "box:/etc/hosts"), b"no directory in the guest"),
        (("/dev/zero", "box:/srv"), b"/dev/zero is no file and no directory"),
        (("box:/dev/zero", "."), b"/dev/zero in the guest is no file and no directory"),
    ],
)
def test_what_cannot_be_copied_is_said(inn: Inn, words: tuple[str, str], said: bytes) -> None:
    done = inn("cp", *words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert done.stderr.count(b"\n") == 1


def test_what_is_left_out_is_said_on_either_way(inn: Inn, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    os.mkfifo(tmp_path / "some" / "fifo")
    (tmp_path / "some" / "file").write_text("file")
    sent = inn("cp", tmp_path / "some", "box:/srv")
    expected = f"inn: left out, since it is no file: {tmp_path}/some/fifo\n"
    assert (sent.returncode, sent.stderr.decode()) == (0, expected)
    assert inn("exec", "box", "mkfifo", "/srv/some/other").returncode == 0
    got = inn("cp", "box:/srv/some", tmp_path / "back")
    assert got.stderr == b"inn: left out, since it is no file: ./some/other\n"
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["file"]


def test_holes_cost_the_host_nothing(inn: Inn, tmp_path: Path) -> None:
    script = "truncate -s 40M /srv/holes; echo end >> /srv/holes; truncate -s 60M /srv/holes"
    assert inn("exec", "box", "sh", "-c", script).returncode == 0
    copy(inn, "box:/srv/holes", tmp_path / "holes")
    got = (tmp_path / "holes").read_bytes()
    assert (len(got), got.rstrip(b"\0")) == (60 << 20, bytes(40 << 20) + b"end\n")
    assert (tmp_path / "holes").stat().st_blocks * 512 < 1 << 20


def test_python_copies_and_connects(inn: Inn, tree: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNKEEPER_HOME", inn.environment["INNKEEPER_HOME"])
        with Guest.attach("box") as guest:
            guest.copy_to(tree, "/opt/tree")
            guest.copy_from("/opt/tree", tmp_path / "python")
            same(tree, tmp_path / "python")
            with pytest.raises(InvalidInput):
                guest.copy_from("/opt/nothing", tmp_path)
            with pytest.raises(ConnectionRefusedError):
                guest.connect(5001)
