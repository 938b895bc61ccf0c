"""Layers over one another, as a file system that is only thought of."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, strategies
from tests.unit.images.containers.layouts import Entry, layer

from innkeeper.errors import InvalidInput
from innkeeper.images.containers import packing, writing
from innkeeper.images.containers.layer import Contents, apply
from innkeeper.images.containers.tree import Kind, Tree

HARD, SOFT = tarfile.LNKTYPE, tarfile.SYMTYPE


class Stack:
    """Layers, applied."""

    def __init__(self, *layers: bytes, room: int = 1 << 20) -> None:
        self.tree = Tree()
        self.contents = Contents(io.BytesIO(), room)
        for number, each in enumerate(layers):
            apply(packing.Bounded(io.BytesIO(each)), number, self.tree, self.contents)

    def paths(self) -> list[str]:
        return [path for path, _node in self.tree.walk()]

    def read(self, path: str) -> bytes:
        node = self.tree.find(path)
        assert node is not None
        self.contents.file.seek(node.at)
        return self.contents.file.read(node.size)


def test_a_later_layer_replaces_and_adds() -> None:
    found = Stack(
        layer(Entry(name="etc/", mode=0o700), Entry(name="etc/a", content=b"old")),
        layer(Entry(name="./etc/a", content=b"new", uid=7), Entry(name="etc/b/c", content=b"c")),
    )
    assert found.paths() == ["etc", "etc/a", "etc/b", "etc/b/c"]
    assert found.read("etc/a") == b"new"
    a, etc = found.tree.find("etc/a"), found.tree.find("etc")
    assert a is not None
    assert etc is not None
    assert (a.uid, etc.mode) == (7, 0o700)


def test_whiteouts_hide_what_lower_layers_have() -> None:
    found = Stack(
        layer(Entry(name="a"), Entry(name="d/x"), Entry(name="d/y"), Entry(name="e/z")),
        layer(
            Entry(name=".wh.a"), Entry(name="d/.wh.x"), Entry(name=".wh.e"), Entry(name=".wh.no")
        ),
    )
    assert found.paths() == ["d", "d/y"]


@pytest.mark.parametrize("first", [True, False])
def test_what_a_layer_adds_is_not_hidden_by_its_own_whiteouts(first: bool) -> None:
    below = layer(Entry(name="d/old"), Entry(name="e/old"))
    hiding = [Entry(name="d/.wh..wh..opq"), Entry(name=".wh.e")]
    added = [Entry(name="d/new"), Entry(name="e/new")]
    entries = [*hiding, *added] if first else [*added, *hiding]
    assert Stack(below, layer(*entries)).paths() == ["d", "d/new", "e", "e/new"]


def test_notes_of_aufs_are_no_files() -> None:
    assert Stack(layer(Entry(name=".wh..wh.plnk/"), Entry(name="d/.wh..wh.aufs"))).paths() == []


def test_a_link_above_leads_within_the_image() -> None:
    found = Stack(
        layer(Entry(name="usr/lib/"), Entry(name="lib", link="usr/lib", kind=SOFT)),
        layer(Entry(name="out", link="/../../usr", kind=SOFT)),
        layer(Entry(name="lib/a", content=b"a"), Entry(name="out/b", content=b"b")),
    )
    assert found.paths() == ["lib", "out", "usr", "usr/b", "usr/lib", "usr/lib/a"]


def test_a_directory_takes_the_place_of_a_link_and_a_file_that_of_a_directory() -> None:
    found = Stack(
        layer(Entry(name="a", link="b", kind=SOFT), Entry(name="b/x")),
        layer(Entry(name="a/"), Entry(name="b")),
    )
    assert [(path, node.kind) for path, node in found.tree.walk()] == [
        ("a", Kind.DIRECTORY),
        ("b", Kind.FILE),
    ]


def test_hard_links_are_one_file_over_layers() -> None:
    found = Stack(
        layer(Entry(name="a", content=b"1")),
        layer(Entry(name="b", link="a", kind=HARD), Entry(name=".wh.a")),
    )
    assert found.tree.find("b") is not None
    assert found.read("b") == b"1"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(name="../a"), "leads out of its image"),
        (Entry(name="a/../../b"), "leads out of its image"),
        (Entry(name="/a/../b/"), "leads out of its image"),
        (Entry(name="x/.wh..."), "leads out of its image"),
        (Entry(name="h", link="../etc/passwd", kind=HARD), "leads out of its image"),
        (Entry(name="h", link="missing", kind=HARD), "no file of the image"),
        (Entry(name="f/below"), "is no directory"),
        (Entry(name="loop/below"), "is no directory"),
        (Entry(name="./"), ""),
        (Entry(name="./", kind=tarfile.REGTYPE), "would be the root"),
        (Entry(name="n" * 256), "no file can have"),
        (Entry(name="s", link="l" * 5000, kind=SOFT), "a link that no file system"),
        (Entry(name="big", content=bytes(2 << 20)), "no room"),
    ],
)
def test_what_cannot_be_is_refused(entry: Entry, words: str) -> None:
    below = layer(Entry(name="f"), Entry(name="loop", link="loop", kind=SOFT))
    if not words:
        Stack(below, layer(entry))
        return
    with pytest.raises(InvalidInput, match=words):
        Stack(below, layer(entry))


def test_an_absolute_path_is_one_of_the_image() -> None:
    assert Stack(layer(Entry(name="/etc/passwd"))).paths() == ["etc", "etc/passwd"]


def test_devices_are_left_to_the_guests_kernel() -> None:
    devices = (
        Entry(name="dev/sda", kind=tarfile.BLKTYPE),
        Entry(name="pipe", kind=tarfile.FIFOTYPE),
    )
    assert Stack(layer(*devices)).paths() == ["pipe"]


def test_a_header_without_end_is_not_read() -> None:
    member = tarfile.TarInfo("x")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    endless = packing.Bounded(_Zeros(member.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(packing.Broken, match="header is larger"):
        list(packing.members(endless))


def test_content_without_end_is_not_read() -> None:
    stream = packing.Bounded(_Zeros(b""), largest=4 << 20)
    with pytest.raises(packing.Broken, match="larger than 4 MiB"):
        stream.drain()


class _Zeros:
    def __init__(self, first: bytes) -> None:
        self._first = first

    def read(self, count: int, /) -> bytes:
        data, self._first = self._first[:count], self._first[count:]
        return data or bytes(min(count, 1 << 16))


def test_holes_of_a_sparse_file_are_zeros(tmp_path: Path) -> None:
    sparse = layer(Entry(name="x"))
    member = tarfile.TarInfo("hole")
    # GNU's own old form: stretches of (offset, size), octal, at 386 of the header, and the real
    # size.
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 3
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:398], header[398:410] = b"00000001000\0", b"00000000003\0"
    header[410:422], header[422:434] = b"00000002000\0", b"00000000000\0"
    header[483:495] = b"00000002000\0"
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    archive = bytes(header) + b"abc".ljust(512, b"\0") + sparse
    found = Stack(archive)
    assert found.read("hole") == bytes(512) + b"abc" + bytes(509)
    assert found.paths() == ["hole", "x"]


def test_what_is_written_is_what_was_thought_of(tmp_path: Path) -> None:
    found = Stack(
        layer(
            Entry(name="d/", mode=0o1777, gid=5),
            Entry(name="d/f", content=b"text", xattrs={"user.a": "b", "trusted.c": "d"}),
            Entry(name="d/g", link="d/f", kind=HARD),
            Entry(name="s", link="../../etc", kind=SOFT),
            Entry(name="caps", xattrs={"security.capability": "\x01\udcff\0"}),
        )
    )
    writing.write(found.tree, found.contents.file, tmp_path / "t.tar", lambda _done: None)
    with tarfile.open(tmp_path / "t.tar", errors="surrogateescape") as archive:
        members = {member.name: member for member in archive}
        extracted = archive.extractfile("./d/f")
        assert extracted is not None
        assert extracted.read() == b"text"
    assert list(members) == [".", "./caps", "./d", "./d/f", "./d/g", "./s"]
    assert (members["./d"].mode, members["./d"].gid) == (0o1777, 5)
    assert (members["./d/g"].islnk(), members["./d/g"].linkname) == (True, "./d/f")
    assert members["./s"].linkname == "../../etc"
    assert members["./d/f"].pax_headers == {"SCHILY.xattr.user.a": "b"}
    assert members["./caps"].pax_headers["SCHILY.xattr.security.capability"] == "\x01\udcff\0"


@given(
    strategies.lists(strategies.tuples(strategies.integers(0, 4096), strategies.binary(max_size=8)))
)
def test_a_damaged_layer_is_one_sentence_or_a_layer(damages: list[tuple[int, bytes]]) -> None:
    whole = bytearray(
        layer(Entry(name="a", content=b"x"), Entry(name="b", link="a", kind=HARD), Entry(name="c/"))
    )
    for at, data in damages:
        whole[at : at + len(data)] = data
    try:
        found = Stack(bytes(whole))
    except (InvalidInput, packing.Broken):
        return
    assert all(".." not in path.split("/") for path in found.paths())
