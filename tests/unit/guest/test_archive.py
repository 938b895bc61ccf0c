"""Archives of a guest, kind or not: what comes out stays below where it is put."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.guest.archive import BadArchive, Pieces, Unpacker, members


def unpack(data: bytes, into: Path, first: bytes = b"top") -> list[str]:
    root = os.open(into, os.O_RDONLY | os.O_DIRECTORY)
    try:
        unpacker = Unpacker(root, first)
        pieces = iter([data[at : at + 700] for at in range(0, len(data), 700)])
        for member, content in members(Pieces(pieces).read):
            unpacker.unpack(member, content)
        unpacker.finish()
    finally:
        os.close(root)
    return unpacker.left_out


def made(*infos: tarfile.TarInfo, style: int = tarfile.GNU_FORMAT) -> bytes:
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w", format=style) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(b"c" * info.size))
    return box.getvalue()


def info(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type = kind
    for field, value in fields.items():
        setattr(found, field, value)
    return found


@pytest.mark.parametrize("style", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_tar_makes_comes_out(tmp_path: Path, style: int) -> None:
    long = "d" * 90 + "/" + "f" * 90
    data = made(
        info("old", tarfile.DIRTYPE, mode=0o750),
        info("old/file", size=70_000, mode=0o4755, mtime=1_000_000_000),
        info(f"old/{long}", size=3),
        info("old/link", tarfile.SYMTYPE, linkname="/etc/passwd"),
        info("old/again", tarfile.LNKTYPE, linkname="old/file"),
        info("old/pipe", tarfile.FIFOTYPE),
        style=style,
    )
    assert unpack(data, tmp_path) == ["old/pipe"]
    top = tmp_path / "top"
    assert top.stat().st_mode & 0o7777 == 0o750
    assert (top / "file").read_bytes() == b"c" * 70_000
    # Not to be another user, for whoever runs it.
    assert (top / "file").stat().st_mode & 0o7777 == 0o755
    assert (top / "file").stat().st_mtime == 1_000_000_000
    assert (top / long).read_bytes() == b"ccc"
    assert (top / "link").readlink() == Path("/etc/passwd")
    assert (top / "again").stat().st_nlink == 2


@pytest.mark.parametrize(
    "infos",
    [
        [info("../out", size=1)],
        [info("/out", size=1)],
        [info("a/../../out", size=1)],
        [info("a/b", tarfile.LNKTYPE, linkname="../../../etc/passwd")],
        [info(".", size=1)],
        [info("a/" * 600, tarfile.DIRTYPE)],
        # Through a link of its own.
        [info("a/l", tarfile.SYMTYPE, linkname=".."), info("a/l/out", size=1)],
        [
            info("a/l", tarfile.SYMTYPE, linkname="/tmp"),
            info("a/x", tarfile.LNKTYPE, linkname="a/l/x"),
        ],
    ],
)
def test_nothing_leads_out(tmp_path: Path, infos: list[tarfile.TarInfo]) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises((BadArchive, OSError)):
        unpack(made(*infos), inner, b"")
    assert list(tmp_path.iterdir()) == [inner]


def test_a_link_that_is_there_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").symlink_to(victim)
    unpack(made(info("x", tarfile.DIRTYPE, mode=0o755), info("x/file", size=2)), tmp_path)
    assert victim.read_text() == "mine"
    assert not (top / "file").is_symlink()
    (tmp_path / "elsewhere").mkdir()
    (top / "dir").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="dir"):
        unpack(made(info("x/dir/file", size=2)), tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_names_without_end_are_not_read() -> None:
    endless = info("n", tarfile.GNUTYPE_LONGNAME, size=1 << 40).tobuf(tarfile.GNU_FORMAT)
    taken = 0

    def flood() -> Iterator[bytes]:
        nonlocal taken
        yield endless
        while True:
            taken += 1
            yield bytes(1 << 16)

    with pytest.raises(BadArchive, match="a name of"):
        list(members(Pieces(flood()).read))
    assert taken == 0


@given(st.data())
def test_any_bytes_are_an_archive_or_an_error(data: st.DataObject) -> None:
    whole = bytearray(made(info("a", tarfile.DIRTYPE), info("a/b", size=10), info("c" * 200)))
    for _ in range(data.draw(st.integers(0, 4))):
        block = data.draw(st.sampled_from(range(0, len(whole), 512)))
        at = block + data.draw(st.integers(0, 511))
        whole[at] = data.draw(st.integers(0, 255))
        header = whole[block : block + 512]
        total = sum(header) - sum(header[148:156]) + 8 * 32
        whole[block + 148 : block + 156] = b"%06o\0 " % total
    try:
        for member, content in members(Pieces(iter([bytes(whole)])).read):
            assert sum(map(len, content)) == member.size
    except BadArchive:
        pass


@given(st.binary(max_size=2048))
def test_noise_is_no_archive(noise: bytes) -> None:
    with pytest.raises(BadArchive):
        list(members(Pieces(iter([noise])).read))
